// The first few of many entries of a row, kept while all of them go by once: append what can still
// be among them, and cut the list back when it is full.
#pragma once

#include "kernels/core/sort_row.h"

namespace quarry {

/// Room beyond what is kept: no group is wider, and lists are cut back less often.
inline constexpr std::uint32_t kBestSlack = 256;

template <class Group>
class BestEntries {
 public:
  /// entries: [keep + kBestSlack].
  QUARRY_HD BestEntries(Group& g, SortEntry* entries, std::uint32_t keep)
      : g_(g), entries_(entries), keep_(keep) {}

  /// False for an entry that goes behind `keep` known ones. No collective.
  QUARRY_HD bool can_enter(const SortEntry& entry) const {
    return !full_ || goes_before(entry, last_);
  }

  /// One entry per lane, appended where `wanted`. Collective.
  QUARRY_HD void offer(bool wanted, const SortEntry& entry) {
    std::uint32_t total = 0;
    const std::uint32_t before = g_.scan(wanted ? 1u : 0u, &total);
    if (total == 0) return;
    if (wanted) entries_[count_ + before] = entry;
    count_ += total;
    if (count_ + g_.size() > keep_ + kBestSlack) cut();
  }

  /// Sorts what is kept to entries[0, result). Collective.
  QUARRY_HD std::uint32_t finish() {
    cut();
    return count_;
  }

  /// Entries went by that are not kept, or may have.
  QUARRY_HD bool overflowed() const { return full_; }

 private:
  QUARRY_HD void cut() {
    g_.sync();
    sort_row(g_, entries_, count_);
    if (count_ < keep_) return;
    count_ = keep_;
    last_ = entries_[keep_ - 1];
    full_ = true;
  }

  Group& g_;
  SortEntry* entries_;
  std::uint32_t keep_;
  std::uint32_t count_ = 0;
  bool full_ = false;
  SortEntry last_{0, 0, 0};
};

}  // namespace quarry
