// How far embeddings moved between two models: whether what is nearest to users is still the same.
#pragma once

#include <cstdint>
#include <optional>

#include "host/data/embeddings.h"
#include "kernels/core/exec.h"

namespace quarry {

struct VectorDrift {
  std::uint32_t users = 0;   ///< sampled
  std::uint32_t depth = 0;   ///< nearest items compared
  double overlap = 1;        ///< mean share of them that both models name
  double low = 1, high = 1;  ///< 95 % interval of the mean over users
  /// Mean cosine of an item's vectors in both; nothing where dimensions differ or norms are 0. Two
  /// models that agree in everything but a rotation are far apart by it.
  std::optional<double> mean_cosine;
};

/// Items are matched by row, as far as both tables go; users likewise, `sample` of them spread
/// evenly. Searches exactly, on the host: two scans of the items. Throws InputError where tables of
/// one model differ in dimensions.
VectorDrift measure_vector_drift(const MatrixView& items_then, const MatrixView& users_then,
                                 const MatrixView& items_now, const MatrixView& users_now,
                                 Metric metric, const Exec& exec, std::uint32_t sample = 256,
                                 std::uint32_t depth = 100);

}  // namespace quarry
