// The names of fill codes, as manifests, reports and messages have them.
#pragma once

#include <cstdint>

#include "kernels/model/plan.h"

namespace quarry {

/// By FillCode. Never renamed: sets hold them.
inline constexpr const char* kFillCodeNames[] = {"filled", "exhausted", "max_rank",
                                                 "cap",    "quota",     "bad_row"};
static_assert(sizeof(kFillCodeNames) / sizeof(kFillCodeNames[0]) == kNumFillCodes);

/// "unknown" of what is no code.
constexpr const char* fill_code_name(std::uint32_t code) {
  return code < kNumFillCodes ? kFillCodeNames[code] : "unknown";
}

}  // namespace quarry
