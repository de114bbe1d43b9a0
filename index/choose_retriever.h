// What `--retriever auto` stands for: a retriever chosen from the size of the task by a cost model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/core/exact_score.h"
#include "kernels/core/exec.h"

namespace quarry {

/// What is to be searched, known before anything is built.
struct RetrievalTask {
  std::uint64_t num_items = 0;
  std::uint64_t rows = 0;  ///< queries that will be searched; 0: not known
  std::uint32_t dim = 0;
  std::uint32_t depth = 0;  ///< items wanted of each query (K), with what filters will reject
  double recall = 1;        ///< share of these that must be found, (0, 1]; 1: exact
  Metric metric = Metric::kInnerProduct;
  Device device = Device::kCpu;
  int threads = 1;     ///< for the seconds of estimates only
  bool faiss = false;  ///< this build has a FAISS
};

/// What one way is estimated to take.
struct RetrieverCost {
  std::string retriever;  ///< for make_retriever: "exact" or a FAISS index string
  std::uint32_t nprobe = 0;
  std::uint32_t ef_search = 0;
  bool exact = false;
  double build_seconds = 0;
  double rows_per_second = 0;  ///< without the build
  double work = 0;             ///< what choices are compared by, the build included
};

struct RetrieverChoice {
  RetrieverCost chosen;
  std::string rule;  ///< what decided, a sentence
};

/// Ways that satisfy task.recall, "exact" first, by a model fitted to measurements
/// (choose_retriever.cpp). Approximate ones only if task.recall is below 1 and task.faiss holds.
std::vector<RetrieverCost> retriever_costs(const RetrievalTask& task);

/// A pure function of the task; task.threads changes seconds and never the choice, while device and
/// faiss may change it: machines that have both alike choose the same retriever. Never approximate
/// if task.recall is 1. Throws ConfigError for a recall outside (0, 1].
RetrieverChoice choose_retriever(const RetrievalTask& task);

}  // namespace quarry
