// A stratified random sample of a set's negatives, for people to judge.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "host/store/negative_set.h"

namespace quarry {

/// What negatives are stratified by.
enum class SampleBy : std::uint8_t { kBranch, kStratum, kRank };
/// "branch", "stratum", "rank", several with "+" between them. Throws ConfigError.
std::vector<SampleBy> parse_sample_by(const std::string& text);
std::string words_of(const std::vector<SampleBy>& by);

/// Decades of raw ranks: "1-10", "11-100", ...; "not ranked".
std::string rank_band(std::uint32_t raw_rank);

/// The cell of a filled slot: "branch=hard; rank=11-100".
std::string cell_of(const SetSchema& schema, const NegativeSet::Row& row, std::uint32_t slot,
                    const std::vector<SampleBy>& by);

struct SampleCell {
  std::string name;
  std::uint64_t population = 0, sampled = 0;
};
struct SampledSlot {
  std::uint64_t row = 0;
  std::uint32_t slot = 0;
  std::uint32_t cell = 0;  ///< index into the cells
};
struct ReviewSample {
  std::vector<SampleCell> cells;   ///< that are not empty, by name
  std::vector<SampledSlot> slots;  ///< by row and slot
  std::uint64_t population = 0;    ///< filled slots of the set
};

/// How many of `size` each stratum gets: the same number, or all it has; what is left goes one each
/// to the strata that have more, the largest first, of equal ones the first. All, where there are
/// no more than `size`. Throws ConfigError where a stratum would get fewer than `least` and has
/// them.
std::vector<std::uint64_t> allocate(std::span<const std::uint64_t> populations, std::uint64_t size,
                                    std::uint64_t least);

/// The non-empty cells of a set and their populations; nothing is sampled.
std::vector<SampleCell> cells_of(const NegativeSet& set, const std::vector<SampleBy>& by,
                                 const std::atomic<bool>* stop);

/// Draws without replacement: of each cell the slots with the least hashes (XXH3-64 of row key and
/// slot under the seed and the set's content hash): neither the order of the rows nor threads
/// matter, and another version is drawn from anew. Throws
/// InputError where the set has no negative.
ReviewSample draw_sample(const NegativeSet& set, const std::vector<SampleBy>& by,
                         std::uint64_t size, std::uint64_t least, std::uint64_t seed,
                         const std::atomic<bool>* stop);

/// Names a slot of a set for ever: content hash, row, slot.
struct ReviewId {
  std::string content_hash;
  std::uint64_t row = 0;
  std::uint32_t slot = 0;
  std::string text() const;
};
/// Nothing where the text is none.
std::optional<ReviewId> parse_review_id(const std::string& text);

/// Who looks at which of `units` lines: `each` different reviewers of `reviewers` per line, by
/// turns, so that all get as many, or one more. Returns indices of reviewers, line by line.
std::vector<std::vector<std::uint32_t>> assign_reviewers(std::uint64_t units,
                                                         std::uint32_t reviewers,
                                                         std::uint32_t each);

}  // namespace quarry
