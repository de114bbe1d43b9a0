// What a row's negatives depend on, as hashes: two runs give a row the same negatives where these
// agree, and where no item that changed could have been looked at for it (host/mine/reuse.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/data/tables.h"
#include "host/mine/inputs.h"
#include "host/recipe/recipe.h"

namespace quarry {

/// An item, by what rows can see of it.
struct ItemBasis {
  std::uint64_t vector = 0;  ///< of its embedding
  std::uint64_t facts = 0;   ///< of its id and of what the recipe reads: attributes, times, lists
  friend bool operator==(const ItemBasis&, const ItemBasis&) = default;
};

/// What all rows of a run stand on, by name, as texts to compare.
using CommonBasis = std::vector<std::pair<std::string, std::string>>;

/// A row, by what is its own.
struct RowFacts {
  std::uint32_t user = 0;
  std::int64_t time = INT64_MAX;
  std::string_view segment;
  std::span<const std::uint32_t> positives;
  bool unusable = false;  ///< left out: its user or all of its positives cannot be scored
};

/// Reads recipe and inputs, on the host; both must outlive it. Holds the users' positives and
/// 16 bytes per item. Throws what make_strata does.
class Dependence {
 public:
  /// ids: names of the items. Items that moved are items that changed.
  Dependence(const Recipe& recipe, const MinerInputs& inputs, const IdMap& ids, std::uint32_t seed,
             std::uint32_t round, const Exec& exec);

  const CommonBasis& common() const { return common_; }
  const std::vector<ItemBasis>& items() const { return items_; }
  const Recipe& recipe() const { return recipe_; }
  const MinerInputs& inputs() const { return in_; }
  const Snapshot& snapshot() const { return snapshot_; }
  std::int64_t as_of() const { return as_of_; }
  const Exec& exec() const { return exec_; }  ///< of the host

  /// Of a row without its key, which is what rows are matched by. Safe from several threads.
  std::uint64_t of_row(const RowFacts& row) const;
  /// Some list of the user, or of the row, names a marked item. marks: [num_items] bits.
  bool names_any(const RowFacts& row, const std::vector<std::uint32_t>& marks) const;

  bool draws() const;        ///< some branch draws items without searching for them
  bool has_near() const;     ///< some branch searches for what is near a positive
  bool reads_times() const;  ///< the filter `time` is asked
 private:
  /// Events that the recipe tells apart: of these classes, the latest not before `oldest`.
  struct Selector {
    std::uint32_t classes;
    std::int64_t oldest;
  };
  void find_selectors();
  void list_positives();
  void hash_items();
  void describe(std::uint32_t seed, std::uint32_t round);
  std::uint64_t selected(std::uint64_t event) const;
  std::uint64_t of_user(std::uint32_t user) const;
  std::span<const std::uint32_t> positives_of(std::uint32_t user) const;
  bool has_filter(FilterType type) const;

  const std::uint64_t number_;  ///< of this object, in the process
  const Recipe& recipe_;
  MinerInputs in_;  ///< without tables that the recipe does not read
  Exec exec_;
  const IdMap& ids_;
  Snapshot snapshot_;
  std::int64_t as_of_ = INT64_MAX;
  std::vector<Selector> selectors_;
  std::vector<std::uint64_t> positive_offsets_;
  std::vector<std::uint32_t> positives_;
  std::vector<std::uint32_t> stratum_;
  std::vector<ItemBasis> items_;
  CommonBasis common_;
};

}  // namespace quarry
