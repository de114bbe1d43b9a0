// The audit of a finished negative set: walks it once, judges it by gates and tells what it found.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "host/audit/gates.h"
#include "host/audit/report.h"
#include "host/data/audit_tables.h"
#include "host/mine/inputs.h"
#include "host/store/negative_set.h"

namespace quarry {

/// What is judged, and against what. Nothing is owned; what may be null leaves gates unchecked, and
/// these say so.
struct AuditInputs {
  const NegativeSet* set = nullptr;
  std::string name;                     ///< of the set, for the report
  const Recipe* recipe = nullptr;       ///< as recorded
  const MinerInputs* tables = nullptr;  ///< as the run was given: embeddings, exposure, catalogue
  std::uint32_t seed = 0, round = 0;
  const NegativeSet* baseline = nullptr;
  std::string baseline_name;
  const Exposure* held_out = nullptr;  ///< of the held-out events, by the recipe's rules
  const Cohorts* cohorts = nullptr;
  const ScoreTable* scores = nullptr;
  std::optional<std::int64_t> now;
  const std::atomic<bool>* stop = nullptr;                ///< set: the walks end with Cancelled
  std::optional<std::vector<std::string>> changed_files;  ///< nothing: not looked at
  std::function<std::string(std::uint32_t)> item_id, item_title;  ///< for lists; may be empty
};

/// Throws Cancelled if `stop` is given and set.
void stop_audit_if_asked(const std::atomic<bool>* stop);

/// Walks the set in row order over the threads of `exec` (keys and a baseline in walks of their
/// own), samples of it again, and reads the manifest's counters. Memory beyond the mapped inputs: 8
/// bytes per row, O(items + users) times the cohorts, 9 bytes per item and thread with held-out
/// events, and unit rows where the recipe compares by cosine. The report does not depend on the
/// threads. Throws InputError where the set contradicts itself so that it cannot be read, and
/// Cancelled if asked to stop.
AuditReport audit_set(const AuditInputs& inputs, const GateConfig& gates, const Exec& exec);

}  // namespace quarry
