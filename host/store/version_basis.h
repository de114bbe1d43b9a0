// What a version stood on, kept in its store so that a later run can take over rows that would come
// out alike (host/mine/reuse.h), and draw from the same snapshot.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/mine/inputs.h"
#include "host/mine/reuse.h"
#include "host/store/negative_set.h"
#include "host/store/store.h"

namespace quarry {

/// Per row: Dependence::of_row, and the bits of Picks::floor.
struct RowBasis {
  std::uint64_t depends = 0;
  std::uint64_t floor_bits = 0;
};
static_assert(sizeof(RowBasis) == 16);

/// Keeps the rows of one shard under a name of its own: floors depend on how rows were searched
/// for, so the same rows may come with others. Returns the entry for keep_basis, JSON. The caller
/// holds the lock; draft: a path in the run's work folder.
std::string keep_rows(const Store& store, const std::string& draft, const std::string& name,
                      const std::vector<RowBasis>& rows);
/// Keeps items and snapshot, and returns what a manifest says under store.basis, JSON. rows: of
/// each shard in order.
std::string keep_basis(const Store& store, const std::string& draft, const Dependence& dependence,
                       bool exact, const std::vector<std::string>& rows);

/// The snapshot of a version, or nothing where it was mined before versions kept theirs. Throws
/// InputError where it is damaged.
std::optional<Snapshot> snapshot_of(const std::string& store, const std::string& manifest_json);

/// Entries of all arrays that a manifest names, JSON each.
std::vector<std::string> arrays_of(const std::string& manifest_json);

/// A version whose rows may be taken over. Every byte of it is compared with its hashes first.
class EarlierVersion {
 public:
  /// Throws InputError where it is damaged or keeps no basis.
  EarlierVersion(const Store& store, std::uint64_t number);

  std::uint64_t number() const { return number_; }
  const NegativeSet& set() const { return set_; }
  const RunBasis& basis() const { return basis_; }
  const Snapshot& snapshot() const { return snapshot_; }
  /// Row of a key. Holds 8 to 16 bytes per row for it; rows asked for in order are found at once.
  std::optional<std::uint64_t> find(std::uint64_t key);
  /// Reads a shard's rows when one of them is asked for, and keeps them: 16 bytes per row.
  RowBasis row(std::uint64_t row);

 private:
  std::uint64_t number_;
  std::string store_;
  NegativeSet set_;
  RunBasis basis_;
  Snapshot snapshot_;
  std::vector<std::string> row_entries_;     ///< by shard
  std::vector<std::uint64_t> shard_begin_;   ///< [shards + 1]
  std::vector<std::uint32_t> places_;        ///< hash table of rows by key; kNone: free
  std::uint64_t next_ = 0;                   ///< where the row after the last one found lies
  std::vector<std::vector<RowBasis>> rows_;  ///< by shard; empty until asked for
};

}  // namespace quarry
