// quarry report: an audit, or the history of a store, as an HTML file for people.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "host/audit/report_history.h"
#include "host/audit/report_html.h"
#include "host/data/message.h"
#include "host/store/store.h"
#include "kernels/core/errors.h"
#include "tools/quarry/output_file.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;

struct ReportArgs {
  std::string audit, baseline, store, out;
  std::vector<std::string> audits;  ///< "VERSION=FILE"
  bool is_public = false;
};

/// The report does not take the place of what it is made from.
void check_out(const std::string& out, const std::string& input) {
  std::error_code ignored;
  if (!input.empty() && fs::equivalent(out, input, ignored))
    throw ConfigError(fmt::format("--out {} is the audit itself; choose another --out", out));
}

void check_flags(const ReportArgs& args) {
  if (args.audit.empty() == args.store.empty())
    throw ConfigError("give the JSON file of an audit (quarry audit writes one) or --store STORE");
  if (args.store.empty() && !args.audits.empty())
    throw ConfigError("--audit VERSION=FILE goes with --store; the audit to report stands alone");
  if (!args.store.empty() && !args.baseline.empty())
    throw ConfigError("--baseline-audit goes with the JSON file of an audit, not with --store");
}

int report_audit(const ReportArgs& args) {
  check_out(args.out, args.audit);
  check_out(args.out, args.baseline);
  OutputFile out(args.out, "--out");
  const report::Audit audit = report::read_audit(args.audit);
  std::unique_ptr<report::Audit> baseline;
  if (!args.baseline.empty())
    baseline = std::make_unique<report::Audit>(report::read_audit(args.baseline));
  out.write(args.is_public ? report::public_audit_html(audit, baseline.get())
                           : report::audit_html(audit, baseline.get()));
  return 0;
}

int report_store(const ReportArgs& args) {
  const Store store = Store::open(args.store);
  std::map<std::uint64_t, report::Audit> audits;
  for (const std::string& given : args.audits) {
    const std::size_t equals = given.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == given.size())
      throw ConfigError("--audit is " + shown(given) +
                        "; VERSION=FILE is needed, as in 7=audit.json");
    const std::string file = given.substr(equals + 1);
    check_out(args.out, file);
    const std::uint64_t number = store.resolve(given.substr(0, equals));
    if (!audits.emplace(number, report::read_audit(file)).second)
      throw ConfigError(fmt::format("--audit names version {} twice", number));
  }
  OutputFile out(args.out, "--out");
  std::vector<std::string> notes;
  const report::History history = report::read_history(store, audits, &notes);
  const std::string html =
      args.is_public ? report::public_history_html(history) : report::history_html(history);
  for (const std::string& words : notes) fmt::print(stderr, "note: {}\n", words);
  out.write(html);
  return 0;
}

}  // namespace

void add_report(CLI::App& app, Context& context) {
  auto args = std::make_shared<ReportArgs>();
  CLI::App* verb = app.add_subcommand(
      "report", "write an audit, or the history of a store, as an HTML file for people");
  verb->add_option("audit", args->audit, "JSON file of quarry audit");
  verb->add_option("--baseline-audit", args->baseline,
                   "an earlier audit, whose values stand beside this one's");
  verb->add_flag("--public", args->is_public,
                 "only what may be shown to anyone: verdicts, statuses and figures");
  verb->add_option("--store", args->store, "report the versions of this store instead");
  verb->add_option("--audit", args->audits,
                   "VERSION=FILE: with --store, the audit of a version; may be repeated")
      ->allow_extra_args(false);
  verb->add_option("--out", args->out, "the HTML file to write")->required();
  verb->callback([&context, args] {
    context.run = [args] {
      check_flags(*args);
      return args->store.empty() ? report_audit(*args) : report_store(*args);
    };
  });
}

}  // namespace quarry
