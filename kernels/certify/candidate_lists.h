// What certify and the steps around it read and write: views only.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/certify/score_bound.h"

namespace quarry {

/// Stands for a score that is above every bound, however much.
inline constexpr float kSettledScore = std::numeric_limits<float>::max();

/// What is known of the lists that a search left.
enum class ListKind : std::uint8_t {
  kApproximate,  ///< approximate scores with a bound: scored again; written only if proven
  kExact,        ///< exact scores of the k best, as topk under kCanonical leaves them
  kUnproven,     ///< scores of no known error: scored again, repeats dropped, written as it is
};

/// Lists as topk leaves them (kernels/topk/topk.h), in no particular order.
struct CandidateLists {
  const std::uint64_t* keys = nullptr;   ///< [num_lists, depth]
  const std::uint32_t* count = nullptr;  ///< [num_lists]
  /// [num_lists] best score that was left out; read where left_out is 1. Both only for
  /// kApproximate.
  const float* cut = nullptr;
  const std::uint8_t* left_out = nullptr;
  std::uint32_t depth = 0;
  /// [num_lists] items that are ahead of all that a list is asked for and not in it; null: none.
  const std::uint32_t* passed = nullptr;
  /// [num_lists] 1: the scores of the list are exact. Only for kApproximate; null: none is.
  const std::uint8_t* exact = nullptr;
  /// [num_lists] entries that are to be proven at least of a list that left something out, up to
  /// args.k; as many more are written as are proven. Null: args.k.
  const std::uint32_t* needed = nullptr;
  /// [num_lists] Lists that followed a goal (topk_toward), on the CPU: what has a lesser key need
  /// not be proven. Only for kApproximate, in place of `needed`; null: lists followed none, and the
  /// rest is not read.
  const std::uint64_t* least = nullptr;
  /// [num_lists] Entries whose scores in the list are above this come first, as they are, with
  /// kSettledScore. Null: none does.
  const float* settled_above = nullptr;
  /// [num_lists] Of the first so many entries those whose scores in the list are not above
  /// `ceiling` and that are not `kept` are dismissed: only where they stand is asked for. Their
  /// scores keep the bound, and between two of the other entries they stand in no order, but for
  /// the last entry of a list that is not complete, which is the worst, with its exact score. Null:
  /// none is.
  const std::uint32_t* others = nullptr;
  const float* ceiling = nullptr;  ///< [num_lists] in scores of the list; null: none
  /// Of list l: from kept_offsets[kept_owner[l]] to that of kept_owner[l] + 1, ascending; null:
  /// none.
  const std::uint32_t* kept = nullptr;
  const std::uint64_t* kept_offsets = nullptr;
  const std::uint32_t* kept_owner = nullptr;
};

/// Results by query: list l has count[l] <= k entries at l * k.
struct RankedLists {
  std::uint32_t* items = nullptr;
  float* scores = nullptr;
  std::uint32_t* count = nullptr;
  std::uint8_t* complete = nullptr;
  std::uint8_t* certified = nullptr;  ///< may be null
  std::uint32_t* passed = nullptr;    ///< may be null
};

struct CertifyArgs {
  ListKind kind = ListKind::kApproximate;
  ScoreBound bound;              ///< dim and metric are read for every kind
  const float* items = nullptr;  ///< [num_items, dim]
  std::uint32_t num_items = 0;
  const float* queries = nullptr;  ///< [num_lists, dim]
  /// Items outside the bound, ascending; scored for every query. Only for kApproximate.
  const std::uint32_t* heavy = nullptr;
  std::uint32_t num_heavy = 0;
  CandidateLists lists;
  std::uint32_t num_lists = 0;
  bool whole = false;                   ///< kUnproven: no deeper search would make longer lists
  const std::uint32_t* rows = nullptr;  ///< [num_lists] place of each list in `out`; null: in order
  std::uint32_t first_row = 0;          ///< place of the first list where rows is null
  std::uint32_t k = 0;                  ///< entries per row of `out`
  RankedLists out;
  std::uint8_t* proven = nullptr;    ///< [num_lists] 1: written to `out`. Only for kApproximate
  std::uint64_t* scratch = nullptr;  ///< certify_scratch_size(...) numbers
};

/// Answers of an index that names items by signed numbers and fills up with -1.
struct LabelArgs {
  const std::int64_t* labels = nullptr;  ///< [num_lists, depth]
  const float* distances = nullptr;      ///< [num_lists, depth]
  std::uint32_t num_lists = 0;
  std::uint32_t depth = 0;
  std::uint32_t num_items = 0;
  bool negate = false;  ///< distances: the smaller the better
  // Out, as TopkResult.
  std::uint64_t* keys = nullptr;
  std::uint32_t* count = nullptr;
  float* cut = nullptr;
  std::uint8_t* left_out = nullptr;
};

}  // namespace quarry
