// Exact search of a part of an item table.
#include <algorithm>
#include <string>
#include <vector>

#include "index/item_slice.h"
#include "kernels/core/buffer.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

/// The rows of the slice as a table of their own.
ItemTable part_of(const ItemTable& items, ItemSlice slice) {
  ItemTable part = items;
  part.rows += std::uint64_t{slice.first} * items.dim;
  part.num_items = slice.size();
  part.device_rows = nullptr;
  return part;
}

class SliceRetriever final : public Retriever {
 public:
  SliceRetriever(const ItemTable& items, ItemSlice slice, FirstPass pass)
      : slice_(slice), part_(make_exact_retriever(part_of(items, slice), pass)) {}

  void search(const Exec& exec, const float* queries, std::uint32_t num_queries, std::uint32_t k,
              const SearchResult& out) override {
    QUARRY_CHECK(exec.device == Device::kCpu);
    part_->search(exec, queries, num_queries, k, out);
    number_as_in_table(num_queries, k, out);
  }

  void search_toward(const Exec& exec, const float* queries, std::uint32_t num_queries,
                     std::uint32_t most, const SearchGoal& goal, const SearchResult& out) override {
    QUARRY_CHECK(exec.device == Device::kCpu);
    // Nearly all of the slice is listed without a scan and a goal, as nearly all items are
    // (deepen.cpp).
    const std::uint32_t longest = slice_.size() - slice_.size() / 8;
    if (goal.wanted >= longest) {
      if (out.passed != nullptr) std::fill_n(out.passed, num_queries, 0u);
      return search(exec, queries, num_queries, most, out);
    }
    SearchGoal own = goal;
    if (goal.eligible != nullptr) own.eligible = goal.eligible + slice_.first / kSliceAlignment;
    for (std::uint32_t s = 0; s < goal.num_skips; ++s)
      own.skips[s] = skips_[s].of(goal.skips[s], num_queries, slice_);
    if (most <= longest) {
      part_->search_toward(exec, queries, num_queries, most, own, out);
    } else {
      items_.resize(exec, std::size_t{num_queries} * longest);
      scores_.resize(exec, std::size_t{num_queries} * longest);
      SearchResult shorter = out;
      shorter.items = items_.data();
      shorter.scores = scores_.data();
      part_->search_toward(exec, queries, num_queries, longest, own, shorter);
      for (std::uint64_t q = 0; q < num_queries; ++q) {
        std::copy_n(items_.data() + q * longest, out.count[q], out.items + q * most);
        std::copy_n(scores_.data() + q * longest, out.count[q], out.scores + q * most);
      }
    }
    number_as_in_table(num_queries, most, out);
  }

  bool follows_goals(const Exec& exec, std::uint32_t num_queries, bool far) const override {
    return part_->follows_goals(exec, num_queries, far);
  }
  bool exact() const override { return true; }
  std::string description() const override { return part_->description(); }
  SearchStats stats() const override { return part_->stats(); }
  std::uint64_t memory_bytes() const override { return part_->memory_bytes(); }
  std::uint64_t device_bytes() const override { return 0; }

 private:
  /// The lists of a goal that the queries of a call have, what is in the slice of each.
  struct OwnSkips {
    std::vector<std::uint64_t> offsets;
    std::vector<std::uint32_t> items, owner;

    TopkSkips of(const TopkSkips& skips, std::uint32_t num_queries, ItemSlice slice) {
      offsets.assign(1, 0);
      items.clear();
      owner.resize(num_queries);
      for (std::uint32_t q = 0; q < num_queries; ++q) {
        const std::uint32_t* begin = skips.items + skips.offsets[skips.owner[q]];
        const std::uint32_t* end = skips.items + skips.offsets[skips.owner[q] + std::uint64_t{1}];
        begin = std::lower_bound(begin, end, slice.first);
        for (; begin != end && *begin < slice.end; ++begin) items.push_back(*begin - slice.first);
        offsets.push_back(items.size());
        owner[q] = q;
      }
      return {offsets.data(), items.data(), owner.data()};
    }
  };

  void number_as_in_table(std::uint32_t num_queries, std::uint32_t k,
                          const SearchResult& out) const {
    for (std::uint32_t q = 0; q < num_queries; ++q) {
      std::uint32_t* list = out.items + std::uint64_t{q} * k;
      for (std::uint32_t i = 0; i < out.count[q]; ++i) list[i] += slice_.first;
    }
  }

  ItemSlice slice_;
  std::unique_ptr<Retriever> part_;
  OwnSkips skips_[kMaxTopkSkips];
  HostBuffer<std::uint32_t> items_;  ///< lists shorter than the caller's
  HostBuffer<float> scores_;
};

}  // namespace

std::unique_ptr<Retriever> make_slice_retriever(const ItemTable& items, ItemSlice slice,
                                                FirstPass pass) {
  QUARRY_CHECK(slice.first < slice.end && slice.end <= items.num_items);
  QUARRY_CHECK(slice.first % kSliceAlignment == 0 &&
               (slice.end % kSliceAlignment == 0 || slice.end == items.num_items));
  return std::make_unique<SliceRetriever>(items, slice, pass);
}

}  // namespace quarry
