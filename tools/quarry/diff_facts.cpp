// Facts of two manifests, compared.
#include "tools/quarry/diff_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "host/store/text_diff.h"
#include "tools/quarry/progress.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json object_at(const Json& json, const char* key) {
  if (!json.is_object() || !json.contains(key) || !json[key].is_object()) return Json::object();
  return json[key];
}

Json value_at(const Json& json, const char* key) {
  return json.is_object() && json.contains(key) ? json[key] : Json(nullptr);
}

/// Options that name files, which are compared by their content, and such as decide no row.
bool is_left_out(const std::string& option) {
  static const std::vector<std::string> kLeftOut = {
      "items",       "users",       "item-ids", "user-ids",  "events", "more-events",
      "catalogue",   "rows",        "pairs",    "feature",   "recipe", "index-cache",
      "recall-rows", "allow-inert", "threads",  "tile",      "device", "seed",
      "host-memory", "round",       "as-of",    "item-list", "set",    "store"};
  return std::find(kLeftOut.begin(), kLeftOut.end(), option) != kLeftOut.end();
}

struct Made {
  Json manifest, run;
};

Made made_by(const NegativeSet& set) {
  Made made;
  made.manifest = Json::parse(set.manifest_json(), nullptr, false);
  made.run = object_at(made.manifest, "run");
  return made;
}

void add_options(const Json& a, const Json& b, std::vector<Fact>& facts) {
  std::vector<std::string> names;
  for (const Json* options : {&a, &b}) {
    for (const auto& [name, value] : options->items()) {
      if (!is_left_out(name) && std::find(names.begin(), names.end(), name) == names.end())
        names.push_back(name);
    }
  }
  for (const std::string& name : names) {
    facts.push_back({"option --" + name, text_of(value_at(a, name.c_str())),
                     text_of(value_at(b, name.c_str()))});
  }
}

struct InputFact {
  std::uint64_t bytes = 0;
  std::string hash;
};

std::map<std::string, InputFact> inputs_of(const Json& run) {
  std::map<std::string, InputFact> inputs;
  const Json files = value_at(run, "inputs");
  if (!files.is_array()) return inputs;
  for (const Json& file : files) {
    const Json role = value_at(file, "role");
    const Json bytes = value_at(file, "bytes");
    if (!role.is_string()) continue;
    inputs[role.get<std::string>()] = {bytes.is_number_unsigned() ? bytes.get<std::uint64_t>() : 0,
                                       text_of(value_at(file, "xxh3_128"))};
  }
  return inputs;
}

std::vector<InputChange> changes_of(const Json& a, const Json& b) {
  using Kind = InputChange::Kind;
  const auto in_a = inputs_of(a), in_b = inputs_of(b);
  std::vector<InputChange> changes;
  for (const auto& [role, file] : in_a) {
    const auto other = in_b.find(role);
    if (other == in_b.end()) {
      changes.push_back({role, Kind::kRemoved, file.bytes, 0});
    } else {
      const bool same = file.hash == other->second.hash && file.bytes == other->second.bytes;
      changes.push_back(
          {role, same ? Kind::kSame : Kind::kChanged, file.bytes, other->second.bytes});
    }
  }
  for (const auto& [role, file] : in_b) {
    if (!in_a.contains(role)) changes.push_back({role, Kind::kAdded, 0, file.bytes});
  }
  return changes;
}

bool differs(const RecordedFacts& facts, const char* name) {
  const Fact* fact = facts.find(name);
  return fact != nullptr && !fact->same();
}

bool input_differs(const RecordedFacts& facts, const std::string& role) {
  // Of several files of one role each has a number: "more-events 1".
  return std::any_of(facts.inputs.begin(), facts.inputs.end(), [&](const InputChange& input) {
    return (input.role == role || input.role.starts_with(role + " ")) &&
           input.kind != InputChange::Kind::kSame;
  });
}

/// Why the rows may differ, as far as it is recorded.
void say_causes(const RecordedFacts& facts, std::vector<std::string>& all) {
  const std::size_t before = all.size();
  if (!facts.recipe_diff.empty())
    all.emplace_back("the recipes differ: other rules choose the negatives");
  if (differs(facts, "seed") || differs(facts, "round"))
    all.emplace_back(
        "seed or round differ: every random draw is another, so sampled branches differ by chance "
        "alone");
  if (input_differs(facts, "items") || input_differs(facts, "users"))
    all.emplace_back(
        "the embeddings differ: scores, ranks and what is near the positives are another model's");
  if (input_differs(facts, "events") || input_differs(facts, "more-events") ||
      differs(facts, "as_of"))
    all.emplace_back(
        "the events or their end differ: positives, exposure and popularity may be others");
  if (input_differs(facts, "rows") || differs(facts, "option --rows-from") ||
      differs(facts, "option --limit-rows") || differs(facts, "option --shard"))
    all.emplace_back("the training rows come from elsewhere");
  if (input_differs(facts, "catalogue"))
    all.emplace_back("the catalogue differs: attributes, strata and times of items may be others");
  if (input_differs(facts, "item-ids"))
    all.emplace_back(
        "the item ids differ: items are compared by their numbers, which mean the same only if the "
        "table was added to at its end");
  if (differs(facts, "promise"))
    all.emplace_back("the retrievers promise different things: an approximate one misses items");
  if (all.size() == before && facts.recorded_a && facts.recorded_b) {
    all.emplace_back(
        facts.all_same()
            ? "nothing that is recorded explains it: same recipe, inputs, seed and options. With "
              "an "
              "approximate retriever (same_index) that can be another machine; else one of the "
              "sets is damaged (quarry verify)"
            : "what is recorded differs only in the facts named above");
  }
}

}  // namespace

const char* words_of(InputChange::Kind kind) {
  switch (kind) {
    case InputChange::Kind::kSame:
      return "same";
    case InputChange::Kind::kChanged:
      return "changed";
    case InputChange::Kind::kAdded:
      return "added";
    case InputChange::Kind::kRemoved:
      return "removed";
  }
  return "unknown";
}

bool RecordedFacts::all_same() const {
  return recipe_diff.empty() && recorded_a == recorded_b &&
         std::all_of(facts.begin(), facts.end(), [](const Fact& fact) { return fact.same(); }) &&
         std::all_of(inputs.begin(), inputs.end(), [](const InputChange& input) {
           return input.kind == InputChange::Kind::kSame;
         });
}

const Fact* RecordedFacts::find(const std::string& name) const {
  const auto found =
      std::find_if(facts.begin(), facts.end(), [&](const Fact& fact) { return fact.name == name; });
  return found != facts.end() ? &*found : nullptr;
}

RecordedFacts facts_of(const NegativeSet& a, const NegativeSet& b, const std::string& name_a,
                       const std::string& name_b) {
  const Made x = made_by(a), y = made_by(b);
  RecordedFacts out;
  out.recorded_a = x.run.contains("options");
  out.recorded_b = y.run.contains("options");
  const auto add = [&out](const char* name, const Json& p, const Json& q) {
    out.facts.push_back({name, text_of(p), text_of(q)});
  };
  for (const char* key : {"rows", "k", "num_items", "branches", "strata"})
    add(key, value_at(x.manifest, key), value_at(y.manifest, key));
  add("model", value_at(object_at(x.manifest, "store"), "model"),
      value_at(object_at(y.manifest, "store"), "model"));
  const Json recipe_x = object_at(x.run, "recipe"), recipe_y = object_at(y.run, "recipe");
  add("recipe", value_at(recipe_x, "name"), value_at(recipe_y, "name"));
  add("recipe_hash", value_at(recipe_x, "hash"), value_at(recipe_y, "hash"));
  for (const char* key : {"seed", "round", "as_of"})
    add(key, value_at(x.run, key), value_at(y.run, key));
  const Json search_x = object_at(x.run, "search"), search_y = object_at(y.run, "search");
  for (const char* key : {"retriever", "promise"})
    add(key, value_at(search_x, key), value_at(search_y, key));
  add("quarry", value_at(object_at(x.run, "versions"), "quarry"),
      value_at(object_at(y.run, "versions"), "quarry"));
  add_options(object_at(x.run, "options"), object_at(y.run, "options"), out.facts);
  out.inputs = changes_of(x.run, y.run);
  const Json text_x = value_at(recipe_x, "text"), text_y = value_at(recipe_y, "text");
  out.recipe_diff =
      unified_diff(text_x.is_string() ? text_x.get<std::string>() : "",
                   text_y.is_string() ? text_y.get<std::string>() : "", name_a, name_b);
  return out;
}

std::vector<std::string> meaning_of(const RecordedFacts& facts, const SetDiff& diff) {
  std::vector<std::string> all;
  if (diff.identical) {
    if (!facts.all_same())
      all.emplace_back("the rows are the same although what is recorded of the runs is not");
    return all;
  }
  if (diff.common == 0) {
    all.emplace_back(
        "no row of one has the key of a row of the other: the sets are of different training rows, "
        "or their users or items have other ids");
  }
  if (differs(facts, "k"))
    all.emplace_back(
        "k differs: rows of one can hold negatives that the other has no slots for, and no row is "
        "equal in every column");
  if (!facts.recorded_a || !facts.recorded_b)
    all.emplace_back("a set does not record how it was mined, so causes are not known");
  say_causes(facts, all);
  if (diff.repeated_keys > 0)
    all.push_back(fmt::format(
        "{} rows have the key of an earlier row of their set; they were joined in order",
        words_of_count(diff.repeated_keys)));
  if (diff.overlap && diff.overlap->rows > 0) {
    constexpr double kNothingNew = 0.9, kBreak = 0.1;
    if (diff.overlap->mean > kNothingNew && diff.overlap->mean < 1)
      all.push_back(fmt::format(
          "on average {:.1f} % of a row's negatives of both sets are in both: training on the new "
          "set repeats the last",
          100 * diff.overlap->mean));
    if (diff.overlap->mean < kBreak)
      all.push_back(fmt::format(
          "on average only {:.1f} % of a row's negatives of both sets are in both: a break, as "
          "after another model or another numbering of the items",
          100 * diff.overlap->mean));
  }
  return all;
}

}  // namespace quarry
