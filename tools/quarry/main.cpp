// The quarry program: parses the command line, runs one verb, maps errors to exit codes.
#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <new>

#include "kernels/core/errors.h"
#include "tools/quarry/config_file.h"
#include "tools/quarry/verbs.h"
#include "tools/quarry/version.h"

namespace quarry {
namespace {

// Exit codes are interface; never renumber. 4 (store locked) and 8 (an audit gate failed) belong to
// other verbs.
enum ExitCode : int {
  kOk = 0,
  kInternal = 1,
  kUsage = 2,
  kBadData = 3,
  kIo = 5,
  kOutOfMemory = 6,
  kDevice = 7,
  kStopped = 75,
};

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void request_stop(int) { stop_requested.store(true); }

/// The first Ctrl-C or SIGTERM asks for an orderly end; a second one ends the process at once.
void install_signal_handlers() {
  struct sigaction action = {};
  action.sa_handler = request_stop;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // a reader that went away is a write error, not a crash
}

int fail(ExitCode code, const char* kind, const char* what) {
  std::fprintf(stderr, "quarry: %s: %s\n", kind, what);
  return code;
}

int run_verb(const Context& context) {
  try {
    const int code = context.run();
    if (std::fflush(stdout) != 0) return fail(kIo, "output", "cannot write to standard output");
    return code;
  } catch (const ConfigError& error) {
    return fail(kUsage, "usage", error.what());
  } catch (const InputError& error) {
    return fail(kBadData, "bad data", error.what());
  } catch (const IoError& error) {
    return fail(kIo, "I/O", error.what());
  } catch (const OutOfMemory& error) {
    return fail(kOutOfMemory, "out of memory", error.what());
  } catch (const std::bad_alloc&) {
    return fail(kOutOfMemory, "out of memory",
                "an allocation failed; try a smaller --tile or --host-memory");
  } catch (const DeviceError& error) {
    return fail(kDevice, "device", error.what());
  } catch (const Cancelled& error) {
    return fail(kStopped, "stopped", error.what());
  } catch (const std::exception& error) {
    return fail(kInternal, "internal error (please report it)", error.what());
  }
}

std::string quoted(const std::string& arg) {
  if (!arg.empty() && arg.find_first_of(" \t\n\"'\\$`*?[]{}()<>|&;#~") == std::string::npos)
    return arg;
  std::string text = "'";
  for (const char c : arg) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

/// CLI11 says only that a subcommand is missing when the first word is none.
void check_verb(const CLI::App& app, const std::vector<std::string>& args) {
  if (args.empty() || args.front().empty() || args.front()[0] == '-') return;
  std::string known;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (verb->get_name() == args.front()) return;
    known += (known.empty() ? "" : ", ") + verb->get_name();
  }
  throw ConfigError("there is no verb '" + args.front() + "'; verbs are " + known);
}

int run(int argc, char** argv) {
  install_signal_handlers();
  Context context;
  context.stop = &stop_requested;
  context.command_line = "quarry";
  std::vector<std::string> args(argv + std::min(argc, 1), argv + argc);
  for (const std::string& arg : args) context.command_line += " " + quoted(arg);

  CLI::App app{
      "Quarry mines hard negatives: items the model finds nearly positive that are safe to teach "
      "as negative.",
      "quarry"};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("quarry ") + kVersion);
  app.get_formatter()->column_width(32);
  add_mine(app, context);
  add_plan(app, context);
  add_recipes(app, context);
  add_show(app, context);
  add_explain(app, context);
  add_doctor(app, context);
  add_synth(app, context);
  add_train_demo(app, context);
  add_bench(app, context);
  try {
    check_verb(app, args);
    std::vector<std::string> all = with_config(app, args);
    std::reverse(all.begin(), all.end());  // CLI11 takes them from the back
    app.parse(all);
  } catch (const CLI::ParseError& error) {
    // Help and version are "errors" with code 0; every other one is a usage error, whatever CLI11's
    // own number.
    return app.exit(error) == 0 ? kOk : kUsage;
  } catch (const ConfigError& error) {
    return fail(kUsage, "usage", error.what());
  } catch (const IoError& error) {
    return fail(kIo, "I/O", error.what());
  }
  return run_verb(context);
}

}  // namespace
}  // namespace quarry

int main(int argc, char** argv) { return quarry::run(argc, argv); }
