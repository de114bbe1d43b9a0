// Why an item is, or is not, a negative of a row: the row is mined again with the kernels of the
// engine, and every step that the item goes through is written down.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "host/mine/miner.h"

namespace quarry {

/// How texts name things.
struct ExplainNames {
  std::function<std::string(std::uint32_t item)> item;
  std::function<std::string(std::int64_t time)> time;
};

struct FilterVerdict {
  std::string filter;
  bool rejects = false;
  bool judged = true;   ///< false: it needs a rank that the item does not have here
  std::string because;  ///< the numbers, the event or the neighbour behind it
};

/// One branch's view of the item.
struct BranchVerdict {
  std::string branch;
  bool candidate = false;  ///< the source offers it
  std::string source;      ///< the source, and how it sees the item
  std::uint64_t num_candidates = 0;
  std::uint32_t raw_rank = 0;          ///< 0: not ranked
  std::uint32_t survivor_rank = 0;     ///< 0: rejected before, or not ranked
  std::vector<FilterVerdict> filters;  ///< all of them, also behind the first that rejects
  int rejected_by = -1;                ///< place in `filters`
  bool in_pool = false;
  std::uint32_t pool_size = 0;
  bool sampled = false;
  float log_weight = 0;        ///< phi; sampled branches, items in the pool
  float sampling_key = 0;      ///< phi + gumbel
  float draw_probability = 0;  ///< of one draw; draw branches
  std::uint32_t place = 0;     ///< 1-based in the order of selection; 0: not in it
  std::uint32_t ordered = 0;   ///< length of that order
  std::uint32_t picked = 0;    ///< negatives of the row that came from this branch
  std::string outcome;         ///< one sentence
};

/// Room of the row that the item competes for.
struct RoomVerdict {
  std::string what;         ///< "stratum head", "cap on seller 'S7'"
  std::uint32_t taken = 0;  ///< picks of the row in it
  std::uint32_t limit = 0;  ///< slots it has; for strata: taken and missing
  bool full = false;
};

struct Explanation {
  std::uint64_t row_key = 0;
  std::uint32_t user = 0, item = 0;
  float score = 0;
  std::uint32_t num_positives = 0;
  float positive_min = 0, positive_max = 0, positive_mean = 0, positive_random = 0;
  std::string stratum;
  int slot = -1;          ///< 0-based slot in the row; -1: not picked
  std::string picked_by;  ///< branch
  std::vector<BranchVerdict> branches;
  std::vector<RoomVerdict> rooms;
  std::string verdict;  ///< one sentence
  NegativeBatch row;    ///< the row as mined now
};

/// Mines rows[0] again and explains `item`. Reads the whole catalogue: one dot product per item and
/// topk branch. For miners on the CPU. Throws InputError if the item does not exist.
Explanation explain(Miner& miner, const RowsView& row, std::uint32_t item,
                    const ExplainNames& names);

}  // namespace quarry
