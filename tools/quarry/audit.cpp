// quarry audit: judges a finished set by gates.
#include "host/audit/audit.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <sstream>

#include "host/data/table.h"
#include "host/recipe/text_file.h"
#include "host/store/decisions.h"
#include "host/store/store.h"
#include "kernels/core/errors.h"
#include "tools/quarry/audit_run.h"
#include "tools/quarry/export_file.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/load_inputs.h"
#include "tools/quarry/output_file.h"
#include "tools/quarry/recorded_run.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

constexpr std::size_t kLargestGates = 1u << 20;

struct AuditArgs {
  std::string set, baseline, held_out, cohorts, scores, gates, now, out, prometheus;
  RunOptions flags;
  bool json = false;
  bool record = false;
  bool print_gates = false;
  bool in_short = false;  ///< what is computed again of the miner's own numbers is left out
};

GateConfig gates_of(const AuditArgs& args) {
  if (args.gates.empty()) return default_gates();
  GateConfig config =
      parse_gates(read_text_file(args.gates, "gates file", kLargestGates), args.gates);
  const auto is_off = [](const GateRule& rule) { return rule.severity == Severity::kOff; };
  if (std::all_of(config.rules.begin(), config.rules.end(), is_off)) {
    throw ConfigError(args.gates +
                      ": turns every gate off, so nothing would be judged; leave at least one with "
                      "severity \"warn\" or \"fail\"");
  }
  return config;
}

/// The last part of a path: where a set lies is nobody's business who reads a report.
std::string name_of(const std::string& path) {
  const std::filesystem::path p(path);
  return p.has_filename() ? p.filename().string() : p.parent_path().filename().string();
}

Exposure read_held_out(const AuditArgs& args, const RunRequest& request, const Inputs& inputs,
                       const Exec& exec) {
  Exposure held_out =
      read_exposure(args.held_out, request.event_columns, request.recipe.exposure, inputs.user_ids,
                    inputs.item_ids, std::nullopt, UnknownIds::kDrop, exec);
  bool any = false;
  for (const std::uint8_t c : held_out.classes)
    any = any || c == static_cast<std::uint8_t>(ExposureClass::kPositive);
  if (!any) {
    throw InputError(fmt::format(
        "{}: no event is positive under the recipe's [exposure] rules ({} events, {} of unknown "
        "users, {} of unknown items); give the events that the model is evaluated on",
        args.held_out, held_out.events, held_out.unknown_users, held_out.unknown_items));
  }
  return held_out;
}

Cohorts cohorts_of(const AuditArgs& args, const RunRequest& request, const Inputs& inputs) {
  const std::size_t colon = args.cohorts.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == args.cohorts.size()) {
    throw ConfigError("--cohorts " + args.cohorts +
                      " names no column; write FILE:COLUMN, a table of users and the column that "
                      "groups them");
  }
  return read_cohorts(args.cohorts.substr(0, colon), request.event_columns.user,
                      args.cohorts.substr(colon + 1), inputs.user_ids);
}

/// Every file that the inputs were loaded from, by the role that the manifest gives it.
std::vector<std::string> changed_inputs(const NegativeSet& set, const Inputs& inputs) {
  std::map<std::string, std::string> used;
  for (const InputFile& file : inputs.files) used[file.role] = file.path;
  std::vector<std::string> changed = changed_files(set, used);
  for (const std::string& file : changed)
    fmt::print(stderr, "warning: {}; the audit judges by what is there now\n", printable(file));
  return changed;
}

void print_words(const AuditReport& report, bool only_raised) {
  std::istringstream lines(audit_to_words(report, only_raised));
  for (std::string line; std::getline(lines, line);) fmt::print(stderr, "{}\n", printable(line));
}

/// Files that hold other users and items than the set's are judged by the rest of them.
void warn_of_unknown_ids(const std::string& file, std::uint64_t count) {
  if (count == 0) return;
  fmt::print(stderr, "warning: {}: {} ids have no embedding; their lines are left out\n",
             printable(file), count);
}

AuditReport make_audit(const AuditArgs& args, const CLI::App& verb, const Context& context) {
  GateConfig gates = gates_of(args);
  if (args.in_short) gates.settings.odds_rows = 0;
  AuditInputs in;
  if (!args.now.empty()) {
    try {
      in.now = parse_time(args.now, "--now");
    } catch (const InputError& error) {
      throw ConfigError(error.what());
    }
  }
  const NegativeSet set = open_set(args.set, true);
  const RecordedRun recorded = recorded_run(set, verb, args.flags);
  RunRequest request = recorded_request(set, verb, recorded);
  const std::unique_ptr<Inputs> loaded = load_inputs(request, context);
  const Inputs& inputs = *loaded;
  const MinerInputs tables = inputs.miner_inputs();
  const Exec& exec = request.miner.exec;

  in.set = &set;
  in.stop = context.stop;
  in.name = name_of(args.set);
  // With bad rows the request's recipe has one filter more, under which the run mined.
  in.recipe = &request.recipe;
  in.tables = &tables;
  in.seed = request.miner.seed;
  in.round = request.miner.round;
  in.changed_files = changed_inputs(set, inputs);
  in.item_id = [&](std::uint32_t item) { return item_id(inputs, item); };
  in.item_title = [&](std::uint32_t item) { return item_title(inputs, item); };
  std::optional<NegativeSet> baseline;
  if (!args.baseline.empty()) {
    baseline = open_set(args.baseline, true);
    in.baseline = &*baseline;
    in.baseline_name = name_of(args.baseline);
  }
  std::optional<Exposure> held_out;
  if (!args.held_out.empty()) held_out = read_held_out(args, request, inputs, exec);
  if (held_out) in.held_out = &*held_out;
  if (held_out)
    warn_of_unknown_ids(args.held_out, held_out->unknown_users + held_out->unknown_items);
  std::optional<Cohorts> cohorts;
  if (!args.cohorts.empty()) cohorts = cohorts_of(args, request, inputs);
  if (cohorts) in.cohorts = &*cohorts;
  if (cohorts) warn_of_unknown_ids(args.cohorts, cohorts->unknown_ids);
  std::optional<ScoreTable> scores;
  if (!args.scores.empty())
    scores = read_scores(args.scores, request.event_columns.item, inputs.item_ids);
  if (scores) in.scores = &*scores;
  return audit_set(in, gates, exec);
}

/// Of what an audit was given beside the set and its inputs, and judged by.
std::string hash_of_options(const AuditArgs& args, const std::string& limits) {
  DigestStream stream;
  const auto add = [&](const std::string& name, const std::string& value) {
    const std::string line = name + "=" + value + "\n";
    stream.update(line.data(), line.size());
  };
  const auto add_file = [&](const std::string& name, const std::string& file) {
    add(name, file.empty() ? "" : digest_file(file).digest.hex());
  };
  add("limits", limits);
  add_file("held_out", args.held_out);
  add("baseline", args.baseline.empty() ? "" : open_set(args.baseline, false).content_hash());
  const std::size_t colon = args.cohorts.rfind(':');
  add_file("cohorts", args.cohorts.substr(0, colon));
  add("cohorts_column", args.cohorts.empty() ? "" : args.cohorts.substr(colon + 1));
  add_file("scores", args.scores);
  add("now", args.now);
  return stream.digest().hex();
}

/// Puts the verdict and all metrics into the log of the store that holds the version.
void record(const AuditArgs& args, const AuditReport& report) {
  const std::string& version = args.set;
  std::string folder, reference;
  split_reference(version, &folder, &reference);
  Store store = Store::open(folder);
  const StoreLock lock(store.path());
  const std::uint64_t number = store.resolve(reference);
  // A tag may have moved since the version was read.
  if (store.read(number, false).content_hash() != report.set.content_hash) {
    throw InputError(fmt::format(
        "{}: means another version than when the audit began; audit it again", version));
  }
  AuditFacts facts;
  for (const ReportSection& section : report.sections) {
    for (const Figure& figure : section.metrics) {
      const bool finite = figure.value && std::isfinite(*figure.value);
      facts.figures.emplace_back(figure.id, finite ? figure.value : std::nullopt);
    }
  }
  for (const Gate& gate : report.gates) {
    if (gate.status != GateStatus::kNotChecked)
      facts.gates.emplace_back(gate.id, gate_status_name(gate.status));
  }
  facts.limits = hash_of_settings(report.settings);
  facts.options = hash_of_options(args, facts.limits);
  record_audit(store, number, !report.failed(), facts);
}

/// Neither report takes the place of what the set was mined from or is judged by.
void check_no_output_is_read(const AuditArgs& args) {
  if (args.out.empty() && args.prometheus.empty()) return;
  std::vector<std::string> files = recorded_files(open_set(args.set, false));
  files.insert(files.end(), {args.held_out, split_column(args.cohorts).path, args.scores,
                             args.gates, args.flags.items, args.flags.users, args.flags.events,
                             args.flags.catalogue, args.flags.rows});
  files.insert(files.end(), args.flags.more_events.begin(), args.flags.more_events.end());
  check_no_input(args.out, files, "--out");
  check_no_input(args.prometheus, files, "--prometheus");
}

int run_audit(const AuditArgs& args, const CLI::App& verb, const Context& context) {
  if (args.print_gates) {
    std::fputs(gates_to_toml(gates_of(args)).c_str(), stdout);
    return 0;
  }
  if (args.set.empty()) throw ConfigError("say which set: quarry audit SET, or STORE@REF");
  if (std::string folder, reference; args.record && !split_reference(args.set, &folder, &reference))
    throw ConfigError("--record: " + args.set + " is no version of a store; give STORE@VERSION");
  check_no_output_is_read(args);
  OutputFile out(args.out, "--out");
  OutputFile prometheus(args.prometheus, "--prometheus");
  const AuditReport report = make_audit(args, verb, context);
  // Before anything is printed: a reader that has seen enough (| head) ends the process.
  std::exception_ptr unrecorded;  // the report is worth reading even so
  try {
    if (args.record) record(args, report);
  } catch (...) {
    unrecorded = std::current_exception();
  }
  const std::string json = audit_to_json(report) + "\n";
  out.write(json);
  prometheus.write(audit_to_prometheus(report));
  print_words(report, false);
  if (args.json) std::fputs(json.c_str(), stdout);
  if (unrecorded) std::rethrow_exception(unrecorded);
  return report.failed() ? kGateFailed : 0;
}

/// An audit that nobody asked for tells, and fails the run for leaks alone: a set may be short or
/// narrow on purpose. Inputs that were replaced since are no reason to doubt the set.
int tell_audit(const AuditArgs& args, const Context& context) {
  try {
    const AuditReport report = make_audit(args, CLI::App(), context);
    print_words(report, true);
    bool leaks = false;
    for (const Gate& gate : report.gates) {
      if (gate.id == "inputs.unchanged" && gate.status != GateStatus::kPass) return 0;
      leaks = leaks || (gate.status == GateStatus::kFail && gate.id.starts_with("leak."));
    }
    if (report.failed() && !leaks)
      fmt::print(stderr, "note: with --audit the exit code would be {}\n", kGateFailed);
    return leaks ? kGateFailed : 0;
  } catch (const Cancelled&) {
    fmt::print(stderr, "note: not audited: stopped; {} is complete\n", printable(args.set));
    return 0;
  } catch (const std::runtime_error& error) {
    if (!args.held_out.empty() || !args.gates.empty()) throw;
    fmt::print(stderr, "note: not audited: {}\n", printable(error.what()));
    return 0;
  }
}

}  // namespace

void add_audit_wish(CLI::App& verb, AuditWish& wish) {
  CLI::Option* option = verb.add_flag(
      "--audit,!--no-audit", wish.flag,
      wish.by_default ? "of the audit at the end tell every gate, log a version's verdict, and end "
                        "with exit code 8 if any gate fails and not only for leaks; or make none"
                      : "audit what was made; exit code 8 if a gate fails (a version's verdict is "
                        "logged)");
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  wish.option = option;
  verb.add_option("--audit-gates", wish.gates, "FILE.toml with limits and severities");
  verb.add_option("--audit-held-out", wish.held_out, "for the audit: events after the split");
}

bool AuditWish::is_asked() const { return option != nullptr && option->count() > 0; }
bool AuditWish::wanted() const { return is_asked() ? flag : by_default; }

void check_audit_wish(const AuditWish& wish) {
  if (!wish.wanted() && !(wish.gates.empty() && wish.held_out.empty())) {
    throw ConfigError(fmt::format("--audit-gates and --audit-held-out are of an audit: {}",
                                  wish.is_asked() ? "take --no-audit out" : "give --audit"));
  }
  AuditArgs args;
  args.gates = wish.gates;
  if (wish.wanted()) gates_of(args);
  if (!wish.held_out.empty()) identity_of(wish.held_out);  // before anything is mined
}

int audit_finished(const std::string& set, const AuditWish& wish, const Context& context) {
  AuditArgs args;
  args.set = set;
  args.gates = wish.gates;
  args.held_out = wish.held_out;
  std::string folder, reference;
  args.record = split_reference(set, &folder, &reference);
  if (!wish.is_asked()) {
    args.record = false;
    args.in_short = true;
    return tell_audit(args, context);
  }
  try {
    return run_audit(args, CLI::App(), context);
  } catch (const Cancelled&) {
    throw Cancelled(fmt::format("stopped while auditing; {0} is complete: quarry audit {0}", set));
  }
}

std::string audit_json_of(const std::string& set, const Context& context) {
  AuditArgs args;
  args.set = set;
  return audit_to_json(make_audit(args, CLI::App(), context));
}

void add_audit(CLI::App& app, Context& context) {
  auto args = std::make_shared<AuditArgs>();
  CLI::App* verb = app.add_subcommand("audit", "judge a set by gates; exit code 8 if one fails");
  verb->add_option("folder", args->set, "folder of the set, or STORE@REF");
  verb->add_option("--held-out", args->held_out,
                   "events after the split, with the columns of --events: false negatives, and "
                   "masks that knew the future");
  verb->add_option("--baseline", args->baseline, "an earlier set or STORE@REF: drift");
  verb->add_option("--cohorts", args->cohorts, "FILE:COLUMN, groups of users");
  verb->add_option("--scores", args->scores,
                   "scores of a model: columns score, label, perhaps weight (rate at which "
                   "negatives were kept) and item");
  verb->add_option("--now", args->now, "seconds or ISO 8601, for the age of the set");
  verb->add_option("--gates", args->gates, "FILE.toml with other limits and severities");
  verb->add_flag("--print-gates", args->print_gates, "print gates and limits as TOML, and end");
  verb->add_option("--out", args->out, "write the report as JSON into this file");
  verb->add_option("--prometheus", args->prometheus, "write a Prometheus textfile");
  verb->add_flag("--record", args->record,
                 "put verdict and metrics into the log of the version's store");
  verb->add_flag("--json", args->json, "the report as JSON on stdout");
  auto* inputs =
      verb->add_option_group("inputs", "files in the place of those that the manifest records");
  add_run_options(*inputs, args->flags, OptionUse::kExplain);
  verb->callback([&context, args, inputs] {
    context.run = [&context, args, inputs] { return run_audit(*args, *inputs, context); };
  });
}

}  // namespace quarry
