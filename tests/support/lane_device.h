// A stand-in for a GPU: "device" memory of its own and every *_gpu launcher run by lanes, so that
// the whole miner runs its device path, multi-lane text included, on a machine without a GPU.
// Include in one test file only: it defines the launchers that kernels/nocuda.cpp and
// kernels/core/nocuda.cpp define otherwise.
#pragma once

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <source_location>
#include <string>

#include "kernels/admit/admit_row.h"
#include "kernels/certify/certify.h"
#include "kernels/certify/certify_row.h"
#include "kernels/certify/label_keys_row.h"
#include "kernels/core/buffer.h"
#include "kernels/core/device.h"
#include "kernels/exclude/exclude.h"
#include "kernels/exclude/exclude_row.h"
#include "kernels/gather/gather_row.h"
#include "kernels/merge/merge_tile.h"
#include "kernels/sample/draw_row.h"
#include "kernels/sample/sample.h"
#include "kernels/score/score.h"
#include "kernels/score/score_row.h"
#include "kernels/select/select.h"
#include "kernels/select/select_row.h"
#include "kernels/setup/setup.h"
#include "kernels/tally/tally.h"
#include "kernels/tally/tally_row.h"
#include "kernels/topk/topk.h"
#include "tests/support/lanes.h"

namespace quarry {

/// Width and schedule of the lanes; set by a test before it mines.
struct LaneDevice {
  std::uint32_t width = 32;
  test::Schedule schedule = test::Schedule::kInOrder;
  std::uint64_t seed = 1;
  std::uint64_t launches = 0;
  std::map<std::string, std::uint64_t> launches_by;  ///< by the launcher's signature
  std::uint64_t certified_lists = 0;                 ///< lists that went through certify_row
};
inline LaneDevice& lane_device() {
  static thread_local LaneDevice device;  // each thread is a device: cases may run side by side
  return device;
}

/// Runs `body(group, row)` for each row on fresh lanes.
template <class Body>
void run_rows(std::uint32_t num_rows, Body&& body,
              std::source_location launcher = std::source_location::current()) {
  LaneDevice& d = lane_device();
  d.launches += 1;
  d.launches_by[launcher.function_name()] += 1;
  test::Lanes lanes(d.width, d.schedule, d.seed);
  for (std::uint32_t r = 0; r < num_rows; ++r) {
    lanes.run([&](test::LaneGroup& g) { body(g, r); });
  }
}

// Device memory: apart from the host's, poisoned when new, guarded at both ends.
inline constexpr std::size_t kGuardBytes = 64;

inline void* allocate_guarded(void*, std::size_t bytes, const Exec&) {
  auto* p =
      static_cast<unsigned char*>(std::aligned_alloc(64, (bytes + 2 * kGuardBytes + 63) / 64 * 64));
  std::memset(p, 0xA5, kGuardBytes);
  std::memset(p + kGuardBytes, 0xFF, bytes);
  std::memset(p + kGuardBytes + bytes, 0x5A, kGuardBytes);
  return p + kGuardBytes;
}
inline void release_guarded(void*, void* pointer, std::size_t bytes, const Exec&) noexcept {
  auto* p = static_cast<unsigned char*>(pointer);
  for (std::size_t i = 0; i < kGuardBytes; ++i) {
    if (*(p - kGuardBytes + i) != 0xA5 || p[bytes + i] != 0x5A) {
      std::fprintf(stderr, "a kernel wrote outside an array of %zu bytes\n", bytes);
      std::abort();
    }
  }
  std::free(p - kGuardBytes);
}
/// What the stand-in uses where an Exec brings no allocator of its own.
inline const Allocator* lane_memory() {
  static const Allocator allocator{allocate_guarded, release_guarded, nullptr};
  return &allocator;
}

template <>
void* allocate_bytes<DeviceSpace>(const Exec& exec, std::size_t bytes) {
  const Allocator* from = exec.allocator != nullptr ? exec.allocator : lane_memory();
  void* pointer = from->allocate(from->self, bytes, exec);
  if (pointer == nullptr) throw OutOfMemory("no memory for " + std::to_string(bytes) + " bytes");
  return pointer;
}
template <>
void release_bytes<DeviceSpace>(const Exec& exec, void* pointer, std::size_t bytes) noexcept {
  const Allocator* from = exec.allocator != nullptr ? exec.allocator : lane_memory();
  from->release(from->self, pointer, bytes, exec);
}
void copy_to_device(const Exec&, void* device, const void* host, std::size_t bytes) {
  if (bytes > 0) std::memcpy(device, host, bytes);
}
void copy_to_host(const Exec&, void* host, const void* device, std::size_t bytes) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}
void fill_device(const Exec&, void* device, int byte, std::size_t bytes) {
  std::memset(device, byte, bytes);
}
void synchronize(const Exec&) {}
StreamOrder::StreamOrder(const Exec& exec, CUstream_st* caller) : exec_(exec), caller_(caller) {}
StreamOrder::~StreamOrder() = default;

void admit_gpu(const Exec&, const AdmitArgs& a) {
  run_rows(a.rows.num_rows,
           [&](test::LaneGroup& g, std::uint32_t r) { admit_row(g, *a.world, a, r); });
}

void gather_gpu(const Exec&, const GatherArgs& a) {
  run_rows(a.rows.num_rows, [&](test::LaneGroup& g, std::uint32_t r) {
    gather_tile_row(g, *a.world, *a.plan, a, r);
  });
}

void exclude_gpu(const Exec&, const ExcludeArgs& a) {
  const Branch& branch = a.plan->branches[a.branch];
  run_rows(a.rows.num_rows, [&](test::LaneGroup& g, std::uint32_t r) {
    if (is_bad(a.rows, r)) return;
    const std::uint32_t list = list_of(branch, a.rows, r);
    const std::uint64_t at = list * a.candidates.stride;
    exclude_row(g, *a.world, *a.plan, branch, row_context(*a.world, a.rows, r),
                a.candidates.items + at, a.candidates.scores + at,
                a.candidates.raw_rank != nullptr ? a.candidates.raw_rank + at : nullptr,
                a.candidates.count[list], a.reasons + r * a.candidates.stride);
  });
}

void select_gpu(const Exec&, const SelectArgs& a) {
  const Branch& branch = a.plan->branches[a.branch];
  const std::uint64_t capacity = a.out.stride;
  run_rows(a.rows.num_rows, [&](test::LaneGroup& g, std::uint32_t r) {
    if (is_bad(a.rows, r)) return;
    SelectScratch scratch;
    scratch.entries = static_cast<SortEntry*>(a.scratch) + r * capacity;
    scratch.sums = reinterpret_cast<std::uint64_t*>(static_cast<SortEntry*>(a.scratch) +
                                                    a.rows.num_rows * capacity) +
                   r * capacity;
    const std::uint32_t list = list_of(branch, a.rows, r);
    const std::uint64_t at = list * a.candidates.stride;
    const std::uint32_t count = a.candidates.count[list];
    std::uint32_t ordered_count = 0;
    float log_total = 0.0f;
    const PoolEnd pool =
        select_row(g, *a.world, *a.plan, branch, row_context(*a.world, a.rows, r),
                   a.candidates.items + at, a.candidates.scores + at,
                   a.candidates.raw_rank != nullptr ? a.candidates.raw_rank + at : nullptr, count,
                   a.reasons + r * a.candidates.stride, scratch, order_row(a.out, r),
                   &ordered_count, &log_total);
    if (g.rank() == 0) {
      a.out.count[r] = ordered_count;
      a.out.log_total[r] = log_total;
      store_pool_end(a.out, r, branch, pool, count,
                     a.candidates.complete == nullptr || a.candidates.complete[list] != 0);
    }
  });
}

void sample_gpu(const Exec&, const SampleArgs& a) {
  const Branch& branch = a.plan->branches[a.branch];
  run_rows(a.rows.num_rows, [&](test::LaneGroup& g, std::uint32_t r) {
    if (is_bad(a.rows, r)) {
      if (g.rank() == 0) a.count[r] = 0;
      return;
    }
    const std::uint32_t found =
        pool_draws_row(g, *a.world, *a.plan, branch, row_context(*a.world, a.rows, r),
                       sample_scratch_at(a.scratch, r, branch.draws), a.items + r * a.stride);
    if (g.rank() == 0) a.count[r] = found;
  });
}

void score_positives_gpu(const Exec&, const World& world, const Plan& plan, const RowBatch& rows,
                         float* out) {
  run_rows(rows.num_rows, [&](test::LaneGroup& g, std::uint32_t r) {
    if (is_bad(rows, r)) return;
    const RowContext row = row_context(world, rows, r);
    if (g.rank() == 0) {
      positive_scores_row(plan, row, ThreadScore{world, row.query},
                          out + std::size_t{r} * kNumPositiveScores);
    }
  });
}

void score_lists_gpu(const Exec&, const ScoreArgs& a) {
  run_rows(a.rows.num_rows, [&](test::LaneGroup& g, std::uint32_t r) {
    const RowContext row = row_context(*a.world, a.rows, r);
    const std::uint64_t at = r * a.stride;
    if (a.order) {
      score_and_order_row(g, *a.world, row.query, a.count[r], a.items + at, a.scores + at,
                          a.raw_rank != nullptr ? a.raw_rank + at : nullptr,
                          static_cast<SortEntry*>(a.scratch) + r * a.stride);
    } else {
      score_row(g, *a.world, row.query, a.count[r], a.items + at, a.scores + at);
    }
  });
}

void certify_gpu(const Exec&, const CertifyArgs& a) {
  const std::uint64_t length = std::uint64_t{a.lists.depth} + a.num_heavy;
  lane_device().certified_lists += a.num_lists;
  run_rows(a.num_lists, [&](test::LaneGroup& g, std::uint32_t l) {
    certify_row(g, a, l, a.scratch + l * length);
  });
}

void label_keys_gpu(const Exec&, const LabelArgs& a) {
  run_rows(a.num_lists, [&](test::LaneGroup& g, std::uint32_t l) { label_keys_row(g, a, l); });
}

/// One thread per number and nothing shared: no lanes needed.
void gather_queries_gpu(const Exec&, const float* from, std::uint32_t dim,
                        const std::uint32_t* rows, std::uint32_t num_rows, float* to) {
  gather_queries({}, from, dim, rows, num_rows, to);
}

/// The products are cuBLAS's, the rows are tested on lanes in topk_test: the CPU's, on the
/// stand-in's memory.
void topk_gpu(const Exec&, const TopkItems& items, const TopkMask& mask, const float* queries,
              std::uint32_t rows, std::uint32_t k, TopkDeviceWorkspace&, const TopkResult& out) {
  TopkWorkspace workspace;
  topk({}, items, mask, queries, rows, k, workspace, out);
}

void merge_gpu(const Exec&, const MergeArgs& a) {
  const MergeScratchLayout layout = merge_scratch_layout(*a.world, *a.plan);
  run_rows(a.rows.num_rows, [&](test::LaneGroup& g, std::uint32_t r) {
    merge_tile_row(g, *a.world, *a.plan, a, r, merge_scratch_at(layout, a.scratch, r));
  });
}

void tally_gpu(const Exec&, const MergeArgs& a, Counters* totals) {
  run_rows(a.rows.num_rows, [&](test::LaneGroup& g, std::uint32_t r) {
    if (a.deepen[r] != 0) return;
    const auto plus = [](std::uint64_t* total, std::uint64_t amount) {
      std::atomic_ref(*total).fetch_add(amount, std::memory_order_relaxed);
    };
    tally_row(g, *a.plan, a, r, totals, plus);
    if (a.strata != nullptr) tally_strata_row(g, *a.plan, a, r, a.strata, plus);
  });
}

/// Set-up is whole-batch work without lanes: the CPU's, on the stand-in's memory.
template <class T>
PlacedArray<T> to_device(const Exec& exec, const PlacedArray<T>& host) {
  DeviceBuffer<T> device(exec, host.size());
  copy_to_device(exec, device.data(), host.data(), host.size() * sizeof(T));
  return PlacedArray<T>(std::move(device));
}

UserArrays make_user_lists_gpu(const Exec& exec, std::span<const PairView> parts,
                               std::uint32_t num_users) {
  const UserArrays made = make_user_lists({}, parts, num_users);
  return {to_device(exec, made.offsets), to_device(exec, made.values)};
}
PlacedArray<std::uint32_t> count_values_gpu(const Exec& exec, const PairView& pairs,
                                            std::uint32_t num_values) {
  return to_device(exec, count_values({}, pairs, num_values));
}
PlacedArray<std::uint32_t> popularity_bins_gpu(const Exec& exec, const std::uint32_t* counts,
                                               std::uint32_t n, std::uint32_t num_items,
                                               std::uint32_t bins) {
  return to_device(exec, popularity_bins({}, counts, n, num_items, bins));
}
SpaceOrder order_space_gpu(const Exec& exec, const SpaceItems& items) {
  const SpaceOrder made = order_space({}, items);
  return {to_device(exec, made.item_at), to_device(exec, made.position_of),
          to_device(exec, made.stratum_begin), to_device(exec, made.arrival_at)};
}
PlacedArray<std::uint64_t> sum_weights_gpu(const Exec& exec, const std::uint64_t* weights,
                                           const std::uint32_t* item_at, std::uint32_t n) {
  return to_device(exec, sum_weights({}, weights, item_at, n));
}
PlacedArray<std::uint64_t> weights_before_gpu(const Exec& exec, const UserLists& lists,
                                              std::uint32_t num_users, std::uint64_t num_values,
                                              const std::uint64_t* cumulative) {
  return to_device(exec, weights_before({}, lists, num_users, num_values, cumulative));
}

}  // namespace quarry
