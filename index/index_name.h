// Whether a retriever's name is one, asked before anything is loaded or built.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/core/exact_score.h"

namespace quarry {

/// Throws ConfigError if `kind` is neither "exact", "exact-fp32", "exact-bf16" nor "auto" nor an
/// index string that FAISS takes for vectors of `dim` numbers, or if this build has no FAISS.
/// Builds nothing.
void check_index_name(const std::string& kind, std::uint32_t dim, Metric metric);

}  // namespace quarry
