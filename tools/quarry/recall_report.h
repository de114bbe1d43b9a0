// What an approximate retriever lost in a run, for manifests and for people.
#pragma once

#include <atomic>
#include <optional>
#include <string>

#include "host/mine/recall.h"
#include "tools/quarry/load_inputs.h"

namespace quarry {

/// What was measured, or why nothing was: "" for exact retrieval.
struct MeasuredRecall {
  std::optional<RecallReport> report;
  std::string why;
};

/// Of a run whose rows begin at `first_row` of the inputs: reads the sampled rows again and
/// measures. Memory that does not suffice for it is no reason to lose the run; throws otherwise as
/// Miner::mine, Cancelled at a stop.
MeasuredRecall measure_recall(const RecallSample& sample, const Inputs& inputs,
                              std::uint64_t first_row, Miner& miner, const std::atomic<bool>* stop);

/// JSON text: null for exact retrieval, else an object. `mine_seconds`: what mining took, to
/// compare the cost with.
std::string recall_json(const MeasuredRecall& recall, double mine_seconds);
/// The same in a line or two, "" for exact retrieval. `json`: what recall_json gave, perhaps read
/// back from a manifest.
std::string recall_words(const std::string& json);
/// A warning if fewer than `wanted` (a share) of the nearest items, or of the negatives that a
/// search finds, were found; else "".
std::string recall_warning(const MeasuredRecall& recall, double wanted);

}  // namespace quarry
