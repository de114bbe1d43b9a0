// Whether vector registers are left with upper halves in use, which makes code for any x86-64 many
// times slower until they are cleared.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>
#endif

namespace quarry::test {

#if defined(__x86_64__)

/// XGETBV with ECX = 1 (Intel SDM, volume 1, section 13.2). State components 2 and 6: the upper
/// halves of ymm, and of zmm 0 to 15.
inline bool upper_halves_look_in_use() {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
  return (low & (1u << 2 | 1u << 6)) != 0;
}

/// Whether this processor tells use from none: some may say "in use" of what is clear. In builds
/// with sanitizers their code around a function uses registers too.
inline bool can_tell_use() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return false;
#endif
  std::uint32_t a = 0;
  std::uint32_t b = 0;
  std::uint32_t c = 0;
  std::uint32_t d = 0;
  constexpr std::uint32_t kTellsUse = 1u << 2;
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || __get_cpuid_count(0xD, 1, &a, &b, &c, &d) == 0 ||
      (a & kTellsUse) == 0)
    return false;
  __asm__ volatile("vpcmpeqd %%ymm1, %%ymm1, %%ymm1" ::: "xmm1");
  const bool used = upper_halves_look_in_use();
  __asm__ volatile("vzeroupper" ::: "xmm1");
  return used && !upper_halves_look_in_use();
}

/// Asked before main: the question clears them.
inline const bool kCanTellUse = can_tell_use();

/// False too where the processor cannot tell.
inline bool upper_halves_in_use() { return kCanTellUse && upper_halves_look_in_use(); }

#else

inline constexpr bool kCanTellUse = false;
inline bool upper_halves_in_use() { return false; }

#endif

}  // namespace quarry::test
