// One list of labels and distances as keys, empty places closed.
#pragma once

#include <cstdint>

#include "kernels/certify/candidate_lists.h"
#include "kernels/core/exact_math.h"
#include "kernels/core/exact_score.h"
#include "kernels/core/group.h"

namespace quarry {

/// List `list` of args. The cut is the worst score kept: of several that tie at the end such an
/// index keeps any.
template <class Group>
QUARRY_HD void label_keys_row(Group& g, const LabelArgs& args, std::uint32_t list) {
  const std::uint64_t at = std::uint64_t{list} * args.depth;
  std::uint64_t least = ~std::uint64_t{0};
  std::uint32_t count = 0;
  for (std::uint32_t base = 0; base < args.depth; base += g.size()) {
    const std::uint32_t j = base + g.rank();
    const std::int64_t label = j < args.depth ? args.labels[at + j] : -1;
    const bool named = label >= 0 && label < static_cast<std::int64_t>(args.num_items);
    const float distance = named ? args.distances[at + j] : 0.0f;
    const std::uint64_t key = score_key(clear_negative_zero(args.negate ? -distance : distance),
                                        static_cast<std::uint32_t>(label));
    std::uint32_t here = 0;
    const std::uint32_t before = g.scan(named ? 1u : 0u, &here);
    if (named) {
      args.keys[at + count + before] = key;
      least = key < least ? key : least;
    }
    count += here;
  }
  least = g.min(least);
  if (g.rank() == 0) {
    args.count[list] = count;
    args.left_out[list] = count < args.num_items ? 1 : 0;
    if (count > 0) args.cut[list] = score_of_key(least);
  }
}

}  // namespace quarry
