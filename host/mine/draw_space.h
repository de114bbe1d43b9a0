// The space of a draw branch (docs/row_contract.md section 5), made once per snapshot.
#pragma once

#include <optional>
#include <vector>

#include "host/mine/placement.h"
#include "host/mine/snapshot.h"
#include "kernels/model/world.h"
#include "kernels/setup/setup.h"

namespace quarry {

struct DrawSpaceSpec {
  std::uint32_t num_items = 0;
  std::uint32_t num_users = 0;
  const Snapshot* snapshot = nullptr;        ///< its items are the universe
  std::optional<double> beta;                ///< weights popularity^beta; absent: uniform
  const std::int64_t* first_seen = nullptr;  ///< [num_items]; null: no time filter on the branch
  const std::uint32_t* stratum = nullptr;    ///< [num_items]; null: one stratum
  std::uint32_t num_strata = 1;
  std::vector<PairView> excluded;  ///< items that each user may not draw: lists per user
};

/// Sorts the universe by (stratum, first seen, item) and each user's exclusions by position, where
/// the Exec runs: arrays of `spec` other than the snapshot lie there. `placement`, of the same
/// Exec, keeps the result.
DrawSpace make_draw_space(const Exec& exec, const DrawSpaceSpec& spec, Placement& placement);

}  // namespace quarry
