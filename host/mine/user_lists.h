// Lists per user that filters look up and draw spaces leave out, as pairs for kernels/setup.
#pragma once

#include <cstdint>
#include <vector>

#include "host/mine/inputs.h"
#include "host/mine/placement.h"
#include "kernels/model/world.h"
#include "kernels/setup/setup.h"

namespace quarry {

/// Makes lists per user where the Exec runs. The exposure of `world` lies there already; what else
/// of the inputs a list needs is uploaded for as long as it is made. Nothing is kept here.
class UserListMaker {
 public:
  UserListMaker(const Exec& exec, const MinerInputs& inputs, const World& world)
      : exec_(exec), in_(inputs), world_(world) {}

  /// Items positive for each user: events and the rows of the run.
  UserArrays positives() const;
  /// Items of the classes in `mask` whose latest event is not before `oldest`.
  UserArrays exposed(std::uint32_t mask, std::int64_t oldest) const;
  /// Codes of the users' positives (pairs_of), without 0. codes: [num_items], where the Exec runs.
  UserArrays codes(PairView positives, const std::uint32_t* codes) const;

 private:
  PairView events(std::uint32_t mask) const;

  Exec exec_;
  const MinerInputs& in_;
  const World& world_;
};

/// The lists as pairs, every one of which counts.
PairView pairs_of(const UserArrays& lists, std::uint32_t num_users);

}  // namespace quarry
