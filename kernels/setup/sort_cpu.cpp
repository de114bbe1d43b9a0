// Radix sort: each thread counts and then moves its own stretch, so the order does not depend on
// how many there are.
#include "kernels/setup/sort_cpu.h"

#include <algorithm>
#include <array>
#include <vector>

namespace quarry {
namespace {

constexpr std::uint32_t kDigits = 256;
/// A thread's stretch is at least this long: below it, starting threads for each of 16 passes costs
/// more than they save, and much more where the processors are busy.
constexpr std::uint64_t kShortestStretch = 1 << 17;

/// Stretches of the array, one per thread but none too small to be worth one.
struct Stretches {
  std::uint64_t size;
  std::uint64_t count;
  std::uint64_t begin(std::uint64_t s) const { return size * s / count; }
};

template <class F>
void for_each_stretch(const Exec& exec, const Stretches& stretches, F&& f) {
  parallel_for(exec, stretches.count, 1, [&](std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t s = from; s < to; ++s) f(s, stretches.begin(s), stretches.begin(s + 1));
  });
}

}  // namespace

void stable_sort_by_key(const Exec& exec, HostBuffer<std::uint64_t>& keys,
                        HostBuffer<std::uint32_t>& values) {
  const std::uint64_t n = keys.size();
  if (n < 2) return;
  const Stretches stretches{
      n, std::clamp<std::uint64_t>(n / kShortestStretch, 1,
                                   static_cast<std::uint64_t>(std::max(exec.threads, 1)))};
  std::vector<std::array<std::uint64_t, kDigits>> place(stretches.count);
  std::vector<std::uint64_t> differing(stretches.count, 0);
  for_each_stretch(exec, stretches, [&](std::uint64_t s, std::uint64_t from, std::uint64_t to) {
    std::uint64_t bits = 0;
    for (std::uint64_t i = from; i < to; ++i) bits |= keys.data()[i] ^ keys.data()[0];
    differing[s] = bits;
  });
  std::uint64_t bits = 0;
  for (const std::uint64_t d : differing) bits |= d;

  HostBuffer<std::uint64_t> other_keys(exec, n);
  HostBuffer<std::uint32_t> other_values(exec, n);
  for (std::uint32_t shift = 0; shift < 64; shift += 8) {
    if ((bits >> shift & (kDigits - 1)) == 0) continue;
    const auto digit = [&](std::uint64_t i) { return keys.data()[i] >> shift & (kDigits - 1); };
    for_each_stretch(exec, stretches, [&](std::uint64_t s, std::uint64_t from, std::uint64_t to) {
      place[s].fill(0);
      for (std::uint64_t i = from; i < to; ++i) ++place[s][digit(i)];
    });
    std::uint64_t next = 0;
    for (std::uint32_t d = 0; d < kDigits; ++d) {
      for (auto& counts : place) next += std::exchange(counts[d], next);
    }
    for_each_stretch(exec, stretches, [&](std::uint64_t s, std::uint64_t from, std::uint64_t to) {
      for (std::uint64_t i = from; i < to; ++i) {
        const std::uint64_t to_place = place[s][digit(i)]++;
        other_keys.data()[to_place] = keys.data()[i];
        other_values.data()[to_place] = values.data()[i];
      }
    });
    std::swap(keys, other_keys);
    std::swap(values, other_values);
  }
}

}  // namespace quarry
