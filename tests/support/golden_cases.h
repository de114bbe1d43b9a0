// Golden cases: mining problems made again from seeds on any machine, and hashes of what they give,
// so that two devices can be compared without moving data between them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/exec.h"
#include "tests/support/worlds.h"

namespace quarry::test {

enum class GoldenKind : std::uint8_t {
  kProblem,  ///< make_problem(number): random recipes over a small catalogue
  kStarved,  ///< make_starved_pool(number)
  kLarge,    ///< make_problem(number, kLarge): searches that are proven, not brute force
  kStages,   ///< run_kernels of make_problem(number): every array of every kernel
  kSearch,   ///< the exact retriever, and lists as another index gives them
  kRecipe,   ///< a recipe over make_world(shape)
  kHuge,     ///< sampled rows of a batch whose rows x candidates exceed 2^31
};

struct GoldenCase {
  std::string name;  ///< family/case
  GoldenKind kind = GoldenKind::kProblem;
  std::uint64_t number = 0;  ///< of the problem
  WorldShape shape = {};     ///< kRecipe
  std::string recipe;        ///< kRecipe: a name, or the text of a recipe
  std::uint32_t k = 0;       ///< kRecipe: instead of the recipe's own, if not 0
  bool wide = false;    ///< lists longer than one block has threads, or than it has shared memory
  bool matrix = false;  ///< large enough for the matrix of executions
  bool sanitizer = false;  ///< among the few that run under compute-sanitizer

  std::string family() const { return name.substr(0, name.find('/')); }
  /// What the case is made from, without spaces.
  std::string seeds() const;
};

/// Hashes of 16 hexadecimal digits. A recipe that the inputs cannot satisfy has "refused" in place
/// of its outputs.
struct GoldenHashes {
  std::string inputs;   ///< tables, events, rows and recipe
  std::string ids;      ///< items
  std::string scores;   ///< scores, logq, kappa
  std::string reasons;  ///< counts, branches, ranks, strata, fill codes and counters
  bool refused() const { return ids == "refused"; }
  friend bool operator==(const GoldenHashes&, const GoldenHashes&) = default;
};

/// How a case runs; the hashes do not depend on it.
struct GoldenExecution {
  Exec exec = {};
  std::uint32_t tile_rows = 5;
  std::uint32_t shards = 1;
};

/// All cases, in the order of their families.
std::vector<GoldenCase> golden_cases();
GoldenHashes run_golden(const GoldenCase& golden, const GoldenExecution& execution);
/// "name seeds inputs ids scores reasons"
std::string golden_line(const GoldenCase& golden, const GoldenHashes& hashes);
/// One line per family: "family number-of-cases hash-of-its-lines". `lines` in the order of cases.
std::vector<std::string> golden_families(const std::vector<std::string>& lines);
/// The first hash in which two runs of a case differ, in words; "" if there is none.
std::string golden_difference(const GoldenHashes& expected, const GoldenHashes& actual);

/// Rows of a batch by number, and which of them are hashed: all of the small batch that a CPU
/// checks, some of the large one.
struct HugeBatch {
  std::uint64_t num_rows = 0;
  std::vector<std::uint64_t> sampled;  ///< row numbers, ascending
  bool sampled_only = false;           ///< the batch consists of the sampled rows
};
inline constexpr std::uint64_t kHugeStride = 2048;
inline constexpr std::uint64_t kHugeRows = 1060000;
static_assert(kHugeRows * kHugeStride > std::uint64_t{1} << 31);
/// `num_rows` rows, of which those next to the ends and to where places pass 2^31 are sampled, and
/// some between.
HugeBatch huge_batch(std::uint64_t num_rows, bool sampled_only);
/// Device memory of a batch in bytes, about.
std::uint64_t huge_bytes(const HugeBatch& batch);
/// Scores, orders, excludes, selects and merges lists of the batch in one launch each.
GoldenHashes run_huge(const HugeBatch& batch, const Exec& exec);

GoldenHashes run_search(std::uint64_t number, const Exec& exec);

/// Collects bytes and names them by 16 hexadecimal digits.
class GoldenHash {
 public:
  GoldenHash();
  ~GoldenHash();
  GoldenHash(const GoldenHash&) = delete;
  GoldenHash& operator=(const GoldenHash&) = delete;
  void add(const void* data, std::size_t bytes);
  void add(std::string_view text) { add(text.data(), text.size()); }
  template <class T>
  void add(const std::vector<T>& column) {
    add(column.data(), column.size() * sizeof(T));
  }
  std::string text() const;

 private:
  struct State;
  State* state_;
};

}  // namespace quarry::test
