// Every kernel in pipeline order on one problem, on any backend, with what each leaves behind.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "kernels/core/exec.h"
#include "tests/support/problems.h"

namespace quarry::test {

/// One named array after a stage.
struct Record {
  std::string name;
  std::size_t element;
  std::vector<unsigned char> bytes;
};

/// Runs score_positives, then sample, score_lists, exclude and select of each branch, merge and
/// tally, with random candidate lists in place of a retriever. Arrays begin filled with a pattern,
/// so a write outside of what a kernel owns shows as a difference. Throws ConfigError like Miner.
std::vector<Record> run_kernels(const Problem& problem, const Exec& exec);

/// First difference of two runs, "" if there is none.
std::string difference(const std::vector<Record>& expected, const std::vector<Record>& actual);

}  // namespace quarry::test
