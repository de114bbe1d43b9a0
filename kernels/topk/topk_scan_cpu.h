// Forms of append_row_host and append_two_lists_host for one kind of processor. Private to
// kernels/topk.
#pragma once

#include "kernels/topk/topk.h"

namespace quarry {

#if defined(__x86_64__)
/// Sixteen scores at a time; needs AVX-512F.
std::uint32_t append_avx512(const float* scores, const float* bias, std::uint32_t n,
                            std::uint32_t first_item, const std::uint32_t* allowed, float threshold,
                            std::uint64_t* keys, std::uint32_t count);
TopkAppended append_two_avx512(const float* scores, const float* bias, std::uint32_t n,
                               std::uint32_t first_item, const TopkBounds& bounds,
                               std::uint64_t* counting, std::uint64_t* others, TopkAppended filled);
std::uint32_t split_avx512(std::uint64_t* keys, std::uint32_t n, std::uint64_t pivot);
#endif

}  // namespace quarry
