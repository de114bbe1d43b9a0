// The matrix tiles of x86 (AMX): whether a program may use them, and their shapes.
#pragma once

#include <cstdint>

namespace quarry {

/// What multiplies tiles, beside the tiles themselves (CPUID leaf 7, register EDX; Intel SDM,
/// volume 2).
enum class TileProducts : std::uint32_t { kBf16 = 1u << 22, kInt8 = 1u << 25 };

/// Whether this processor has such products and the system lets programs use them. The first call
/// asks the kernel for the tiles, for the whole process: alternate signal stacks that the program
/// makes later must have room for them (sigaltstack(2), AT_MINSIGSTKSZ). False off x86 and Linux.
bool has_tile_products(TileProducts products);

/// The shapes of eight tiles as LDTILECFG reads them, palette 1 (Intel SDM, volume 1, section
/// 18.3): whole ones have 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

}  // namespace quarry
