// Reading a manifest's account of its run.
#include "host/audit/manifest_facts.h"

#include <fmt/format.h>

#include <ctime>
#include <nlohmann/json.hpp>

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

const Json& at(const Json& json, const char* key) {
  static const Json kNothing;
  if (!json.is_object()) return kNothing;
  const auto found = json.find(key);
  return found != json.end() ? *found : kNothing;
}
std::string text(const Json& json, const char* key) {
  const Json& value = at(json, key);
  return value.is_string() ? value.get<std::string>() : "";
}
std::uint64_t number(const Json& json, const char* key) {
  const Json& value = at(json, key);
  return value.is_number_unsigned() ? value.get<std::uint64_t>() : 0;
}
std::optional<std::int64_t> time(const Json& json, const char* key) {
  const Json& value = at(json, key);
  if (!value.is_number_integer()) return std::nullopt;
  return value.get<std::int64_t>();
}

void read_counters(const Json& run, ManifestFacts& facts) {
  const Json& fill = at(run, "fill");
  facts.has_counters = fill.is_object() && at(fill, "missing").is_object();
  facts.rows = number(fill, "rows");
  facts.requested = number(fill, "requested");
  facts.emitted = number(fill, "emitted");
  facts.bad_rows = number(at(run, "dropped"), "bad_rows");
  if (facts.has_counters) {
    for (const auto& [code, count] : at(fill, "missing").items()) {
      if (count.is_number_unsigned()) facts.missing[code] = count.get<std::uint64_t>();
    }
  }
  if (at(run, "branches").is_array()) {
    for (const Json& branch : at(run, "branches")) {
      BranchFacts b;
      b.name = text(branch, "name");
      b.examined = number(branch, "examined");
      b.pool = number(branch, "pool");
      b.picked = number(branch, "picked");
      b.unscored = number(branch, "unscored");
      if (at(branch, "filters").is_array()) {
        for (const Json& filter : at(branch, "filters"))
          b.rejected.emplace_back(text(filter, "filter"), number(filter, "rejected"));
      }
      facts.branches.push_back(std::move(b));
    }
  }
  if (at(run, "strata").is_array()) {
    for (const Json& stratum : at(run, "strata"))
      facts.strata[text(stratum, "name")] = {number(stratum, "requested"),
                                             number(stratum, "emitted")};
  }
}

void read_sets(const Json& run, ManifestFacts& facts) {
  if (!at(run, "sets").is_array()) return;
  for (const Json& entry : at(run, "sets")) {
    TakenSet taken;
    taken.table = text(entry, "pairs");
    const std::string path = text(entry, "set");
    taken.set = path.substr(path.rfind('/') + 1);
    taken.knew_until = time(entry, "knew_until");
    if (!taken.knew_until) taken.knew_until = time(entry, "as_of");  // all that was recorded once
    const Json& known = at(entry, "end_known");
    taken.end_known = known.is_boolean() ? known.get<bool>() : taken.knew_until.has_value();
    facts.sets.push_back(std::move(taken));
  }
}

}  // namespace

FutureSets future_sets(const ManifestFacts& facts) {
  if (facts.sets.empty()) return {{}, "Nothing was taken over from another set."};
  const std::optional<std::int64_t> end = facts.as_of ? facts.as_of : facts.latest_event;
  if (!end) {
    return {{},
            "The manifest names neither as_of nor a latest event of this run, so no set can be "
            "later; mine it with --as-of."};
  }
  std::string later, unknown;
  std::uint64_t num_later = 0;
  for (const TakenSet& taken : facts.sets) {
    const std::string name = fmt::format("'{}' ({})", taken.table, taken.set);
    if (taken.knew_until && *taken.knew_until > *end) {
      ++num_later;
      later += fmt::format("{}{} knew events up to {}", later.empty() ? "" : ", ", name,
                           iso_time(*taken.knew_until));
    } else if (!taken.end_known) {
      unknown += (unknown.empty() ? "" : ", ") + name;
    }
  }
  if (!unknown.empty()) {
    unknown = fmt::format("Up to when {}, or a set behind, knew events is not recorded.", unknown);
    if (num_later == 0) return {{}, unknown + " Take over from sets that were mined with --as-of."};
    unknown = " " + unknown;
  }
  if (num_later > 0)
    return {num_later, fmt::format("{}; this run ends at {}.{}", later, iso_time(*end), unknown)};
  return {0, fmt::format("No event after {} was known to the sets taken over ({}).", iso_time(*end),
                         facts.sets.size())};
}

const char* class_name(std::uint32_t c) {
  constexpr const char* kNames[kNumExposureClasses] = {"not exposed", "positive", "aversion",
                                                       "disinterest", "ambiguous"};
  return c < kNumExposureClasses ? kNames[c] : "unknown";
}

std::string iso_time(std::int64_t seconds) {
  const auto t = static_cast<std::time_t>(seconds);
  std::tm parts = {};
  char buffer[40];
  if (::gmtime_r(&t, &parts) == nullptr ||
      std::strftime(buffer, sizeof buffer, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
    return std::to_string(seconds);
  return buffer;
}

ManifestFacts manifest_facts(const NegativeSet& set, const std::string& name) {
  const Json root = Json::parse(set.manifest_json(), nullptr, false);
  const Json& run = at(root, "run");
  ManifestFacts facts;
  SetFacts& s = facts.set;
  s.name = name;
  if (at(root, "version").is_number()) s.version = at(root, "version").get<double>();
  if (at(root, "created").is_number()) s.created = at(root, "created").get<double>();
  s.content_hash = set.content_hash();
  s.rows = set.rows();
  s.k = set.k();
  s.num_items = set.schema().num_items;
  s.recipe = text(at(run, "recipe"), "name");
  s.recipe_hash = text(at(run, "recipe"), "hash");
  s.model = text(at(root, "store"), "model");
  s.seed = number(run, "seed");
  s.round = number(run, "round");
  facts.as_of = time(run, "as_of");
  facts.latest_event = time(run, "latest_event");
  if (facts.as_of) s.as_of = iso_time(*facts.as_of);
  s.retriever = text(at(run, "search"), "retriever");
  s.promise = text(at(run, "search"), "promise");
  if (at(run, "inputs").is_array()) {
    for (const Json& file : at(run, "inputs")) {
      if (text(file, "role") == "item-ids") facts.item_ids = text(file, "xxh3_128");
    }
  }
  read_sets(run, facts);
  read_counters(run, facts);
  return facts;
}

}  // namespace quarry
