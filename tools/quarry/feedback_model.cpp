// quarry feedback model: what a model made of its negatives, as shares of a recipe for review.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "host/data/segment_outputs.h"
#include "host/feedback/recipe_shares.h"
#include "host/feedback/share_rule.h"
#include "host/recipe/section.h"
#include "host/store/decisions.h"
#include "host/store/digest.h"
#include "host/store/text_diff.h"
#include "kernels/core/errors.h"
#include "tools/quarry/export_file.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/recorded_run.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

struct ModelFeedbackArgs {
  std::string outputs, set, out;
  ShareRule rule;
  bool overwrite = false;
  bool record = false;
  bool json = false;
};

/// A group of shares, and what becomes of each.
struct MovedGroup {
  ShareGroup group;
  std::vector<ShareSegment> segments;  ///< shares in grains of the group
  ShareStep step;

  std::uint64_t units(std::uint64_t grains) const { return grains * group.grain; }
};

struct ProposedRecipe {
  std::vector<MovedGroup> groups;
  std::string before;  ///< the set's recipe
  std::string text;    ///< with the new shares
  std::vector<std::string> warnings;

  bool changed() const {
    return std::any_of(groups.begin(), groups.end(),
                       [](const MovedGroup& g) { return g.step.changed(); });
  }
};

/// Strata of the set, with the slots that its run asked for.
std::vector<StratumSlots> strata_of(const NegativeSet& set) {
  std::vector<StratumSlots> strata;
  for (const std::string& name : set.schema().strata) strata.push_back({name, 0});
  const Json manifest = Json::parse(set.manifest_json(), nullptr, false);
  const Json run = manifest.is_object() ? manifest.value("run", Json()) : Json();
  const Json said = run.is_object() ? run.value("strata", Json()) : Json();
  if (!said.is_array()) return strata;
  for (const Json& entry : said) {
    if (!entry.is_object() || !entry.contains("name") || !entry.contains("requested") ||
        !entry["name"].is_string() || !entry["requested"].is_number_unsigned())
      throw InputError(set.manifest_path() + ": run.strata is damaged; mine the set again");
    for (StratumSlots& stratum : strata) {
      if (stratum.name == entry["name"].get<std::string>())
        stratum.requested = entry["requested"].get<std::uint64_t>();
    }
  }
  return strata;
}

/// The first names, as many as a person reads.
std::string some_names(const std::vector<std::string>& names) {
  constexpr std::size_t kMostNames = 20;
  const std::size_t shown = std::min(names.size(), kMostNames);
  const std::string words =
      recipe_text::joined({names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown)});
  return shown == names.size() ? words : fmt::format("{} ... ({} in all)", words, names.size());
}

/// Gives a line of the outputs to its segment.
void take_line(const SegmentOutput& line, const std::string& where, MovedGroup& moved) {
  const auto found = std::find_if(moved.segments.begin(), moved.segments.end(),
                                  [&](const ShareSegment& s) { return s.name == line.segment; });
  if (found == moved.segments.end()) {
    std::vector<std::string> known;
    for (const ShareSegment& segment : moved.segments) known.push_back(segment.name);
    throw InputError(
        fmt::format("{}: segment {} of {} is none to which the set's recipe gives a "
                    "share; it has: {}{}",
                    where, recipe_text::quoted(line.segment), line.by, some_names(known),
                    recipe_text::did_you_mean(line.segment, known)));
  }
  found->measured = true;
  found->negatives = line.negatives;
  found->loss = line.loss;
  found->confusions = line.confusions;
  found->predicted = line.predicted;
  found->observed = line.observed;
}

std::vector<MovedGroup> groups_of(const SegmentOutputs& outputs, const std::string& file,
                                  const Recipe& recipe, const std::vector<StratumSlots>& strata) {
  std::vector<MovedGroup> groups;
  for (const SegmentOutput& line : outputs.lines) {
    const std::string where = fmt::format("{}:{}", file, line.line);
    auto at = std::find_if(groups.begin(), groups.end(),
                           [&](const MovedGroup& g) { return g.group.by == line.by; });
    if (at == groups.end()) {
      MovedGroup moved;
      moved.group = share_group(recipe, line.by, strata, where);
      for (const auto& [name, units] : moved.group.shares) {
        ShareSegment segment;
        segment.name = name;
        segment.share = units / moved.group.grain;
        moved.segments.push_back(std::move(segment));
      }
      groups.push_back(std::move(moved));
      at = groups.end() - 1;
    }
    take_line(line, where, *at);
  }
  return groups;
}

/// The text parsed again, and held against what was meant.
void check_text(const ProposedRecipe& proposed, const Recipe& before, std::uint32_t round,
                const std::vector<StratumSlots>& strata, const std::string& out,
                std::vector<std::string>* warnings) {
  Recipe after;
  try {
    after = parse_recipe(proposed.text, out, round);
  } catch (const ConfigError& error) {
    throw ConfigError(fmt::format(
        "the changed shares do not fit the rest of the recipe, so nothing was written: {}\nWiden "
        "what is too narrow in the recipe and mine with it first, or give a smaller --step",
        error.what()));
  }
  for (const MovedGroup& moved : proposed.groups) {
    ShareGroup there = share_group(after, moved.group.by, strata, out);
    for (std::size_t i = 0; i < moved.segments.size() && moved.step.changed(); ++i)
      QUARRY_CHECK(there.shares[i].first == moved.segments[i].name &&
                   there.shares[i].second == moved.units(moved.step.changes[i].after));
  }
  const auto said_before = [&](const std::string& words) {
    return std::any_of(before.warnings.begin(), before.warnings.end(), [&](const auto& old) {
      return old.substr(old.find(": ")) == words.substr(words.find(": "));
    });
  };
  for (const std::string& words : after.warnings) {
    if (!said_before(words)) warnings->push_back(words);
  }
}

/// A cell that a short run asked for no slot of would get the share 0, and keep it for ever. Of the
/// cell of items without a value a set cannot tell whether there are any: that is a note.
void refuse_lost_cells(const MovedGroup& moved, const std::string& set) {
  if (moved.group.mode != "catalogue") return;
  std::vector<std::string> lost;
  for (const auto& [name, units] : moved.group.shares) {
    if (units == 0 && !name.empty()) lost.push_back(name);
  }
  if (lost.empty()) return;
  throw InputError(fmt::format(
      "{}: the quota of {} is \"catalogue\", and its run asked for no slot, or hardly one, of the "
      "cells: {}; as named shares they would be 0 and stay so. Mine more rows with this recipe, or "
      "name the cells' shares in its [quota] and mine with that first",
      set, moved.group.by, some_names(lost)));
}

ProposedRecipe propose(const ModelFeedbackArgs& args, const SegmentOutputs& outputs,
                       const NegativeSet& set) {
  const RecordedRun recorded = recorded_run(set, CLI::App(), RunOptions());
  const std::vector<StratumSlots> strata = strata_of(set);
  ProposedRecipe proposed;
  proposed.groups = groups_of(outputs, args.outputs, recorded.recipe, strata);
  proposed.before = proposed.text = recorded.recipe.text;
  for (MovedGroup& moved : proposed.groups) {
    moved.step = reweigh(moved.segments, args.rule);
    if (!moved.step.changed()) continue;
    refuse_lost_cells(moved, args.set);
    std::vector<std::uint64_t> shares;
    for (const ShareChange& change : moved.step.changes)
      shares.push_back(moved.units(change.after));
    proposed.text = with_shares(proposed.text, moved.group, shares);
  }
  check_text(proposed, recorded.recipe, recorded.options.round, strata, args.out,
             &proposed.warnings);
  return proposed;
}

/// What a reader of the table would else wonder about.
std::vector<std::string> notes_on(const MovedGroup& moved, const ShareRule& rule) {
  std::vector<std::string> notes;
  std::size_t moving = 0, damped = 0;
  bool differ = false;
  for (const ShareChange& change : moved.step.changes) {
    if (change.hold != ShareHold::kNone) continue;
    ++moving;
    damped += change.damping < 1 ? 1 : 0;
    differ = differ || change.factor != 1;
  }
  const bool changed = moved.step.changed();
  if (changed && !moved.group.mode.empty())
    notes.push_back(fmt::format(
        "the quota of {} is \"{}\" in the set's recipe; its cells become named shares{}",
        moved.group.by, moved.group.mode,
        moved.group.mode == "catalogue" ? ", taken from the slots that the run asked for" : ""));
  if (changed && !moved.group.mode.empty()) {
    std::vector<std::string> without;
    for (const auto& [name, units] : moved.group.shares) {
      if (units != 0) continue;
      if (!name.empty()) {
        without.push_back(name);
        continue;
      }
      notes.push_back(fmt::format(
          "items without a value of {} get the share 0, as the run asked for no slot of them; if "
          "the catalogue has some, name their share (\"\") in the recipe",
          moved.group.by));
    }
    if (!without.empty())
      notes.push_back(fmt::format(
          "no item was in these cells of {}, which get the share 0: {}; name their shares where "
          "there will be some",
          moved.group.by, some_names(without)));
  }
  if (moving > 0 && damped == moving)
    notes.push_back(fmt::format(
        "every segment of {} that may move is above --confusion-limit {}: shares cannot help; "
        "filters can, as near_duplicate or relative_margin",
        moved.group.by, rule.confusion_limit));
  else if (!changed && differ && moved.group.unit == ShareGroup::Unit::kCount)
    notes.push_back(fmt::format(
        "the branches have counts, and none moves by a whole negative within --step {} and the "
        "sum k; give shares in their place to move by less",
        rule.step));
  else if (moving == 0)
    notes.push_back(fmt::format("no segment of {} may move", moved.group.by));
  return notes;
}

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

/// A share as a number; JSON has no exact decimals, so the units stand beside it.
double share_number(const MovedGroup& moved, std::uint64_t grains) {
  const auto units = static_cast<double>(moved.units(grains));
  return moved.group.unit == ShareGroup::Unit::kCount ? units : units / 1e6;
}

const char* hold_name(ShareHold hold) {
  switch (hold) {
    case ShareHold::kNone:
      break;
    case ShareHold::kNotMeasured:
      return "not_measured";
    case ShareHold::kFewNegatives:
      return "few_negatives";
    case ShareHold::kNoShare:
      return "no_share";
    case ShareHold::kAlone:
      return "alone";
  }
  return "none";
}

Json group_json(const MovedGroup& moved, const ShareRule& rule) {
  Json segments = Json::array();
  for (std::size_t i = 0; i < moved.segments.size(); ++i) {
    const ShareSegment& s = moved.segments[i];
    const ShareChange& c = moved.step.changes[i];
    const bool sure = c.deviation && std::isfinite(*c.deviation);
    segments.push_back({{"segment", s.name},
                        {"before", share_number(moved, c.before)},
                        {"after", share_number(moved, c.after)},
                        {"least", share_number(moved, c.low)},
                        {"most", share_number(moved, c.high)},
                        {"held", hold_name(c.hold)},
                        {"why", words_of(s, c, rule)},
                        {"negatives", s.measured ? Json(s.negatives) : Json(nullptr)},
                        {"loss", or_null(s.loss)},
                        {"loss_excess", or_null(c.excess)},
                        {"confusions", or_null(s.confusions)},
                        {"confusion_low", or_null(c.confusion_low)},
                        {"predicted", or_null(s.predicted)},
                        {"observed", or_null(s.observed)},
                        {"deviation", sure ? Json(*c.deviation) : Json(nullptr)},
                        {"trust", c.trust},
                        {"damping", c.damping},
                        {"factor", c.factor}});
  }
  return {{"by", moved.group.by},
          {"unit", moved.group.unit == ShareGroup::Unit::kCount ? "count" : "share"},
          {"mode", moved.group.mode.empty() ? "named" : moved.group.mode},
          {"changed", moved.step.changed()},
          {"mean_loss", or_null(moved.step.mean_loss)},
          {"notes", notes_on(moved, rule)},
          {"segments", std::move(segments)}};
}

void print_feedback_json(const ModelFeedbackArgs& args, const ProposedRecipe& proposed,
                         const std::string& diff, const std::string& outputs_hash) {
  Json groups = Json::array();
  for (const MovedGroup& moved : proposed.groups) groups.push_back(group_json(moved, args.rule));
  const ShareRule& rule = args.rule;
  const Json json = {{"set", args.set},
                     {"outputs", args.outputs},
                     {"outputs_xxh3_128", outputs_hash},
                     {"rule",
                      {{"eta", rule.eta},
                       {"step", rule.step},
                       {"floor", rule.floor},
                       {"ceiling", rule.ceiling},
                       {"confusion_limit", rule.confusion_limit},
                       {"min_negatives", rule.min_negatives}}},
                     {"changed", proposed.changed()},
                     {"recipe", proposed.changed() ? Json(args.out) : Json(nullptr)},
                     {"groups", std::move(groups)},
                     {"diff", diff}};
  std::puts(json.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
}

void print_group(const MovedGroup& moved, const ShareRule& rule) {
  const std::vector<std::string> heads = {moved.group.by, "negatives", "old", "new"};
  std::vector<std::vector<std::string>> lines;
  std::vector<std::size_t> widths;
  widths.reserve(heads.size());
  for (const std::string& head : heads) widths.push_back(head.size());
  for (std::size_t i = 0; i < moved.segments.size(); ++i) {
    const ShareSegment& s = moved.segments[i];
    const ShareChange& c = moved.step.changes[i];
    lines.push_back({printable(s.name), s.measured ? std::to_string(s.negatives) : "-",
                     share_text(moved.group, moved.units(c.before)),
                     share_text(moved.group, moved.units(c.after)), words_of(s, c, rule)});
    for (std::size_t h = 0; h < heads.size(); ++h)
      widths[h] = std::max(widths[h], lines.back()[h].size());
  }
  fmt::print("{:<{}}  {:>{}}  {:>{}}  {:>{}}  why\n", heads[0], widths[0], heads[1], widths[1],
             heads[2], widths[2], heads[3], widths[3]);
  for (const auto& line : lines)
    fmt::print("{:<{}}  {:>{}}  {:>{}}  {:>{}}  {}\n", line[0], widths[0], line[1], widths[1],
               line[2], widths[2], line[3], widths[3], line[4]);
  for (const std::string& note : notes_on(moved, rule)) fmt::print("note: {}\n", printable(note));
  fmt::print("\n");
}

/// What the log says of it.
ModelFeedback log_line_of(const ProposedRecipe& proposed, const std::string& outputs_hash) {
  ModelFeedback feedback;
  feedback.outputs_hash = outputs_hash;
  if (proposed.changed()) {
    feedback.recipe_hash = digest_of(proposed.text).hex();
  }
  for (const MovedGroup& moved : proposed.groups) {
    for (std::size_t i = 0; i < moved.segments.size(); ++i) {
      const ShareChange& change = moved.step.changes[i];
      feedback.segments += moved.segments[i].measured ? 1 : 0;
      feedback.negatives += moved.segments[i].negatives;
      feedback.changed += change.before != change.after ? 1 : 0;
    }
  }
  return feedback;
}

/// The store of --record, locked before anything is written.
struct LockedStore {
  explicit LockedStore(const std::string& folder)
      : store(Store::open(folder)), lock(store.path()) {}
  Store store;
  StoreLock lock;
};

void put_in_place(const ModelFeedbackArgs& args, const ProposedRecipe& proposed,
                  const NegativeSet& set, const std::string& outputs_hash) {
  std::optional<LockedStore> locked;
  std::uint64_t number = 0;
  if (args.record) {
    std::string folder, reference;
    split_reference(args.set, &folder, &reference);
    locked.emplace(folder);
    version_states(locked->store);  // throws where the log is damaged
    number = locked->store.resolve(reference);
    // A tag may have moved since the version was read.
    if (locked->store.read(number, false).content_hash() != set.content_hash())
      throw InputError(
          fmt::format("{}: means another version than a moment ago; give its number", args.set));
  }
  if (proposed.changed()) {
    place_text(args.out, proposed.text, args.overwrite);
    fmt::print(stderr, "written: {}; review it, then quarry mine --recipe {}\n", args.out,
               args.out);
  } else {
    fmt::print(stderr, "nothing changes, so nothing was written\n");
  }
  if (locked) record_model_feedback(locked->store, number, log_line_of(proposed, outputs_hash));
}

int run_model_feedback(const ModelFeedbackArgs& args) {
  check_rule(args.rule);
  if (!args.out.ends_with(".toml"))
    throw ConfigError(
        fmt::format("--out {} is no name of a recipe; it must end in .toml", args.out));
  if (std::string folder, reference; args.record && !split_reference(args.set, &folder, &reference))
    throw ConfigError("--record: " + args.set + " is no version of a store; give STORE@VERSION");
  check_export_target(args.out, args.overwrite, false);
  std::error_code ignored;
  if (std::filesystem::equivalent(args.out, args.outputs, ignored))
    throw ConfigError(
        fmt::format("--out {} holds the outputs themselves; choose another --out", args.out));
  const SegmentOutputs outputs = read_segment_outputs(args.outputs);
  const std::string outputs_hash = digest_file(args.outputs).digest.hex();
  for (const std::string& column : outputs.passed_over)
    fmt::print(stderr, "note: {}: column {} says nothing here and is passed over\n",
               printable(args.outputs), printable(column));
  const NegativeSet set = open_set(args.set, false);
  if (!has_recorded_run(set))
    throw InputError(set.manifest_path() +
                     ": does not say by which recipe it was mined; name a set that quarry mined");
  const ProposedRecipe proposed = propose(args, outputs, set);
  for (const std::string& words : proposed.warnings)
    fmt::print(stderr, "warning: {}\n", printable(words));
  const std::string diff =
      unified_diff(proposed.before, proposed.text, fmt::format("recipe of {}", args.set), args.out);
  put_in_place(args, proposed, set, outputs_hash);  // before a reader may close the pipe
  if (args.json) {
    print_feedback_json(args, proposed, diff, outputs_hash);
  } else {
    for (const MovedGroup& moved : proposed.groups) print_group(moved, args.rule);
    std::fputs(diff.c_str(), stdout);
  }
  return 0;
}

}  // namespace

void add_feedback_model(CLI::App& feedback, Context& context) {
  auto args = std::make_shared<ModelFeedbackArgs>();
  CLI::App* verb = feedback.add_subcommand(
      "model",
      "what a model made of its negatives, as shares of branches and quotas in a recipe "
      "for review");
  verb->add_option("outputs", args->outputs,
                   "a table with by, segment, negatives and one or more of loss, confusions, "
                   "predicted with observed")
      ->required();
  verb->add_option("--set", args->set, "SET or STORE@VERSION that the model was trained on")
      ->required();
  verb->add_option("--out", args->out, "RECIPE.toml, the changed recipe")->required();
  verb->add_flag("--overwrite", args->overwrite, "replace a file that is there");
  verb->add_option("--eta", args->rule.eta, "how much a share follows its loss")
      ->capture_default_str();
  verb->add_option("--step", args->rule.step, "most that a share is multiplied or divided by")
      ->capture_default_str();
  verb->add_option("--floor", args->rule.floor, "least share")->capture_default_str();
  verb->add_option("--ceiling", args->rule.ceiling, "largest share")->capture_default_str();
  verb->add_option("--confusion-limit", args->rule.confusion_limit,
                   "share of suspected false negatives from which a segment may not grow")
      ->capture_default_str();
  verb->add_option("--min-negatives", args->rule.min_negatives,
                   "segments of which the model saw fewer stay as they are")
      ->capture_default_str();
  verb->add_flag("--record", args->record, "add a line on this to the log of the version's store");
  verb->add_flag("--json", args->json, "the whole reasoning as JSON on stdout");
  verb->callback([&context, args] { context.run = [args] { return run_model_feedback(*args); }; });
}

}  // namespace quarry
