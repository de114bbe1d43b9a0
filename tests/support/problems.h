// Random small mining problems by seed: worlds full of ties and recipes over every source, filter,
// weight, selection, quota, cap and backfill, some of them infeasible on purpose.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "host/mine/inputs.h"
#include "host/mine/miner.h"
#include "host/recipe/recipe.h"

namespace quarry::test {

/// splitmix64: test data only.
struct Rng {
  std::uint64_t state;
  std::uint64_t next();
  /// Uniform in [lo, hi].
  std::uint64_t in(std::uint64_t lo, std::uint64_t hi) { return lo + next() % (hi - lo + 1); }
  bool chance(std::uint32_t percent) { return next() % 100 < percent; }
};

/// A recipe with all of its inputs. Not copied or moved: `inputs` and `rows_view` point into it.
struct Problem {
  Problem() = default;
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;

  std::uint64_t number = 0;
  std::uint32_t seed = 0, round = 0;
  Recipe recipe;
  std::vector<float> items, users, feature, queries;
  std::vector<std::uint16_t> half_items;  ///< instead of `items`, if not empty
  Exposure exposure;
  Catalogue catalogue;
  RowTable rows;
  std::vector<std::uint32_t> segments;
  Snapshot snapshot;
  PairValues teacher, run;
  std::vector<std::vector<std::uint32_t>>
      pool_items;  ///< by branch, of sources `batch` and `queue`
  std::vector<SharedPool> pools;
  MinerInputs inputs;
  RowsView rows_view;
};

enum class ProblemSize : std::uint8_t {
  kSmall,  ///< 5 to 400 items: a search of any depth covers the catalogue and is brute force
  kLarge,  ///< 1200 to 2500 items: most searches are proven by the error bound
};
std::unique_ptr<Problem> make_problem(std::uint64_t number, ProblemSize size = ProblemSize::kSmall);
/// A small problem whose first branch is a pool that one item's weight starves of distinct draws,
/// so that it is filled by enumeration.
std::unique_ptr<Problem> make_starved_pool(std::uint64_t number);
/// A large problem whose topk branches mostly have a ceiling of scores and filters that a scan can
/// apply, in any order, others among them.
std::unique_ptr<Problem> make_scanned(std::uint64_t number);
/// A problem whose rows share candidates: of one branch or more, few or nearly all items.
std::unique_ptr<Problem> make_shared_pools(std::uint64_t number);
/// The recipe and sizes, to read a failure.
std::string describe(const Problem& problem);

}  // namespace quarry::test
