// What an approximate retriever lost in a run, for manifests and for people.
#pragma once

#include <atomic>
#include <optional>
#include <string>

#include "host/mine/recall.h"
#include "tools/quarry/load_inputs.h"

namespace quarry {

/// Of a run whose rows begin at `first_row` of the inputs: reads the sampled rows again and
/// measures. Nothing where the miner is exact or the sample is empty.
std::optional<RecallReport> measure_recall(const RecallSample& sample, const Inputs& inputs,
                                           std::uint64_t first_row, Miner& miner,
                                           const std::atomic<bool>* stop);

/// JSON text: null for exact retrieval, else an object. `asked`: rows that the sample might have
/// had, 0: it was switched off. `mine_seconds`: what mining took, to compare the cost with.
std::string recall_json(const Miner& miner, const std::optional<RecallReport>& report,
                        std::uint64_t asked, double mine_seconds);
/// The same in a line or two, "" for exact retrieval. `json`: what recall_json gave, perhaps read
/// back from a manifest.
std::string recall_words(const std::string& json);
/// A warning if fewer than `wanted` (a share) of the nearest items, or of the negatives that a
/// search finds, were found; else "".
std::string recall_warning(const std::optional<RecallReport>& report, double wanted);

}  // namespace quarry
