// What a mining run says about itself: the `run` object of a manifest and the summary a person
// reads.
#pragma once

#include <string>
#include <vector>

#include "host/mine/miner.h"
#include "tools/quarry/fill_warnings.h"
#include "tools/quarry/load_inputs.h"
#include "tools/quarry/recall_report.h"

namespace quarry {

/// Everything a report is made from, after the rows are mined.
struct RunFacts {
  const RunRequest* request = nullptr;
  const Inputs* inputs = nullptr;
  const Miner* miner = nullptr;
  std::uint64_t bad_rows = 0;  ///< rows whose user, or every positive, has no usable embedding
  std::vector<std::string> warnings;
  double load_seconds = 0;
  double prepare_seconds = 0;  ///< making the Miner
  double mine_seconds = 0;
  MeasuredRecall recall;             ///< of an approximate retriever
  std::uint64_t peak_resident = 0;   ///< bytes
  std::uint64_t peak_anonymous = 0;  ///< bytes, without mapped files
  std::string command_line;
  std::string set_folder;  ///< where paths are relative to
};

/// What is doubtful about a run that is legal: recipe, inputs, flags that did nothing, segments,
/// kinds of events, rows that are short.
std::vector<std::string> run_warnings(const RunRequest& request, const Inputs& inputs,
                                      const Miner& miner, std::uint64_t unknown_segments,
                                      std::uint64_t bad_rows, RowsSeen seen = RowsSeen::kAll);
/// A line on what the events are worth, pairs of each exposure class; "" without events.
std::string exposure_words(const Inputs& inputs);
/// JSON text of an object.
std::string run_to_json(const RunFacts& facts);
/// A table of words for stderr.
std::string run_to_words(const RunFacts& facts);
/// What "auto" chose, why, and what was expected of it; "null" where nothing is searched.
std::string choice_json(const Miner& miner);
/// Versions of this program and the libraries in it, as a JSON object.
std::string versions_json();

}  // namespace quarry
