// A shop whose first users lack something each; the others are like any. What rows can get there is
// worked out by brute force.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/oracle.h"
#include "tests/support/worlds.h"

namespace quarry::test {

/// The users who lack something.
enum Starved : std::uint32_t {
  kOwnsAll,            ///< every item is a positive of the user
  kOwnsAllButThree,    ///< items 5, 6, 7 are left
  kOwnsACategory,      ///< every item of category 2
  kOwnsAllButASeller,  ///< only items of seller 7 are left
  kOwnsTheHead,        ///< the 90 items that score highest
  kNothingKnown,       ///< no events, no pairs, no positives
  kNoScore,            ///< a vector in the table that scores nothing: no candidate is judged
  kBornEarly,          ///< rows older than every item
  kNumStarved
};

/// The world with what its users own, and what a brute force asks of it.
class StarvedShop {
 public:
  static constexpr std::uint32_t kUsers = 60, kItems = 240, kDim = 8, kRowsPerUser = 3;

  explicit StarvedShop(std::uint32_t seed)
      : world_(make_world({.users = kUsers,
                           .items = kItems,
                           .dim = kDim,
                           .rows_per_user = kRowsPerUser,
                           .events_per_user = 20,
                           .seed = seed})) {
    TestWorld& w = *world_;
    CatalogueColumn& category = column("category");
    category.names.push_back("void");  // a value that no item has
    for (std::uint32_t i = 0; i < kItems; ++i) {
      category.codes[i] = i % 6;
      w.catalogue.first_seen[i] = 1000;
      column("seller").codes[i] = i % 10;
    }
    w.users[kNoScore * kDim + 3] = std::numeric_limits<float>::quiet_NaN();
    forget(kNothingKnown);
    // What users own beyond their events comes as rows of the run that are not mined here.
    owned_ = w.rows;
    for (std::uint32_t i = 0; i < kItems; ++i) {
      if (i < 5 || i > 7) own(kOwnsAllButThree, i);
      if (category.codes[i] == 2) own(kOwnsACategory, i);
      if (column("seller").codes[i] != 7) own(kOwnsAllButASeller, i);
      own(kOwnsAll, i);
    }
    const std::vector<std::uint32_t> ranking = ranked(kOwnsTheHead * kRowsPerUser);
    for (std::uint32_t n = 0; n < 90; ++n) own(kOwnsTheHead, ranking[n]);
    for (std::uint64_t r = 0; r < w.rows.size(); ++r) {
      if (w.rows.user[r] == kBornEarly) w.rows.time[r] = 500;
    }
    for (std::uint32_t u = 0; u < kUsers; ++u) {
      positives_.emplace_back();
      for (std::uint64_t i = w.exposure.offsets[u]; i < w.exposure.offsets[u + 1]; ++i)
        if (w.exposure.classes[i] == 1) positives_[u].insert(w.exposure.items[i]);
    }
    for (std::uint64_t r = 0; r < owned_.size(); ++r)
      for (std::uint64_t p = owned_.positive_offsets[r]; p < owned_.positive_offsets[r + 1]; ++p)
        positives_[owned_.user[r]].insert(owned_.positives[p]);
    w.inputs.rows = &owned_;
    w.inputs.pairs["pairs"] = &w.pairs;
    w.inputs.item_lists["none"] = {};
  }

  const TestWorld& world() const { return *world_; }
  std::uint64_t num_rows() const { return world_->rows.size(); }
  std::uint32_t user(std::uint64_t row) const { return world_->rows.user[row]; }
  bool owns(std::uint64_t row, std::uint32_t item) const {
    return positives_[user(row)].count(item) != 0;
  }
  /// Class of the pair, 0: never exposed.
  int exposure(std::uint64_t row, std::uint32_t item) const {
    const Exposure& e = world_->exposure;
    for (std::uint64_t i = e.offsets[user(row)]; i < e.offsets[user(row) + 1]; ++i)
      if (e.items[i] == item) return e.classes[i];
    return 0;
  }
  bool has_pair(std::uint64_t row, std::uint32_t item) const {
    const PairValues& p = world_->pairs;
    for (std::uint64_t i = p.offsets[user(row)]; i < p.offsets[user(row) + 1]; ++i)
      if (p.items[i] == item) return true;
    return false;
  }
  bool has_positive(std::uint64_t row) const {
    return world_->rows.positive_offsets[row] < world_->rows.positive_offsets[row + 1];
  }
  float score(std::uint64_t row, std::uint32_t item) const {
    const auto part = [](const std::vector<float>& table, std::uint32_t at) {
      const auto first = table.begin() + static_cast<std::ptrdiff_t>(at) * kDim;
      return std::vector<float>(first, first + kDim);
    };
    return oracle::dot(part(world_->users, user(row)), part(world_->items, item));
  }
  /// Items that can be scored, best first.
  std::vector<std::uint32_t> ranked(std::uint64_t row) const {
    std::vector<std::pair<float, std::uint32_t>> order;
    for (std::uint32_t i = 0; i < kItems && user(row) != kNoScore; ++i)
      order.emplace_back(-score(row, i), i);
    std::sort(order.begin(), order.end());
    std::vector<std::uint32_t> items;
    for (const auto& [score, item] : order) items.push_back(item);
    return items;
  }
  CatalogueColumn& column(const std::string& name) {
    for (CatalogueColumn& c : world_->catalogue.columns)
      if (c.name == name) return c;
    throw std::runtime_error("no column " + name);
  }
  std::uint32_t code(const std::string& name, std::uint32_t item) const {
    return world_->catalogue.find(name)->codes[item];
  }
  std::size_t num_codes(const std::string& name) const {
    return world_->catalogue.find(name)->names.size();
  }

 private:
  void forget(std::uint32_t user) {
    TestWorld& w = *world_;
    const auto drop = [user](std::vector<std::uint64_t>& offsets, auto&... columns) {
      const auto first = static_cast<std::ptrdiff_t>(offsets[user]);
      const auto last = static_cast<std::ptrdiff_t>(offsets[user + 1]);
      (columns.erase(columns.begin() + first, columns.begin() + last), ...);
      for (std::size_t u = user + 1; u < offsets.size(); ++u)
        offsets[u] -= static_cast<std::uint64_t>(last - first);
    };
    drop(w.exposure.offsets, w.exposure.items, w.exposure.classes, w.exposure.last_time,
         w.exposure.positive_time);
    drop(w.pairs.offsets, w.pairs.items, w.pairs.values);
    for (std::uint32_t r = 0; r < kRowsPerUser; ++r) {
      const std::size_t row = std::size_t{user} * kRowsPerUser + r;
      const std::uint64_t first = w.rows.positive_offsets[row];
      const std::uint64_t last = w.rows.positive_offsets[row + 1];
      w.rows.positives.erase(w.rows.positives.begin() + static_cast<std::ptrdiff_t>(first),
                             w.rows.positives.begin() + static_cast<std::ptrdiff_t>(last));
      for (std::size_t r2 = row + 1; r2 < w.rows.positive_offsets.size(); ++r2)
        w.rows.positive_offsets[r2] -= last - first;
    }
    w.point();
  }
  void own(std::uint32_t user, std::uint32_t item) {
    owned_.key.push_back(1000000 + owned_.key.size());
    owned_.user.push_back(user);
    owned_.time.push_back(0);
    owned_.positives.push_back(item);
    owned_.positive_offsets.push_back(owned_.positives.size());
  }

  std::unique_ptr<TestWorld> world_;
  RowTable owned_;
  std::vector<std::set<std::uint32_t>> positives_;
};

}  // namespace quarry::test
