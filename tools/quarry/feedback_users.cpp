// quarry feedback users: what users asked for, as events of the next version's log.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "host/feedback/user_wishes.h"
#include "host/store/decisions.h"
#include "host/store/store.h"
#include "kernels/core/errors.h"
#include "tools/quarry/export_file.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/named_set.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/review_verbs.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<Wish, kNumWishes> kAllWishes = {Wish::kAvoid, Wish::kNotInterested,
                                                     Wish::kHidden};

struct FeedbackUsersArgs {
  std::vector<std::string> files;
  std::string set, out, recipe;
  std::vector<std::string> map;
  std::vector<std::string> columns;
  RunOptions flags;
  bool allow_inert = false;
  bool overwrite = false, verify = false, allow_changed = false, json = false;
};

std::pair<std::string, std::string> split_pair(const std::string& text, const char* flag,
                                               const std::string& keys) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    throw ConfigError(fmt::format("{}: '{}' is not key=value; keys are {}", flag, text, keys));
  return {text.substr(0, equals), text.substr(equals + 1)};
}

/// Kinds of the events, by Wish.
std::array<std::string, kNumWishes> event_kinds(const FeedbackUsersArgs& args) {
  std::array<std::string, kNumWishes> kinds = {"avoid", "not_interested", "protected"};
  for (const std::string& text : args.map) {
    const auto [key, kind] = split_pair(text, "--map", "avoid, not_interested, hidden");
    const auto at = std::find_if(kAllWishes.begin(), kAllWishes.end(),
                                 [&key = key](Wish wish) { return key == words_of(wish); });
    if (at == kAllWishes.end())
      throw ConfigError(fmt::format(
          "--map {}: '{}' is no kind of record; avoid, not_interested and hidden are", text, key));
    kinds[static_cast<std::size_t>(*at)] = kind;
  }
  for (const Wish wish : {Wish::kAvoid, Wish::kNotInterested}) {
    if (kinds[static_cast<std::size_t>(wish)] == kinds[static_cast<std::size_t>(Wish::kHidden)])
      throw ConfigError(fmt::format(
          "--map: {} and hidden are both '{}'; one says that the user does not want the item, the "
          "other that he does",
          words_of(wish), kinds[static_cast<std::size_t>(wish)]));
  }
  return kinds;
}

EventColumns record_columns(const FeedbackUsersArgs& args) {
  EventColumns columns;
  for (const std::string& text : args.columns) {
    const auto [key, column] = split_pair(text, "--columns", "user, item, time, kind");
    std::string* target = key == "user"   ? &columns.user
                          : key == "item" ? &columns.item
                          : key == "time" ? &columns.time
                          : key == "kind" ? &columns.kind
                                          : nullptr;
    if (target == nullptr)
      throw ConfigError(fmt::format("--columns: '{}' is not one of user, item, time, kind", key));
    *target = column;
  }
  return columns;
}

/// One import, from the records to the log.
class FeedbackUsers {
 public:
  FeedbackUsers(const FeedbackUsersArgs& args, const CLI::App& verb, const Context& context)
      : args_(args),
        kinds_(event_kinds(args)),
        named_(open_named_set(args.set, {false, true, args.verify, args.allow_changed}, verb,
                              args.flags, context)),
        recipe_(next_recipe(named_, args.recipe)) {
    check_replaced(args.out, args.overwrite, "quarry.feedback_events", files_of(named_));
    check_kinds_are_read(named_.request.event_columns);
    if (!named_.store.empty()) {
      store_.emplace(Store::open(named_.store));
      lock_.emplace(store_->path());
      version_states(*store_);  // throws before anything is written where the log is damaged
    }
    const UnknownIds unknown = unknown_ids(args);
    const EventColumns columns = record_columns(args);
    std::vector<RecordFile> files;
    for (const std::string& path : args.files) {
      files.push_back({path, read_user_records(path, columns, named_.inputs->user_ids,
                                               named_.inputs->item_ids, unknown)});
      unknown_ += files.back().read.unknown_ids;
      lines_ += files.back().read.lines;
    }
    wishes_ = settle_wishes(files);
    for (const SettledWish& wish : wishes_.wishes) {
      events_.push_back({wish.user, wish.item, wish.time,
                         kinds_[static_cast<std::size_t>(wish.wish)], wish.where});
      ++counts_[static_cast<std::size_t>(wish.wish)];
    }
    for (const Wish wish : kAllWishes) {
      uses_.push_back(use_of_kind(recipe_, kinds_[static_cast<std::size_t>(wish)]));
      if (counts_[static_cast<std::size_t>(wish)] > 0) check_use(wish, uses_.back());
    }
    judge_pairs();
    judge_times();
  }

  void write() {
    files_ = Json::parse(files_json(args_.files));
    log_hash_ = write_event_log(named_, events_, args_.out, args_.overwrite, facts_json().dump());
    if (!store_) return;
    FeedbackFacts facts;
    for (const Json& file : files_) facts.files.push_back(file["xxh3_128"].get<std::string>());
    facts.events = log_hash_;
    for (const Wish wish : kAllWishes) {
      const std::uint64_t count = counts_[static_cast<std::size_t>(wish)];
      const std::string& kind = kinds_[static_cast<std::size_t>(wish)];
      if (count == 0) continue;
      const auto same = std::find_if(facts.kinds.begin(), facts.kinds.end(),
                                     [&](const auto& other) { return other.first == kind; });
      if (same != facts.kinds.end()) {
        same->second += count;
      } else {
        facts.kinds.emplace_back(kind, count);
      }
    }
    record_feedback(*store_, named_.version, facts);
  }

  void say() const {
    for (const std::string& words : warnings_) fmt::print(stderr, "warning: {}\n", words);
    fmt::print(
        stderr,
        "{}: {}; {} repeated, {} of a pair with a later one of its sort, {} aversions withdrawn, "
        "{} requests followed by an aversion{}\n",
        words_of_count(lines_, "record"), words_of_count(events_.size(), "event"), wishes_.repeated,
        wishes_.superseded, wishes_.withdrawn, wishes_.renewed,
        unknown_ > 0 ? fmt::format(", {} with unknown ids left out", unknown_) : "");
    for (std::size_t w = 0; w < kNumWishes; ++w) {
      if (counts_[w] == 0) continue;
      fmt::print(stderr, "  {} as '{}': {}, {}\n", words_of(kAllWishes[w]), printable(kinds_[w]),
                 words_of_count(counts_[w], "event"), words_of(uses_[w]));
      if (others_[w] > 0)
        fmt::print(stderr, "    of these {} pairs are of another class by other events of theirs\n",
                   others_[w]);
    }
    if (early_ > 0)
      fmt::print(stderr, "{} earlier than the first of the set's log\n",
                 early_ == 1 ? "1 event is" : fmt::format("{} events are", early_));
    fmt::print(stderr, "{}: it holds ids of users, as a log does\n", args_.out);
    std::fputs(next_words(named_, events_, args_.out, args_.recipe).c_str(), stderr);
  }

  Json json() const {
    Json result = facts_json();
    result["format"] = "quarry.feedback";
    result["log"] = {{"xxh3_128", log_hash_}, {"events", events_.size()}};
    return result;
  }

 private:
  static UnknownIds unknown_ids(const FeedbackUsersArgs& args) {
    if (args.flags.unknown_ids == "reject") return UnknownIds::kReject;
    if (args.flags.unknown_ids == "drop") return UnknownIds::kDrop;
    throw ConfigError(
        fmt::format("--unknown-ids: '{}' is not one of reject, drop", args.flags.unknown_ids));
  }

  /// Records that would change nothing, or the opposite, are refused.
  void check_use(Wish wish, const KindUse& use) {
    const std::string whose = args_.recipe.empty() ? "the set's recipe" : args_.recipe;
    const bool protects = wish == Wish::kHidden;
    if (!protects && use.exposure_class == ExposureClass::kPositive)
      throw ConfigError(fmt::format(
          "{}: events '{}' are positive, and records '{}' say that users do not want the items; "
          "name another kind with --map {}=KIND, or change the rules of [exposure]",
          whose, use.kind, words_of(wish), words_of(wish)));
    if (protects ? use.use.kept_out() : use.use.matters()) return;
    std::string words =
        fmt::format("{}: records '{}' would {}: '{}' is {}", whose, words_of(wish),
                    protects ? "not protect the items" : "have no effect", use.kind, words_of(use));
    if (args_.allow_inert) {
      warnings_.push_back(words);
      return;
    }
    throw ConfigError(fmt::format(
        "{}. In the recipe {}; then give it with --recipe FILE here and to quarry refresh, or take "
        "them as they are with --allow-inert",
        words, protects || !use.named ? how_to_keep_out_or_use(wish, use) : how_to_keep_out(use)));
  }

  static std::string how_to_keep_out_or_use(Wish wish, const KindUse& use) {
    if (wish == Wish::kHidden) return how_to_keep_out(use);
    return fmt::format(
        "name it under [exposure], as aversion = [\"{}\"], and keep the class out of branches ({{ "
        "kind = \"exposed\", classes = [\"aversion\"] }}) or draw from it (source of kind "
        "\"exposed\")",
        use.kind);
  }

  /// Other events of a pair may decide its class, whatever the new one says.
  void judge_pairs() {
    if (events_.empty()) return;
    const std::vector<PairClass> pairs = pair_classes_of(named_, recipe_, events_);
    std::vector<std::size_t> lost;
    for (std::size_t i = 0; i < events_.size(); ++i) {
      const Wish wish = wishes_.wishes[i].wish;
      const auto w = static_cast<std::size_t>(wish);
      if (pairs[i].exposure_class != uses_[w].exposure_class) ++others_[w];
      if (wish == Wish::kHidden && uses_[w].use.kept_out() && !pairs[i].kept_out) lost.push_back(i);
    }
    if (lost.empty()) return;
    std::string words = fmt::format(
        "{}: other events of the user and the item decide, or it is too long ago, so '{}' would "
        "not protect {}",
        places_of(events_, lost), kinds_[static_cast<std::size_t>(Wish::kHidden)],
        lost.size() == 1 ? "it" : "them");
    if (!args_.allow_inert)
      throw InputError(fmt::format(
          "{}: the first rule of [exposure] that matches counts. Put the rule with '{}' first, "
          "then "
          "give the recipe with --recipe FILE here and to quarry refresh, or take them as they are "
          "with --allow-inert",
          words, kinds_[static_cast<std::size_t>(Wish::kHidden)]));
    warnings_.push_back(std::move(words));
  }

  void judge_times() {
    if (!named_.inputs->exposure) return;
    const RunOptions& options = named_.request.options;
    std::vector<std::string> logs = options.more_events;
    logs.insert(logs.begin(), options.events);
    const std::int64_t first = times_of(logs, named_.request.event_columns).first;
    const std::int64_t as_of = named_.inputs->exposure->as_of;
    for (const FeedbackEvent& event : events_) {
      early_ += event.time < first ? 1 : 0;
      late_ += event.time > as_of ? 1 : 0;
    }
  }

  Json facts_json() const {
    Json kinds = Json::array();
    for (std::size_t w = 0; w < kNumWishes; ++w)
      kinds.push_back({{"record", words_of(kAllWishes[w])},
                       {"kind", kinds_[w]},
                       {"events", counts_[w]},
                       {"class", words_of(uses_[w].exposure_class)},
                       {"named", uses_[w].named},
                       {"kept_out_of", uses_[w].use.closed},
                       {"source_of", uses_[w].use.sources},
                       {"open", uses_[w].use.open},
                       {"for_seconds", uses_[w].use.expires ? Json(*uses_[w].use.expires) : Json()},
                       {"of_another_class", others_[w]}});
    return {{"format", "quarry.feedback_events"},
            {"format_version", 1},
            {"set", Json::parse(set_facts_json(named_.set, args_.set))},
            {"files", files_},
            {"records",
             {{"read", lines_},
              {"unknown_ids", unknown_},
              {"repeated", wishes_.repeated},
              {"superseded", wishes_.superseded},
              {"withdrawn", wishes_.withdrawn},
              {"renewed", wishes_.renewed},
              {"before_the_log", early_},
              {"after_as_of", late_}}},
            {"kinds", std::move(kinds)},
            {"warnings", warnings_},
            {"changed_inputs", named_.changed}};
  }

  const FeedbackUsersArgs& args_;
  std::array<std::string, kNumWishes> kinds_;
  NamedSet named_;
  Recipe recipe_;
  std::optional<Store> store_;
  std::optional<StoreLock> lock_;
  UserWishes wishes_;
  std::vector<KindUse> uses_;  ///< by Wish
  std::vector<FeedbackEvent> events_;
  std::array<std::uint64_t, kNumWishes> counts_ = {}, others_ = {};
  std::uint64_t lines_ = 0, unknown_ = 0, early_ = 0, late_ = 0;
  std::vector<std::string> warnings_;
  Json files_ = Json::array();
  std::string log_hash_;
};

int run_feedback_users(const FeedbackUsersArgs& args, const CLI::App& verb,
                       const Context& context) {
  table_separator(args.out, "--out");
  std::vector<std::string> inputs = args.files;
  inputs.push_back(args.recipe);
  check_no_input(args.out, inputs);
  check_export_target(args.out, args.overwrite, false);
  FeedbackUsers feedback(args, verb, context);
  feedback.write();
  feedback.say();
  if (args.json)
    std::puts(feedback.json().dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  return 0;
}

}  // namespace

void add_feedback_users(CLI::App& feedback, Context& context) {
  auto args = std::make_shared<FeedbackUsersArgs>();
  CLI::App* verb = feedback.add_subcommand(
      "users", "take what users asked for: avoid, not_interested, hidden (why was it hidden?)");
  verb->add_option("files", args->files, "tables with user, item, time and kind")->required();
  verb->add_option("--set", args->set, "the set that users were shown: folder, or STORE@VERSION")
      ->required();
  verb->add_option("--out", args->out,
                   "log of events to write (.csv, .tsv), with ids of users, for quarry refresh "
                   "--more-events")
      ->required();
  verb->add_option("--map", args->map,
                   "kinds of the events: avoid=KIND, not_interested=KIND, hidden=KIND (default: "
                   "avoid, not_interested, protected)")
      ->delimiter(',');
  verb->add_option("--columns", args->columns,
                   "names in the files: user=..,item=..,time=..,kind=..")
      ->delimiter(',');
  verb->add_option("--recipe", args->recipe,
                   "the recipe of the next refresh, where it is not the set's");
  verb->add_flag("--allow-inert", args->allow_inert,
                 "take records that the recipe does nothing with");
  verb->add_flag("--overwrite", args->overwrite, "replace what an earlier import wrote there");
  verb->add_flag("--verify", args->verify, "recompute the hashes of all shards first");
  verb->add_flag("--allow-changed", args->allow_changed,
                 "go on though an input is not what the set was mined from");
  verb->add_flag("--json", args->json, "what was taken, as JSON on stdout");
  auto* inputs =
      verb->add_option_group("inputs", "files in the place of those that the manifest records");
  add_run_options(*inputs, args->flags, OptionUse::kShow);
  verb->callback([&context, args, inputs] {
    context.run = [&context, args, inputs] { return run_feedback_users(*args, *inputs, context); };
  });
}

}  // namespace quarry
