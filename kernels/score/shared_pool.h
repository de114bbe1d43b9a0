// Lists of candidates that all rows share: the best of each row, scored, judged and ranked without
// a list of the others. For the CPU.
#pragma once

#include <memory>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/model/rows.h"
#include "kernels/model/world.h"

namespace quarry {

/// What lists of a branch must hold so that its rows come out as from all of `count` candidates.
struct SharedLists {
  std::uint32_t length = 0;  ///< entries of a list, at most
  /// Lists of all candidates, in key order. Else of the best survivors alone, in key order with
  /// their raw ranks: nothing of the others but how many of them count as rejected is needed.
  bool whole = true;
};
SharedLists shared_lists(const Plan& plan, const Branch& branch, std::uint32_t count);

/// Of a row with a list of survivors: what counts beside its entries.
struct SharedRest {
  std::uint32_t unlisted = 0;  ///< candidates that are not in the list
  std::uint32_t examined = 0;  ///< of these, those up to the cut
  std::uint32_t pool = 0;      ///< of these, members of the pool
  std::uint32_t unscored = 0;
  std::uint32_t rejected[kMaxFilters] = {};
};

struct SharedPoolArgs {
  const World* world = nullptr;
  const Plan* plan = nullptr;
  RowBatch rows;
  std::uint32_t branch = 0;
  const std::uint32_t* pool = nullptr;  ///< [pool_count] ascending items, each once
  std::uint32_t pool_count = 0;
  SharedLists lists;
  // Out; entries of row r from r * lists.length on.
  std::uint32_t* items = nullptr;
  float* scores = nullptr;
  std::uint32_t* raw_rank = nullptr;  ///< not written where lists are whole
  std::uint32_t* count = nullptr;     ///< [rows] 0 for bad rows
  SharedRest* rest = nullptr;         ///< [rows] not written where lists are whole
};

/// Work areas, kept by the caller so that calls of one size allocate once.
class SharedPoolWorkspace {
 public:
  SharedPoolWorkspace();
  ~SharedPoolWorkspace();
  std::uint64_t bytes() const;
  struct Areas;
  Areas& areas() { return *areas_; }

 private:
  std::unique_ptr<Areas> areas_;
};

/// Scores, judges and lists the candidates of every row. Cost: one dot product per pair, by blocks
/// that stay in cache; whole lists are sorted, of others only the entries.
void list_shared(const Exec& exec, const SharedPoolArgs& args, SharedPoolWorkspace& workspace);

}  // namespace quarry
