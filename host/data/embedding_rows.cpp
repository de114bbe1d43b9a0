// Rows of embedding tables: widening to fp32, the check for rows that cannot be scored, unit
// length.
#include <cmath>
#include <cstring>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "host/data/embeddings.h"
#include "host/data/message.h"
#include "kernels/core/exact_math.h"
#include "kernels/core/exact_score.h"

namespace quarry {
namespace {

/// Exact; built from bits alone, so that flushed denormals cannot change it.
float widen_f16(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t{half & 0x8000u} << 16;
  const std::uint32_t exponent = half >> 10 & 31u;
  const std::uint32_t mantissa = half & 0x3FFu;
  if (exponent == 31) return float_of_bits(sign | 0x7F800000u | mantissa << 13);
  if (exponent != 0) return float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
  const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;  // 2^-24
  return float_of_bits(bits_of_float(magnitude) | sign);
}

void widen_f16_portable(const std::uint16_t* in, std::uint64_t count, float* out) {
  for (std::uint64_t i = 0; i < count; ++i) out[i] = widen_f16(in[i]);
}

#if defined(__x86_64__)
[[gnu::target("avx,f16c")]] void widen_f16_f16c(const std::uint16_t* in, std::uint64_t count,
                                                float* out) {
  std::uint64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i));
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(halves));
  }
  widen_f16_portable(in + i, count - i, out + i);
}
/// clang 14 does not know "f16c" as a feature name; AVX stands for the operating system's support.
bool has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __builtin_cpu_supports("avx") && __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 &&
         (ecx & bit_F16C) != 0;
}
#endif

void widen_f16_row(const std::uint16_t* in, std::uint64_t count, float* out) {
#if defined(__x86_64__)
  static const bool kHasF16c = has_f16c();
  if (kHasF16c) return widen_f16_f16c(in, count, out);
#endif
  widen_f16_portable(in, count, out);
}

void widen_bf16_row(const std::uint16_t* in, std::uint64_t count, float* out) {
  for (std::uint64_t i = 0; i < count; ++i) out[i] = float_of_bits(std::uint32_t{in[i]} << 16);
}

/// Row as fp32: in place for fp32 tables, else widened into `scratch` [dim].
const float* row_of(const MatrixView& table, std::uint64_t row, float* scratch) {
  const std::uint64_t at = row * table.dim;
  if (table.dtype == Dtype::kF32) return static_cast<const float*>(table.data) + at;
  const auto* halves = static_cast<const std::uint16_t*>(table.data) + at;
  if (table.dtype == Dtype::kF16) {
    widen_f16_row(halves, table.dim, scratch);
  } else {
    widen_bf16_row(halves, table.dim, scratch);
  }
  return scratch;
}

std::string reason_of(const float* row, std::uint32_t dim, float squared_norm) {
  for (std::uint32_t i = 0; i < dim; ++i) {
    if (!std::isfinite(row[i])) {
      return text_of("element ", i, " is ", std::isnan(row[i]) ? "NaN" : "infinite");
    }
  }
  return squared_norm == 0.0f ? "its norm is 0" : "its squared norm overflows";
}

}  // namespace

std::vector<std::uint64_t> check_rows(const MatrixView& table, Metric metric, BadRows policy,
                                      const std::string& what, const char* remedy) {
  constexpr std::size_t kNamed = 10;
  std::vector<float> scratch(table.dim);
  std::vector<std::uint64_t> bad;
  std::uint64_t num_bad = 0;
  std::string named;
  for (std::uint64_t r = 0; r < table.rows; ++r) {
    const float* row = row_of(table, r, scratch.data());
    const float squared_norm = exact_dot_host(row, row, table.dim);
    if (can_score(squared_norm, metric)) continue;
    ++num_bad;
    if (policy == BadRows::kDrop) {
      bad.push_back(r);
    } else if (num_bad <= kNamed) {
      named += text_of(num_bad == 1 ? "" : ", ", "row ", r, " (",
                       reason_of(row, table.dim, squared_norm), ")");
    }
  }
  if (policy == BadRows::kReject && num_bad > 0) {
    throw_input_error(what, ": ", num_bad, " of ", table.rows, " rows cannot be scored: ", named,
                      num_bad > kNamed ? ", ..." : "", "; elements must be finite",
                      metric == Metric::kCosine ? ", norms above 0" : "",
                      " and squared norms at most ", metric == Metric::kL2 ? "8.5e37" : "3.4e38",
                      ". ", remedy);
  }
  return bad;
}

void prepare_rows(const MatrixView& table, std::uint64_t begin, std::uint64_t end, bool unit,
                  float* out) {
  for (std::uint64_t r = begin; r < end; ++r, out += table.dim) {
    const float* row = row_of(table, r, out);
    if (row != out) std::memcpy(out, row, table.dim * sizeof(float));
    if (!unit) continue;
    const float norm = std::sqrt(exact_dot_host(out, out, table.dim));
    if (norm == 0.0f) continue;
    for (std::uint32_t i = 0; i < table.dim; ++i) out[i] = out[i] / norm;
  }
}

}  // namespace quarry
