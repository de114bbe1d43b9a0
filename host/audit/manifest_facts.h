// What a set's manifest says of its run, as far as an audit compares it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/audit/report.h"
#include "host/store/negative_set.h"

namespace quarry {

struct BranchFacts {
  std::string name;
  std::uint64_t examined = 0, pool = 0, picked = 0, unscored = 0;
  std::vector<std::pair<std::string, std::uint64_t>> rejected;  ///< by filter, in their order
};
struct StratumFacts {
  std::uint64_t requested = 0, emitted = 0;
};
/// A set that the run took negatives over from.
struct TakenSet {
  std::string table;                       ///< NAME of --pairs NAME=SET
  std::string set;                         ///< last part of its path
  std::optional<std::int64_t> knew_until;  ///< last event that it, or a set behind it, knew
  bool end_known = false;                  ///< false: of it, or a set behind it, no end is recorded
};
struct ManifestFacts {
  SetFacts set;
  bool has_counters = false;
  std::uint64_t rows = 0, requested = 0, emitted = 0, bad_rows = 0;
  std::map<std::string, std::uint64_t> missing;  ///< by name of the fill code
  std::vector<BranchFacts> branches;
  std::map<std::string, StratumFacts> strata;
  std::optional<std::int64_t> as_of, latest_event;
  std::vector<TakenSet> sets;
  std::string item_ids;  ///< hash of the file of item ids; empty: items are numbered by place
};

/// Never throws for what is missing: sets of other programs need not record a run.
ManifestFacts manifest_facts(const NegativeSet& set, const std::string& name);
/// Which of the sets knew an event after the end of the run: its as_of, else its latest event.
struct FutureSets {
  std::optional<std::uint64_t> later;  ///< nothing: it cannot be told
  std::string why;
};
FutureSets future_sets(const ManifestFacts& facts);
const char* class_name(std::uint32_t exposure_class);
/// "2024-05-01T12:30:00Z".
std::string iso_time(std::int64_t seconds);

}  // namespace quarry
