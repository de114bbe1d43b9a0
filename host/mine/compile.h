// From a recipe and the inputs to what the kernels read: Plan and World.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "host/mine/inputs.h"
#include "host/mine/placement.h"
#include "host/mine/snapshot.h"
#include "kernels/model/plan.h"
#include "kernels/model/world.h"

namespace quarry {

/// Candidates of `run` branches: each user's items by (value descending, item ascending). Host
/// memory.
struct RunLists {
  std::vector<std::uint64_t> offsets;
  std::vector<std::uint32_t> items;
  std::uint64_t bytes() const { return offsets.size() * 8 + items.size() * 4; }
};

/// A recipe ready to run. `world` and the arrays of `plan` are in the space of the Exec it was
/// compiled for.
struct Compiled {
  explicit Compiled(const Exec& exec) : placement(exec) {}

  Plan plan;
  World world;
  Placement placement;
  Snapshot snapshot;
  const float* host_items = nullptr;  ///< prepared item rows in host memory, for the retriever
  const float* host_unit_items =
      nullptr;  ///< unit rows of the item table, where something needs them
  std::vector<std::string> branch_names;
  std::vector<std::vector<std::string>> filter_names;  ///< by branch, in reason order
  std::vector<std::string> stratum_names;
  std::vector<const RunLists*> runs;       ///< by branch; null where it is not a run
  std::vector<std::string> segment_names;  ///< codes of the column that segment filters name
  bool has_users = false;            ///< something is known by user; else rows need not name one
  std::uint32_t topk_depth = 0;      ///< deepest pool of the topk branches, 0 without one
  std::uint64_t prepared_bytes = 0;  ///< rows widened or normalised
};

/// Throws ConfigError where the recipe asks for tables, columns or sizes that the inputs do not
/// have. former: compiled of the same inputs for the same Exec, with which the result shares the
/// tables that both recipes look up; may be null, and need not outlive the call.
std::unique_ptr<Compiled> compile(const Recipe& recipe, const MinerInputs& inputs, const Exec& exec,
                                  std::uint32_t seed, std::uint32_t round,
                                  const Compiled* former = nullptr);

}  // namespace quarry
