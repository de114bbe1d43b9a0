// quarry review import: experts' verdicts as events that protect, and as figures.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "host/data/table.h"
#include "host/feedback/verdicts.h"
#include "host/store/decisions.h"
#include "host/store/store.h"
#include "kernels/core/errors.h"
#include "kernels/core/ids.h"
#include "tools/quarry/export_file.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/named_set.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/review_estimate.h"
#include "tools/quarry/review_verbs.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kPercent = 100;

struct ReviewImportArgs {
  std::vector<std::string> files;
  std::string set, out, kind = "protected", confirmed_kind = "confirmed", time, recipe;
  RunOptions flags;
  bool with_confirmed = false;
  bool overwrite = false, verify = false, allow_changed = false, json = false;
};

Json number_json(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

std::size_t index_of(Verdict verdict) { return static_cast<std::size_t>(verdict); }

/// One import, from the lines to the log.
class ReviewImport {
 public:
  ReviewImport(const ReviewImportArgs& args, const CLI::App& verb, const Context& context)
      : args_(args),
        named_(open_named_set(args.set, {false, true, args.verify, args.allow_changed}, verb,
                              args.flags, context)),
        recipe_(next_recipe(named_, args.recipe)),
        use_(use_of_kind(recipe_, args.kind)) {
    if (!args.out.empty())
      check_replaced(args.out, args.overwrite, "quarry.review_events", files_of(named_));
    if (!named_.store.empty() && !args.out.empty()) {
      store_.emplace(Store::open(named_.store));
      lock_.emplace(store_->path());
      version_states(*store_);  // throws before anything is written where the log is damaged
    }
    files_ = Json::parse(files_json(args_.files));
    check_files_differ();
    std::vector<VerdictFile> files;
    for (const std::string& path : args.files) files.push_back({path, read_verdict_lines(path)});
    review_ = take_verdicts(
        named_.set, files, [this](std::uint32_t item) { return named_.item(item); }, context.stop);
    figures();
  }

  /// What the figures do not need: a recipe that does with the events what is meant.
  void write() {
    if (!args_.time.empty()) time_of_events();  // a wrong one is said though there is no event
    if (majorities_[index_of(Verdict::kPositive)] > 0 || args_.with_confirmed) {
      check_kinds_are_read(named_.request.event_columns);
      check_recipe();
      make_events();
    }
    log_hash_ = write_event_log(named_, events_, args_.out, args_.overwrite, sidecar().dump());
    if (!store_) return;
    ReviewFacts facts;
    for (const Json& file : files_) facts.files.push_back(file["xxh3_128"].get<std::string>());
    facts.events = log_hash_;
    facts.false_negatives = majorities_[index_of(Verdict::kPositive)];
    facts.confirmed = majorities_[index_of(Verdict::kNegative)];
    facts.unsure = majorities_[index_of(Verdict::kUnsure)];
    facts.not_judged = not_judged_;
    facts.reviewers = review_.reviewers.size();
    facts.share = estimate_.share.share;
    facts.standard_error = estimate_.standard_error();
    if (const std::optional<Interval> interval = estimate_.interval()) {
      facts.low = interval->low;
      facts.high = interval->high;
    }
    facts.agreement = agreement_.percent;
    facts.alpha = agreement_.alpha;
    facts.upper = estimate_.share.upper;
    facts.population = estimate_.share.population;
    facts.covered = estimate_.share.covered;
    record_review(*store_, named_.version, facts);
  }

  void say_figures() const {
    const std::uint64_t false_ones = majorities_[index_of(Verdict::kPositive)];
    const std::uint64_t judged = false_ones + majorities_[index_of(Verdict::kNegative)];
    const Interval interval = wilson(false_ones, judged);
    const std::uint64_t all = judged + majorities_[index_of(Verdict::kUnsure)];
    fmt::print(
        stderr, "{} {} judged by {}: {} confirmed, {}{}, {} unsure; {} not judged\n",
        words_of_count(all, "negative"), all == 1 ? "was" : "were",
        review_.reviewers.size() == 1 ? "one reviewer"
                                      : fmt::format("{} reviewers", review_.reviewers.size()),
        judged - false_ones, words_of_count(false_ones, "false negative"),
        judged > 0
            ? fmt::format(" ({:.1f} %, 95 % {:.1f} to {:.1f} %)",
                          kPercent * static_cast<double>(false_ones) / static_cast<double>(judged),
                          kPercent * interval.low, kPercent * interval.high)
            : "",
        majorities_[index_of(Verdict::kUnsure)], not_judged_);
    for (std::size_t c = 0; c < counts_.size(); ++c) {
      const StratumCount& cell = counts_[c];
      const std::string name = printable(review_.cells[c].name);
      const std::string size = words_of_count(cell.population, "negative");
      if (cell.judged == 0) {
        fmt::print(stderr, "  {}: no verdict; {}\n", name, size);
        continue;
      }
      const Interval of_cell = wilson(cell.hits, cell.judged);
      fmt::print(stderr, "  {}: {} of {} judged, 95 % {:.1f} to {:.1f} %; {}\n", name, cell.hits,
                 cell.judged, kPercent * of_cell.low, kPercent * of_cell.high, size);
    }
    if (estimate_.share.share) fmt::print(stderr, "{}\n", words_of(estimate_));
    if (agreement_.units > 0)
      fmt::print(stderr,
                 "{} two verdicts or more: {:.1f} % of pairs agree, Krippendorff's alpha {}\n",
                 agreement_.units == 1 ? "1 negative has"
                                       : words_of_count(agreement_.units, "negative") + " have",
                 kPercent * *agreement_.percent,
                 agreement_.alpha ? fmt::format("{:.3f}", *agreement_.alpha)
                                  : "undefined (all verdicts are the same)");
  }

  void say_log() const {
    fmt::print(stderr, "{}: {}, '{}' is {}; it holds ids of users, as a log does\n", args_.out,
               words_of_count(events_.size(), "event"), printable(args_.kind), words_of(use_));
    std::fputs(next_words(named_, events_, args_.out, args_.recipe).c_str(), stderr);
  }

  Json json() const {
    Json result = sidecar();
    result["format"] = "quarry.review";
    result["log"] = nullptr;
    if (log_hash_.empty()) {
      result["protected"]["events"] = nullptr;  // none were written
    } else {
      result["log"] = {{"xxh3_128", log_hash_}, {"events", events_.size()}};
    }
    result["protected"]["review_ids"] = ids_of(Verdict::kPositive);
    result["confirmed"] = {{"kind", args_.with_confirmed ? Json(args_.confirmed_kind) : Json()},
                           {"review_ids", ids_of(Verdict::kNegative)}};
    return result;
  }

 private:
  /// A file given twice would be two reviewers who agree in everything.
  void check_files_differ() const {
    for (std::size_t i = 0; i < files_.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (files_[i]["xxh3_128"] == files_[j]["xxh3_128"])
          throw ConfigError(fmt::format(
              "{}: holds the same bytes as {}, and would count as a second reviewer who agrees in "
              "everything; give each file once",
              args_.files[i], args_.files[j]));
      }
    }
  }

  /// A log is of use only where the recipe keeps what it names from being negatives.
  void check_recipe() const {
    const std::string& whose =
        args_.recipe.empty() ? std::string("the set's recipe") : args_.recipe;
    if (!use_.use.kept_out())
      throw ConfigError(fmt::format(
          "{} does not keep items with an event '{}' from being negatives: it is {}. In the recipe "
          "{}; then give it with --recipe FILE here and to quarry refresh",
          whose, args_.kind, words_of(use_), how_to_keep_out(use_)));
    if (!args_.with_confirmed) return;
    const KindUse confirmed = use_of_kind(recipe_, args_.confirmed_kind);
    if (args_.confirmed_kind == args_.kind)
      throw ConfigError("--confirmed-kind and --kind are both '" + args_.kind + "'");
    if (!confirmed.named || confirmed.exposure_class == ExposureClass::kPositive ||
        confirmed.use.kept_out())
      throw ConfigError(fmt::format(
          "--with-confirmed: under {} '{}' is {}: confirmed negatives would be kept out. Name the "
          "kind in a rule of [exposure] whose class some branch may pick (as aversion = [\"{}\"] "
          "with a source of kind \"exposed\"), or leave the flag out: confirmations then stand in "
          "the JSON alone",
          whose, args_.confirmed_kind, words_of(confirmed), args_.confirmed_kind));
  }

  void figures() {
    std::vector<VerdictCounts> given;
    for (const ReviewUnit& unit : review_.units) {
      given.push_back(unit.given);
      if (unit.majority) {
        ++majorities_[index_of(*unit.majority)];
      } else {
        ++not_judged_;
      }
    }
    counts_ = counts_by_cell(review_);
    estimate_.share = stratified_share(counts_);
    estimate_.by_user =
        clustered_share(counts_, estimate_.share, judged_units(review_, named_.set));
    agreement_ = agreement_of(given);
  }

  /// When the verdicts count from.
  std::int64_t time_of_events() const {
    if (!args_.time.empty()) {
      try {
        return parse_time(args_.time, "--time");
      } catch (const InputError& error) {
        throw ConfigError(error.what());
      }
    }
    if (named_.inputs->exposure) return named_.inputs->exposure->as_of;
    if (named_.request.as_of) return *named_.request.as_of;
    throw ConfigError(
        "the set has no events and no --as-of; say with --time when the verdicts are");
  }

  void make_events() {
    const std::int64_t time = time_of_events();
    for (const ReviewUnit& unit : review_.units) {
      const bool positive = unit.majority == Verdict::kPositive;
      const bool confirmed = unit.majority == Verdict::kNegative && args_.with_confirmed;
      if (!positive && !confirmed) continue;
      const NegativeSet::Row row = named_.set.row(unit.row);
      if (row.user == kNoItem)
        throw InputError(fmt::format("{}: row {} has no user; nothing can be protected for it",
                                     named_.set.manifest_path(), unit.row));
      events_.push_back({row.user, row.item[unit.slot], time,
                         positive ? args_.kind : args_.confirmed_kind, unit.where});
    }
    drop_contradicted();
    events_ = without_repeats(std::move(events_));
    check_pairs();
  }

  /// Of a pair that several rows have, one verdict that it is positive protects it.
  void drop_contradicted() {
    if (!args_.with_confirmed) return;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> wanted;
    for (const FeedbackEvent& event : events_) {
      if (event.kind == args_.kind) wanted.emplace_back(event.user, event.item);
    }
    std::sort(wanted.begin(), wanted.end());
    std::erase_if(events_, [&](const FeedbackEvent& event) {
      return event.kind != args_.kind &&
             std::binary_search(wanted.begin(), wanted.end(), std::pair(event.user, event.item));
    });
  }

  /// Other events of a pair may decide its class, whatever the new one says.
  void check_pairs() const {
    if (events_.empty()) return;
    const std::vector<PairClass> pairs = pair_classes_of(named_, recipe_, events_);
    std::vector<std::size_t> decided, forgotten;
    std::string class_words;
    for (std::size_t i = 0; i < events_.size(); ++i) {
      if (events_[i].kind != args_.kind || pairs[i].kept_out) continue;
      if (pairs[i].exposure_class && pairs[i].exposure_class != use_.exposure_class) {
        if (decided.empty()) class_words = words_of(*pairs[i].exposure_class);
        decided.push_back(i);
      } else {
        forgotten.push_back(i);
      }
    }
    if (!decided.empty())
      throw InputError(fmt::format(
          "{}: other events of the user and the item decide ({}), so '{}' would not keep {} from "
          "being negatives: the first rule of [exposure] that matches counts. Put the rule with "
          "'{}' first, then give the recipe with --recipe FILE here and to quarry refresh",
          places_of(events_, decided), class_words, args_.kind, decided.size() == 1 ? "it" : "them",
          args_.kind));
    if (!forgotten.empty())
      throw InputError(fmt::format(
          "{}: an event of {} is too old for the recipe, which forgets '{}' after {:.3g} days; "
          "give a later --time",
          places_of(events_, forgotten), time_words(events_[forgotten.front()].time), args_.kind,
          static_cast<double>(use_.use.expires.value_or(0)) / 86400.0));
  }

  Json ids_of(Verdict verdict) const {
    Json ids = Json::array();
    for (const ReviewUnit& unit : review_.units) {
      if (unit.majority == verdict)
        ids.push_back(ReviewId{named_.set.content_hash(), unit.row, unit.slot}.text());
    }
    return ids;
  }

  Json sidecar() const {
    const std::uint64_t false_ones = majorities_[index_of(Verdict::kPositive)];
    const std::uint64_t judged = false_ones + majorities_[index_of(Verdict::kNegative)];
    const auto share_json = [](std::uint64_t hits, std::uint64_t of) {
      const Interval interval = wilson(hits, of);
      return Json{
          {"judged", of},
          {"false_negatives", hits},
          {"share", of > 0 ? Json(static_cast<double>(hits) / static_cast<double>(of)) : Json()},
          {"low", of > 0 ? Json(interval.low) : Json()},
          {"high", of > 0 ? Json(interval.high) : Json()}};
    };
    Json cells = Json::array();
    for (std::size_t c = 0; c < counts_.size(); ++c) {
      Json cell = {{"cell", review_.cells[c].name},
                   {"population", counts_[c].population},
                   {"sampled", review_.cells[c].sampled}};
      cell.update(share_json(counts_[c].hits, counts_[c].judged));
      cells.push_back(std::move(cell));
    }
    Json reviewers = Json::array();
    for (const auto& [name, verdicts] : review_.reviewers)
      reviewers.push_back({{"name", name}, {"verdicts", verdicts}});
    const auto by_verdict = [](const VerdictCounts& counts) {
      return Json{{"negative", counts[index_of(Verdict::kNegative)]},
                  {"positive", counts[index_of(Verdict::kPositive)]},
                  {"unsure", counts[index_of(Verdict::kUnsure)]}};
    };
    Json units = by_verdict(majorities_);
    units["not_judged"] = not_judged_;
    return {
        {"format", "quarry.review_events"},
        {"format_version", 1},
        {"set", Json::parse(set_facts_json(named_.set, args_.set))},
        {"files", files_},
        {"lines",
         {{"read", review_.lines},
          {"not_judged", review_.not_judged},
          {"repeated", review_.repeated}}},
        {"verdicts", by_verdict(review_.verdicts)},
        {"negatives", std::move(units)},
        {"sample", share_json(false_ones, judged)},
        {"cells", std::move(cells)},
        {"estimate", Json::parse(estimate_json(estimate_))},
        {"agreement",
         {{"negatives", agreement_.units},
          {"verdicts", agreement_.verdicts},
          {"percent", number_json(agreement_.percent)},
          {"alpha", number_json(agreement_.alpha)},
          {"method",
           "share of agreeing pairs, mean over negatives with two verdicts or more; alpha nominal, "
           "Krippendorff 2011"}}},
        {"reviewers", std::move(reviewers)},
        {"protected",
         {{"kind", args_.kind},
          {"class", words_of(use_.exposure_class)},
          {"for_seconds", use_.use.expires ? Json(*use_.use.expires) : Json()},
          {"events", static_cast<std::uint64_t>(std::count_if(
                         events_.begin(), events_.end(),
                         [&](const FeedbackEvent& e) { return e.kind == args_.kind; }))}}},
        {"changed_inputs", named_.changed}};
  }

  const ReviewImportArgs& args_;
  NamedSet named_;
  Recipe recipe_;
  KindUse use_;
  std::optional<Store> store_;
  std::optional<StoreLock> lock_;
  Review review_;
  VerdictCounts majorities_ = {};
  std::uint64_t not_judged_ = 0;
  std::vector<StratumCount> counts_;
  ReviewEstimate estimate_;
  Agreement agreement_;
  std::vector<FeedbackEvent> events_;
  Json files_ = Json::array();
  std::string log_hash_;
};

/// Before anything is read.
void check_out(const ReviewImportArgs& args) {
  table_separator(args.out, "--out");
  std::vector<std::string> inputs = args.files;
  inputs.push_back(args.recipe);
  check_no_input(args.out, inputs);
  check_export_target(args.out, args.overwrite, false);
}

int run_review_import(const ReviewImportArgs& args, const CLI::App& verb, const Context& context) {
  if (args.out.empty() && (args.overwrite || args.with_confirmed || !args.time.empty()))
    throw ConfigError(
        "--overwrite, --with-confirmed and --time are about the log of events, and without --out "
        "none is written; give --out, or leave them out");
  if (!args.out.empty()) check_out(args);
  if (args.kind.empty() || args.confirmed_kind.empty())
    throw ConfigError("--kind and --confirmed-kind must name a kind of events");
  ReviewImport review(args, verb, context);
  review.say_figures();
  const auto put_json = [&] {
    if (args.json)
      std::puts(review.json().dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  };
  if (args.out.empty()) {
    std::fputs("figures only: without --out no log of events is written\n", stderr);
    put_json();
    return 0;
  }
  try {
    review.write();
  } catch (...) {
    put_json();  // the figures hold, whatever the recipe does with events
    throw;
  }
  review.say_log();
  put_json();
  return 0;
}

}  // namespace

void add_review_import(CLI::App& review, Context& context) {
  auto args = std::make_shared<ReviewImportArgs>();
  CLI::App* verb = review.add_subcommand(
      "import",
      "take experts' verdicts: figures, and events that protect false negatives from the next "
      "version on");
  verb->add_option("files", args->files, "tables of quarry review export, filled in")->required();
  verb->add_option("--set", args->set, "the set that was reviewed: folder, or STORE@VERSION")
      ->required();
  verb->add_option("--out", args->out,
                   "log of events to write (.csv, .tsv), with ids of users, for quarry refresh "
                   "--more-events; without it figures only");
  verb->add_option("--kind", args->kind, "kind of the events that protect")->capture_default_str();
  verb->add_option("--time", args->time, "their time; default: as-of of the set");
  verb->add_option("--recipe", args->recipe,
                   "the recipe of the next refresh, where it is not the set's");
  verb->add_flag("--with-confirmed", args->with_confirmed,
                 "events for confirmed negatives, too; only where the recipe names their kind");
  verb->add_option("--confirmed-kind", args->confirmed_kind, "kind of those events")
      ->capture_default_str();
  verb->add_flag("--overwrite", args->overwrite, "replace what an earlier import wrote there");
  verb->add_flag("--verify", args->verify, "recompute the hashes of all shards first");
  verb->add_flag("--allow-changed", args->allow_changed,
                 "go on though an input is not what the set was mined from");
  verb->add_flag("--json", args->json, "what was found, as JSON on stdout");
  auto* inputs =
      verb->add_option_group("inputs", "files in the place of those that the manifest records");
  add_run_options(*inputs, args->flags, OptionUse::kShow);
  verb->callback([&context, args, inputs] {
    context.run = [&context, args, inputs] { return run_review_import(*args, *inputs, context); };
  });
}

}  // namespace quarry
