// The verbs of the quarry command line: one file per verb, each adds its subcommand and runs it
// through a callback.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace quarry {

/// Exit code of a verb that found what it was asked to judge wanting (shards of a plan: not all
/// there); errors are thrown.
inline constexpr int kGateFailed = 8;

/// What the verbs share: the outcome of the run, and the request to stop.
struct Context {
  std::string command_line;  ///< as typed, for manifests
  int exit_code = 0;         ///< kExit* of kernels/core/errors.h; errors are thrown, main maps them
  const std::atomic<bool>*
      stop;  ///< set by Ctrl-C or SIGTERM; a verb that sees it throws Cancelled

  /// The verb chosen on the command line. A subcommand's callback only stores its work here, and
  /// main runs it once the whole command line has been checked: `sub->callback([&context, args] {
  /// context.run = [...] { ... }; })`. The work returns an exit code, or throws the errors of
  /// kernels/core/errors.h.
  std::function<int()> run;
};

// Each registers one subcommand. They are called once, before parsing; what a callback captures
// must outlive parsing (a std::shared_ptr to the struct that the options fill).
void add_mine(CLI::App& app, Context& context);
void add_plan(CLI::App& app, Context& context);
void add_recipes(CLI::App& app, Context& context);
void add_show(CLI::App& app, Context& context);
void add_explain(CLI::App& app, Context& context);
void add_audit(CLI::App& app, Context& context);
void add_doctor(CLI::App& app, Context& context);
void add_synth(CLI::App& app, Context& context);
void add_train_demo(CLI::App& app, Context& context);
void add_bench(CLI::App& app, Context& context);
void add_log(CLI::App& app, Context& context);
void add_tag(CLI::App& app, Context& context);
void add_verify(CLI::App& app, Context& context);
void add_prune(CLI::App& app, Context& context);
void add_refresh(CLI::App& app, Context& context);
void add_diff(CLI::App& app, Context& context);
void add_export(CLI::App& app, Context& context);
void add_approve(CLI::App& app, Context& context);
void add_reject(CLI::App& app, Context& context);
void add_policy(CLI::App& app, Context& context);
void add_compare(CLI::App& app, Context& context);
void add_report(CLI::App& app, Context& context);
void add_review(CLI::App& app, Context& context);
void add_feedback(CLI::App& app, Context& context);
void add_shards(CLI::App& app, Context& context);

// Subcommands of feedback.
void add_feedback_model(CLI::App& feedback, Context& context);

}  // namespace quarry
