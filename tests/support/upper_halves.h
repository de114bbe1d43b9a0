// Whether vector registers are left with upper halves in use, which makes code for any x86-64 many
// times slower until they are cleared.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>
#endif

namespace quarry::test {

/// Whether the processor can tell (XGETBV with ECX = 1; Intel SDM, volume 1, section 13.2).
inline bool can_tell_use() {
#if defined(__x86_64__)
  std::uint32_t a = 0;
  std::uint32_t b = 0;
  std::uint32_t c = 0;
  std::uint32_t d = 0;
  constexpr std::uint32_t kTellsUse = 1u << 2;
  return __get_cpuid_count(0xD, 1, &a, &b, &c, &d) != 0 && (a & kTellsUse) != 0;
#else
  return false;
#endif
}

/// False too where it cannot. State components 2 and 6: the upper halves of ymm, and of zmm 0
/// to 15.
inline bool upper_halves_in_use() {
  if (!can_tell_use()) return false;
#if defined(__x86_64__)
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
  return (low & (1u << 2 | 1u << 6)) != 0;
#else
  return false;
#endif
}

}  // namespace quarry::test
