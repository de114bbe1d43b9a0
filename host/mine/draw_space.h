// The space of a draw branch (docs/row_contract.md section 5), made once per snapshot.
#pragma once

#include <optional>
#include <vector>

#include "host/mine/placement.h"
#include "host/mine/snapshot.h"
#include "kernels/model/world.h"

namespace quarry {

struct DrawSpaceSpec {
  std::uint32_t num_items = 0;
  std::uint32_t num_users = 0;
  const Snapshot* snapshot = nullptr;        ///< its items are the universe
  std::optional<double> beta;                ///< weights popularity^beta; absent: uniform
  const std::int64_t* first_seen = nullptr;  ///< [num_items]; null: no time filter on the branch
  const std::uint32_t* stratum = nullptr;    ///< [num_items]; null: one stratum
  std::uint32_t num_strata = 1;
  std::vector<const Lists*> excluded;  ///< items that each user may not draw
};

/// Sorts the universe by (stratum, first seen, item) and each user's exclusions by position. The
/// arrays are kept by `placement`, in its memory space.
DrawSpace make_draw_space(const DrawSpaceSpec& spec, Placement& placement);

}  // namespace quarry
