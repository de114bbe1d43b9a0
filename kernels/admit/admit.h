// admit: which rows of a tile can be mined, and their query vectors as the kernels read them.
#pragma once

#include "kernels/core/exec.h"
#include "kernels/model/rows.h"
#include "kernels/model/world.h"

namespace quarry {

struct AdmitArgs {
  const World* world = nullptr;
  RowBatch rows;  ///< `bad`, `query` and `queries` are not read
  const float* vectors =
      nullptr;  ///< by place, [dim] each, as the caller has them; null: none to prepare
  float* queries = nullptr;  ///< [rows, dim] out where there are vectors: unit rows under kCosine
  std::uint8_t* bad = nullptr;  ///< [rows] out, 1: the user or a positive is outside its table, or
                                ///< the vector has an element that is not finite, or no norm
};

/// The query of a bad row becomes 0. Stream-ordered. Cost: one pass over vectors and positives.
void admit(const Exec& exec, const AdmitArgs& args);
void admit_gpu(const Exec& exec, const AdmitArgs& args);

}  // namespace quarry
