// Whether a retriever's name is one, asked before anything is loaded or built.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/core/exact_score.h"

namespace quarry {

/// Throws ConfigError if `kind` is neither an exact_kind() nor "auto" nor an
/// index string that FAISS takes for vectors of `dim` numbers, or if this build has no FAISS.
/// Builds nothing.
void check_index_name(const std::string& kind, std::uint32_t dim, Metric metric);

}  // namespace quarry
