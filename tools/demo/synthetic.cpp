// The generator: every number is Philox at (seed, purpose, index), integer arithmetic or
// exact_math.h.
#include "tools/demo/synthetic.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/core/errors.h"
#include "kernels/core/exact_math.h"
#include "kernels/core/exact_score.h"
#include "kernels/core/philox.h"

namespace quarry::demo {
namespace {

constexpr std::uint32_t kStream = 0x73796e74u;
enum class Draw : std::uint32_t {
  kRole = 1,
  kOriginal,
  kCluster,
  kAttributes,
  kArrival,
  kPopularity,
  kCentre,
  kItemNoise,
  kCopyNoise,
  kUserNoise,
  kInterests,
  kEvent,
  kRetry,
  kReaction,
  kLeak,
};
constexpr std::int64_t kLogBegin = 1'600'000'000;
constexpr std::int64_t kYear = 365 * 86400;
constexpr std::int64_t kHeldOutSpan = 30 * 86400;
constexpr std::uint32_t kMaxClusters = 1u << 20;

PhiloxWords words(std::uint32_t seed, Draw what, std::uint32_t a, std::uint32_t b = 0,
                  std::uint32_t c = 0) {
  return philox4x32({seed, kStream}, a, b, c, static_cast<std::uint32_t>(what));
}

/// Threshold for a 32-bit word to fall below with probability `share`.
std::uint64_t threshold(double share) { return static_cast<std::uint64_t>(share * 4294967296.0); }

float bell(std::uint32_t a, std::uint32_t b) {
  const auto sum = static_cast<std::int32_t>((a & 0xFFFF) + (a >> 16) + (b & 0xFFFF) + (b >> 16));
  return static_cast<float>(sum - 131070) * 2.6429e-5f;
}

/// `out += scale * noise`, noise of about unit length in expectation.
void add_noise(std::uint32_t seed, Draw what, std::uint32_t row, float scale, float* out,
               std::uint32_t dim) {
  const float unit = scale / std::sqrt(static_cast<float>(dim));
  for (std::uint32_t j = 0; j < dim; j += 2) {
    const PhiloxWords w = words(seed, what, row, j);
    out[j] += unit * bell(w.z[0], w.z[1]);
    if (j + 1 < dim) out[j + 1] += unit * bell(w.z[2], w.z[3]);
  }
}

void normalise(float* v, std::uint32_t dim) {
  const float length = std::sqrt(exact_dot_host(v, v, dim));
  for (std::uint32_t j = 0; j < dim; ++j) v[j] /= length;
}

bool is_copy(ItemRole role) { return role == ItemRole::kExactCopy || role == ItemRole::kNearCopy; }

}  // namespace

const char* event_kind_name(EventKind kind) {
  switch (kind) {
    case EventKind::kView:
      return "view";
    case EventKind::kSkip:
      return "skip";
    case EventKind::kDislike:
      return "dislike";
    case EventKind::kLike:
      return "like";
    case EventKind::kPurchase:
      return "purchase";
  }
  return "";
}

std::int64_t SyntheticWorld::log_begin() const { return kLogBegin; }
std::int64_t SyntheticWorld::log_end() const { return kLogBegin + kYear; }

SyntheticWorld::SyntheticWorld(const SyntheticOptions& options) : options_(options) {
  const auto share_ok = [](double s) { return s >= 0.0 && s <= 0.3; };
  if (options.num_users == 0 || options.num_items < 10 || options.dim < 2 || options.dim > 65536) {
    throw ConfigError(
        "synthetic data needs at least 1 user, 10 items and 2 to 65,536 dimensions; got " +
        std::to_string(options.num_users) + " users, " + std::to_string(options.num_items) +
        " items, " + std::to_string(options.dim) + " dimensions");
  }
  if (!share_ok(options.duplicate_share) || !share_ok(options.cold_share) ||
      !share_ok(options.retired_share)) {
    throw ConfigError("the shares of copies, cold and retired items must lie in [0, 0.3] each");
  }
  if (!(options.leak_share >= 0.0 && options.leak_share <= 1.0))
    throw ConfigError("the leak share must lie in [0, 1]");
  if (!(options.zipf >= 0.0 && options.zipf <= 3.0))
    throw ConfigError("the Zipf exponent must lie in [0, 3]");
  if (options_.clusters == 0) {
    options_.clusters =
        std::max(2u, static_cast<std::uint32_t>(std::sqrt(static_cast<double>(options.num_items))));
  }
  options_.clusters = std::min({options_.clusters, options.num_items, kMaxClusters});

  const std::uint32_t n = options_.num_items;
  const std::uint32_t seed = options_.seed;
  const std::uint64_t copies = threshold(options_.duplicate_share);
  const std::uint64_t cold = copies + threshold(options_.cold_share);
  const std::uint64_t retired = cold + threshold(options_.retired_share);
  const std::uint32_t sellers = std::max(2u, n / 50);
  items_.resize(n);
  for (std::uint32_t i = 0; i < n; ++i) {
    SyntheticItem& item = items_[i];
    const PhiloxWords role = words(seed, Draw::kRole, i);
    if (role.z[0] < copies) {
      item.role = role.z[1] & 1 ? ItemRole::kExactCopy : ItemRole::kNearCopy;
    } else if (role.z[0] < cold) {
      item.role = ItemRole::kCold;
    } else if (role.z[0] < retired) {
      item.role = ItemRole::kRetired;
    }
    item.cluster = static_cast<std::uint32_t>(
        mulhi(as_u64(words(seed, Draw::kCluster, i)), options_.clusters));
    const PhiloxWords a = words(seed, Draw::kAttributes, i);
    item.category = item.cluster % std::max(2u, options_.clusters / 4);
    // The product of two uniform numbers: a few sellers hold much of the catalogue.
    item.seller = static_cast<std::uint32_t>(mulhi(std::uint64_t{a.z[0]} * a.z[1], sellers));
    item.group =
        i -
        (i % 3 == 2 && a.z[2] & 1 ? 1 : 0);  // some pairs of neighbours are variants of one product
    const PhiloxWords t = words(seed, Draw::kArrival, i);
    const auto place =
        static_cast<std::int64_t>(mulhi(as_u64(t), static_cast<std::uint64_t>(kYear)));
    if (item.role == ItemRole::kCold) {
      item.first_seen = kLogBegin + kYear - 86400 + place % 86400;
    } else if (item.role == ItemRole::kRetired) {
      item.first_seen = kLogBegin;
      item.retired = kLogBegin + kYear / 4 + place / 2;
    } else {
      item.first_seen = t.z[2] < threshold(0.6) ? kLogBegin : kLogBegin + place * 9 / 10;
    }
  }
  // Originals: the next normal item after a random place. Copies join the original's cluster and
  // category.
  for (std::uint32_t i = 0; i < n; ++i) {
    if (!is_copy(items_[i].role)) continue;
    auto at = static_cast<std::uint32_t>(mulhi(as_u64(words(seed, Draw::kOriginal, i)), n));
    for (std::uint32_t step = 0; step < n && items_[at].role != ItemRole::kNormal; ++step)
      at = (at + 1) % n;
    if (items_[at].role != ItemRole::kNormal)
      throw ConfigError("no item is left to be copied; use more items");
    SyntheticItem& item = items_[i];
    item.original = at;
    item.cluster = items_[at].cluster;
    item.category = items_[at].category;
    if (item.role == ItemRole::kExactCopy) item.group = items_[at].group;
  }

  cluster_begin_.assign(options_.clusters + 1, 0);
  for (const SyntheticItem& item : items_) ++cluster_begin_[item.cluster + 1];
  std::partial_sum(cluster_begin_.begin(), cluster_begin_.end(), cluster_begin_.begin());
  by_cluster_.resize(n);
  std::vector<std::uint32_t> next(cluster_begin_.begin(), cluster_begin_.end() - 1);
  for (std::uint32_t i = 0; i < n; ++i) by_cluster_[next[items_[i].cluster]++] = i;
  cumulative_.assign(std::size_t{n} + 1, 0);
  for (std::uint32_t p = 0; p < n; ++p) {
    const std::uint32_t item = by_cluster_[p];
    const auto rank = 1 + mulhi(as_u64(words(seed, Draw::kPopularity, item)), n);
    const float weight =
        exact_exp(-static_cast<float>(options_.zipf) * exact_log(static_cast<float>(rank)));
    const bool silent = items_[item].role == ItemRole::kCold || is_copy(items_[item].role);
    cumulative_[p + 1] =
        cumulative_[p] + (silent ? 0 : 1 + static_cast<std::uint64_t>(weight * 1e9f));
  }
}

void SyntheticWorld::centre(std::uint32_t cluster, float* out) const {
  std::fill(out, out + options_.dim, 0.0f);
  add_noise(options_.seed, Draw::kCentre, cluster, 1.0f, out, options_.dim);
}

void SyntheticWorld::item_vector(std::uint32_t item, float* out) const {
  const SyntheticItem& it = items_[item];
  const std::uint32_t source = is_copy(it.role) ? it.original : item;
  centre(it.cluster, out);
  add_noise(options_.seed, Draw::kItemNoise, source, 0.8f, out, options_.dim);
  if (it.role == ItemRole::kNearCopy)
    add_noise(options_.seed, Draw::kCopyNoise, item, 0.12f, out, options_.dim);
  normalise(out, options_.dim);
}

void SyntheticWorld::item_vectors(std::uint32_t begin, std::uint32_t end, float* out) const {
  for (std::uint32_t i = begin; i < end; ++i)
    item_vector(i, out + std::uint64_t{i - begin} * options_.dim);
}

SyntheticWorld::Interests SyntheticWorld::interests_of(std::uint32_t user) const {
  const PhiloxWords w = words(options_.seed, Draw::kInterests, user);
  const PhiloxWords v = words(options_.seed, Draw::kInterests, user, 1);
  Interests out{};
  out.count = 1 + w.z[3] % 3;
  for (std::uint32_t i = 0; i < out.count; ++i) {
    out.cluster[i] =
        static_cast<std::uint32_t>(mulhi(std::uint64_t{w.z[i]} << 32 | v.z[i], options_.clusters));
  }
  return out;
}

void SyntheticWorld::user_vectors(std::uint32_t begin, std::uint32_t end, float* out) const {
  std::vector<float> one(options_.dim);
  for (std::uint32_t u = begin; u < end; ++u) {
    float* row = out + std::uint64_t{u - begin} * options_.dim;
    std::fill(row, row + options_.dim, 0.0f);
    const Interests interests = interests_of(u);
    for (std::uint32_t i = 0; i < interests.count; ++i) {
      centre(interests.cluster[i], one.data());
      for (std::uint32_t j = 0; j < options_.dim; ++j) row[j] += one[j];
    }
    add_noise(options_.seed, Draw::kUserNoise, u, 0.6f, row, options_.dim);
    normalise(row, options_.dim);
  }
}

std::uint32_t SyntheticWorld::draw_item(std::uint64_t random, std::uint64_t low,
                                        std::uint64_t high) const {
  const std::uint64_t target =
      cumulative_[low] + mulhi(random, cumulative_[high] - cumulative_[low]);
  const auto begin = cumulative_.begin() + static_cast<std::ptrdiff_t>(low);
  const auto end = cumulative_.begin() + static_cast<std::ptrdiff_t>(high) + 1;
  return by_cluster_[low +
                     static_cast<std::uint64_t>(std::upper_bound(begin, end, target) - begin) - 1];
}

void SyntheticWorld::user_events(std::uint32_t user, std::vector<SyntheticEvent>& out) const {
  out.clear();
  const Interests interests = interests_of(user);
  const std::uint32_t seed = options_.seed;
  const std::uint32_t later = std::max(1u, options_.events_per_user / 5);
  for (std::uint32_t e = 0; e < options_.events_per_user + later; ++e) {
    const PhiloxWords w = words(seed, Draw::kEvent, user, e);
    SyntheticEvent event;
    event.held_out = e >= options_.events_per_user;
    const std::int64_t span = event.held_out ? kHeldOutSpan : kYear;
    event.time = (event.held_out ? log_end() + 1 : kLogBegin) +
                 static_cast<std::int64_t>(mulhi(as_u64(w), static_cast<std::uint64_t>(span)));
    const bool wanted = event.held_out || w.z[2] < threshold(0.75);
    std::uint64_t low = 0;
    std::uint64_t high = items_.size();
    if (wanted) {
      const std::uint32_t cluster = interests.cluster[w.z[3] % interests.count];
      if (cumulative_[cluster_begin_[cluster + 1]] > cumulative_[cluster_begin_[cluster]]) {
        low = cluster_begin_[cluster];
        high = cluster_begin_[cluster + 1];
      }
    }
    if (cumulative_[high] == cumulative_[low]) continue;
    bool placed = false;
    for (std::uint32_t attempt = 0; attempt < 8 && !placed; ++attempt) {
      event.item = draw_item(as_u64(words(seed, Draw::kRetry, user, e, attempt)), low, high);
      const SyntheticItem& item = items_[event.item];
      placed = item.first_seen <= event.time && event.time < item.retired &&
               std::none_of(out.begin(), out.end(),
                            [&](const SyntheticEvent& o) { return o.item == event.item; });
    }
    if (!placed) continue;
    const PhiloxWords r = words(seed, Draw::kReaction, user, e);
    const std::uint32_t luck = r.z[0] >> 16;  // 16 bits
    if (event.held_out) {
      event.kind = EventKind::kPurchase;
      event.leaked = words(seed, Draw::kLeak, user, e).z[0] < threshold(options_.leak_share);
    } else if (wanted) {
      event.kind = luck < 16384   ? EventKind::kPurchase
                   : luck < 32768 ? EventKind::kLike
                   : luck < 52428 ? EventKind::kView
                   : luck < 60000 ? EventKind::kSkip
                                  : EventKind::kDislike;
    } else {
      // Chance encounters are never positive: a purchase far from every interest would put the
      // row's positive below half of the catalogue.
      event.kind = luck < 19661   ? EventKind::kView
                   : luck < 49152 ? EventKind::kSkip
                                  : EventKind::kDislike;
    }
    if (event.kind == EventKind::kView) event.value = static_cast<float>(1 + r.z[1] % 40);
    if (event.kind == EventKind::kPurchase)
      event.value = static_cast<float>(100 + r.z[1] % 9900) / 100.0f;
    out.push_back(event);
  }
  std::sort(out.begin(), out.end(), [](const SyntheticEvent& a, const SyntheticEvent& b) {
    return a.time != b.time ? a.time < b.time : a.item < b.item;
  });
}

}  // namespace quarry::demo
