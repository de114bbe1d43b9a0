// Asks processor and system for matrix tiles.
#include "kernels/core/x86_tiles.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace quarry {

#if defined(__x86_64__) && defined(__linux__)
namespace {

/// Extended state that the system saves for programs: the XCR0 register.
std::uint64_t saved_state() {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return std::uint64_t{high} << 32 | low;
}

/// Linux gives a process the tiles when it asks (Documentation/arch/x86/xstate.rst).
bool ask_for_tiles() {
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

/// Registers of CPUID leaf 7 where the tiles themselves may be used, else 0.
std::uint32_t find_products() {
  std::uint32_t a = 0;
  std::uint32_t b = 0;
  std::uint32_t c = 0;
  std::uint32_t d = 0;
  constexpr std::uint32_t kSavesState = 1u << 27;
  constexpr std::uint32_t kTiles = 1u << 24;
  constexpr std::uint64_t kTileState = 0x60000;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kSavesState) == 0) return 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kTiles) == 0) return 0;
  return (saved_state() & kTileState) == kTileState && ask_for_tiles() ? d : 0;
}

}  // namespace

bool has_tile_products(TileProducts products) {
  static const std::uint32_t found = find_products();
  return (found & static_cast<std::uint32_t>(products)) != 0;
}

#else

bool has_tile_products(TileProducts) { return false; }

#endif

}  // namespace quarry
