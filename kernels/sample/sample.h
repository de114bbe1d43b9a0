// sample: the distinct random draws of `pool` branches.
#pragma once

#include "kernels/core/exec.h"
#include "kernels/model/rows.h"
#include "kernels/model/world.h"

namespace quarry {

struct SampleArgs {
  const World* world = nullptr;
  const Plan* plan = nullptr;
  RowBatch rows;
  std::uint32_t branch = 0;
  std::uint64_t stride = 0;        ///< >= branch.draws
  std::uint32_t* items = nullptr;  ///< [rows, stride] out: in draw order
  std::uint32_t* count = nullptr;  ///< [rows] out
  void* scratch = nullptr;         ///< sample_scratch_bytes(...)
};

/// Stream-ordered. Cost: O(draws log exclusions) per row; rows that own nearly everything add
/// passes over the catalogue.
void sample(const Exec& exec, const SampleArgs& args);
void sample_gpu(const Exec& exec, const SampleArgs& args);
std::uint64_t sample_scratch_bytes(const Exec& exec, std::uint32_t num_rows, std::uint32_t draws);

}  // namespace quarry
