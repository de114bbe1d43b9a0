// setup: what a run needs before its first row, each a whole-batch operation on one Exec: lists per
// user, counts, popularity bins, the order and the sums of a draw space.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "kernels/core/buffer.h"
#include "kernels/core/ids.h"
#include "kernels/model/world.h"

namespace quarry {

// Every function here gives the same numbers on every Exec and with any number of threads. Inputs
// are read in the memory of the Exec; results lie there and are ordered on its stream. Besides the
// results a call holds work memory (named below) until it returns. Throws OutOfMemory, and
// DeviceError on a device that fails or in a build without CUDA.

/// An array in the memory of the Exec that it was made for, uninitialised when made.
template <class T>
class PlacedArray {
 public:
  PlacedArray() = default;
  PlacedArray(const Exec& exec, std::size_t count) {
    if (exec.device == Device::kCuda) {
      device_.resize(exec, count);
    } else {
      host_.resize(exec, count);
    }
  }
  template <class Space>
  explicit PlacedArray(Buffer<T, Space>&& buffer) {
    if constexpr (std::is_same_v<Space, DeviceSpace>) {
      device_ = std::move(buffer);
    } else {
      host_ = std::move(buffer);
    }
  }
  T* data() { return device_.size() > 0 ? device_.data() : host_.data(); }
  const T* data() const { return device_.size() > 0 ? device_.data() : host_.data(); }
  std::size_t size() const { return device_.size() > 0 ? device_.size() : host_.size(); }
  bool on_device() const { return device_.size() > 0; }

 private:
  HostBuffer<T> host_;
  DeviceBuffer<T> device_;
};

/// (user, value) pairs in groups of one user each, and which of them count. Group g holds pairs
/// [offsets[g], offsets[g + 1]); offsets[0] is 0.
struct PairView {
  const std::uint64_t* offsets = nullptr;  ///< [num_groups + 1]; null: every pair is a group
  const std::uint32_t* owner = nullptr;    ///< [num_groups] user; null: group g is of user g
  const std::uint32_t* values = nullptr;   ///< [num_pairs]
  std::uint64_t num_groups = 0;
  std::uint64_t num_pairs = 0;
  const std::uint8_t* classes = nullptr;  ///< [num_pairs]; null: every class counts
  std::uint32_t class_mask = 0;           ///< class c counts if bit c is set
  const std::int64_t* times = nullptr;    ///< [num_pairs]; null: every time counts
  std::int64_t oldest = INT64_MIN;        ///< earlier ones do not count
  const std::uint32_t* map = nullptr;     ///< value v stands for map[v]; null: for itself
  std::uint32_t dropped = kNoItem;        ///< with a map: pairs that stand for it do not count
};

/// True if pair `i` counts, with what it stands for.
QUARRY_HD bool pair_at(const PairView& pairs, std::uint64_t i, std::uint32_t* value) {
  if (pairs.classes != nullptr && (pairs.class_mask >> pairs.classes[i] & 1u) == 0) return false;
  if (pairs.times != nullptr && pairs.times[i] < pairs.oldest) return false;
  const std::uint32_t v = pairs.values[i];
  *value = pairs.map != nullptr ? pairs.map[v] : v;
  return pairs.map == nullptr || *value != pairs.dropped;
}

/// UserLists with their memory. offsets: [num_users + 1].
struct UserArrays {
  PlacedArray<std::uint64_t> offsets;
  PlacedArray<std::uint32_t> values;
};

/// For each user the distinct values of the pairs that count, ascending. Owners lie below
/// num_users. Work memory: CPU 4 bytes a pair and 16 a user, GPU about 20 bytes a pair. Waits for
/// the device.
UserArrays make_user_lists(const Exec& exec, std::span<const PairView> parts,
                           std::uint32_t num_users);
UserArrays make_user_lists_gpu(const Exec& exec, std::span<const PairView> parts,
                               std::uint32_t num_users);

/// How many of the pairs that count stand for each value below num_values: [num_values]. No other
/// value may count. Users are not looked at. Work memory: CPU none, GPU about 16 bytes a pair.
PlacedArray<std::uint32_t> count_values(const Exec& exec, const PairView& pairs,
                                        std::uint32_t num_values);
PlacedArray<std::uint32_t> count_values_gpu(const Exec& exec, const PairView& pairs,
                                            std::uint32_t num_values);

/// Bin of each of num_items items: floor(place * bins / n) by (count, item) ascending among the
/// first n, 0 for the rest. counts: [n]. bins >= 1. Work memory: 24 bytes an item.
PlacedArray<std::uint32_t> popularity_bins(const Exec& exec, const std::uint32_t* counts,
                                           std::uint32_t n, std::uint32_t num_items,
                                           std::uint32_t bins);
PlacedArray<std::uint32_t> popularity_bins_gpu(const Exec& exec, const std::uint32_t* counts,
                                               std::uint32_t n, std::uint32_t num_items,
                                               std::uint32_t bins);

/// The items [0, size) of a draw space among num_items.
struct SpaceItems {
  std::uint32_t size = 0;
  std::uint32_t num_items = 0;
  const std::uint32_t* stratum = nullptr;  ///< [size] below num_strata; null: one stratum
  std::uint32_t num_strata = 1;
  const std::int64_t* first_seen = nullptr;  ///< [size]; null: times do not order
};
/// As the arrays of DrawSpace (kernels/model/world.h) with these names.
struct SpaceOrder {
  PlacedArray<std::uint32_t> item_at, position_of, stratum_begin;
  PlacedArray<std::int64_t> arrival_at;  ///< empty without first_seen
};
/// Items by (stratum, first seen, item) ascending. Work memory: 24 bytes an item.
SpaceOrder order_space(const Exec& exec, const SpaceItems& items);
SpaceOrder order_space_gpu(const Exec& exec, const SpaceItems& items);

/// Sums of the weights of the items before each position: [n + 1], modulo 2^64. weights: by item.
PlacedArray<std::uint64_t> sum_weights(const Exec& exec, const std::uint64_t* weights,
                                       const std::uint32_t* item_at, std::uint32_t n);
PlacedArray<std::uint64_t> sum_weights_gpu(const Exec& exec, const std::uint64_t* weights,
                                           const std::uint32_t* item_at, std::uint32_t n);

/// For each entry of lists of positions the weight of the same user's earlier entries:
/// [num_values]. cumulative: from sum_weights.
PlacedArray<std::uint64_t> weights_before(const Exec& exec, const UserLists& lists,
                                          std::uint32_t num_users, std::uint64_t num_values,
                                          const std::uint64_t* cumulative);
PlacedArray<std::uint64_t> weights_before_gpu(const Exec& exec, const UserLists& lists,
                                              std::uint32_t num_users, std::uint64_t num_values,
                                              const std::uint64_t* cumulative);

}  // namespace quarry
