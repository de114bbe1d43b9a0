// BPR by stochastic gradient descent and its evaluation by full ranking. One thread: the order of
// steps is the result.
#include "tools/demo/bpr_trainer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/core/errors.h"
#include "kernels/core/exact_math.h"
#include "kernels/core/philox.h"

namespace quarry::demo {
namespace {

// What a number is for, as the last counter word; the generator is keyed by (seed, this constant).
constexpr std::uint32_t kStream = 0x62707274u;
constexpr std::uint32_t kNoNegative = 0xFFFFFFFFu;
enum class Draw : std::uint32_t {
  kUserVector = 1,
  kItemVector = 2,
  kShuffle = 3,
  kNegative = 4,
  kSource = 5
};

std::uint64_t draw(std::uint32_t seed, Draw what, std::uint32_t a, std::uint32_t b,
                   std::uint32_t c = 0) {
  return as_u64(philox4x32({seed, kStream}, a, b, c, static_cast<std::uint32_t>(what)));
}

/// Close to normal with unit variance: the sum of four uniform 16-bit numbers, exact on every
/// machine.
float bell(std::uint64_t bits) {
  const auto sum = static_cast<std::int32_t>((bits & 0xFFFF) + (bits >> 16 & 0xFFFF) +
                                             (bits >> 32 & 0xFFFF) + (bits >> 48));
  return static_cast<float>(sum - 131070) * 2.6429e-5f;
}

void fill_vector(std::uint32_t seed, Draw what, std::uint32_t row, float* out, std::uint32_t dim,
                 bool unit) {
  for (std::uint32_t j = 0; j < dim; ++j) out[j] = 0.1f * bell(draw(seed, what, row, j));
  if (!unit) return;
  const float length = std::sqrt(exact_dot_host(out, out, dim));
  for (std::uint32_t j = 0; j < dim; ++j) out[j] /= length;
}

float sigmoid(float x) { return 1.0f / (1.0f + exact_exp(-x)); }

/// Inner product: gradient step on -log sigmoid(u.(i - j)). The last coordinate is the item bias if
/// there is one.
void step_inner_product(const BprOptions& options, float* u, float* i, float* j) {
  const float gap = exact_dot_host(u, i, options.dim) - exact_dot_host(u, j, options.dim);
  const float push = options.learning_rate * sigmoid(-gap);
  const float keep = 1.0f - options.learning_rate * options.l2;
  const std::uint32_t dim = options.dim - (options.item_bias ? 1 : 0);
  for (std::uint32_t d = 0; d < dim; ++d) {
    const float old = u[d];
    u[d] = keep * old + push * (i[d] - j[d]);
    i[d] = keep * i[d] + push * old;
    j[d] = keep * j[d] - push * old;
  }
  if (options.item_bias) {
    i[dim] = keep * i[dim] + push;
    j[dim] = keep * j[dim] - push;
  }
}

void normalise(float* v, std::uint32_t dim) {
  const float scale = 1.0f / std::sqrt(exact_dot_host(v, v, dim));
  for (std::uint32_t d = 0; d < dim; ++d) v[d] *= scale;
}

/// Cosine: the same loss on cosine / temperature; rows stay on the unit sphere by projection after
/// the step.
void step_cosine(const BprOptions& options, float* u, float* i, float* j) {
  const float sharpness = 1.0f / options.temperature;
  const float gap =
      sharpness * (exact_dot_host(u, i, options.dim) - exact_dot_host(u, j, options.dim));
  const float push = options.learning_rate * sigmoid(-gap);
  for (std::uint32_t d = 0; d < options.dim; ++d) {
    const float old = u[d];
    u[d] = old + push * (i[d] - j[d]);
    i[d] += push * old;
    j[d] -= push * old;
  }
  normalise(u, options.dim);
  normalise(i, options.dim);
  normalise(j, options.dim);
}

/// Unmasked items of a user, best first, smaller item first on ties.
void rank_items(const FactorModel& model, const ItemLists& masked, std::uint32_t user,
                std::vector<std::uint64_t>& keys) {
  const auto num_items = static_cast<std::uint32_t>(model.items.size() / model.dim);
  keys.clear();
  std::uint64_t at = masked.offsets[user];
  for (std::uint32_t item = 0; item < num_items; ++item) {
    while (at < masked.offsets[user + 1] && masked.items[at] < item) ++at;
    if (at < masked.offsets[user + 1] && masked.items[at] == item) continue;
    keys.push_back(score_key(model.score(user, item), item));
  }
  std::sort(keys.begin(), keys.end(), std::greater<>());
}

}  // namespace

ItemLists ItemLists::from_pairs(std::vector<Positive> pairs, std::uint32_t num_users) {
  std::sort(pairs.begin(), pairs.end(), [](const Positive& a, const Positive& b) {
    return a.user != b.user ? a.user < b.user : a.item < b.item;
  });
  ItemLists lists;
  lists.offsets.assign(std::size_t{num_users} + 1, 0);
  for (std::size_t p = 0; p < pairs.size(); ++p) {
    if (p > 0 && pairs[p].user == pairs[p - 1].user && pairs[p].item == pairs[p - 1].item) continue;
    lists.items.push_back(pairs[p].item);
    ++lists.offsets[pairs[p].user + 1];
  }
  std::partial_sum(lists.offsets.begin(), lists.offsets.end(), lists.offsets.begin());
  return lists;
}

bool ItemLists::contains(std::uint32_t user, std::uint32_t item) const {
  return std::binary_search(items.begin() + static_cast<std::ptrdiff_t>(offsets[user]),
                            items.begin() + static_cast<std::ptrdiff_t>(offsets[user + 1]), item);
}

float FactorModel::score(std::uint32_t user, std::uint32_t item) const {
  return exact_dot_host(users.data() + std::uint64_t{user} * dim,
                        items.data() + std::uint64_t{item} * dim, dim);
}

FactorModel initial_model(std::uint32_t num_users, std::uint32_t num_items,
                          const BprOptions& options) {
  FactorModel model;
  model.dim = options.dim;
  model.metric = options.metric;
  model.users.resize(std::uint64_t{num_users} * options.dim);
  model.items.resize(std::uint64_t{num_items} * options.dim);
  const bool unit = options.metric == Metric::kCosine;
  for (std::uint32_t u = 0; u < num_users; ++u) {
    float* row = &model.users[std::uint64_t{u} * options.dim];
    fill_vector(options.seed, Draw::kUserVector, u, row, options.dim, unit);
    if (!unit && options.item_bias) row[options.dim - 1] = 1.0f;
  }
  for (std::uint32_t i = 0; i < num_items; ++i) {
    float* row = &model.items[std::uint64_t{i} * options.dim];
    fill_vector(options.seed, Draw::kItemVector, i, row, options.dim, unit);
    if (!unit && options.item_bias) row[options.dim - 1] = 0.0f;
  }
  return model;
}

void train_bpr(const std::vector<Positive>& positives, const MinedNegatives* mined,
               const BprOptions& options, FactorModel& model,
               const std::function<void(std::uint32_t epoch)>& after_epoch) {
  if (positives.empty())
    throw InputError("no positive event to train on; check the rule that names positives");
  const auto num_users = static_cast<std::uint32_t>(model.users.size() / model.dim);
  const auto num_items = static_cast<std::uint32_t>(model.items.size() / model.dim);
  const ItemLists known = ItemLists::from_pairs(positives, num_users);
  const auto mined_share =
      static_cast<std::uint64_t>(static_cast<double>(options.mined_share) * 4294967296.0);
  std::vector<std::uint32_t> order(positives.size());
  std::iota(order.begin(), order.end(), 0u);

  for (std::uint32_t epoch = 0; epoch < options.epochs; ++epoch) {
    for (std::size_t n = order.size(); n > 1; --n) {
      const auto other =
          mulhi(draw(options.seed, Draw::kShuffle, static_cast<std::uint32_t>(n), epoch), n);
      std::swap(order[n - 1], order[other]);
    }
    for (const std::uint32_t p : order) {
      const auto [user, item] = positives[p];
      std::uint32_t negative = kNoNegative;
      if (mined != nullptr && mined->offsets[p + 1] > mined->offsets[p]) {
        const std::uint64_t r = draw(options.seed, Draw::kSource, p, epoch);
        if ((r & 0xFFFFFFFFu) < mined_share) {
          const std::uint64_t n = mined->offsets[p + 1] - mined->offsets[p];
          negative = mined->items[mined->offsets[p] + mulhi(r, n)];
        }
      }
      for (std::uint32_t attempt = 0; negative == kNoNegative && attempt < 64; ++attempt) {
        const auto drawn = static_cast<std::uint32_t>(
            mulhi(draw(options.seed, Draw::kNegative, p, epoch, attempt), num_items));
        if (!known.contains(user, drawn)) negative = drawn;
      }
      if (negative == kNoNegative) continue;  // a user who owns nearly everything
      float* u = &model.users[std::uint64_t{user} * model.dim];
      float* i = &model.items[std::uint64_t{item} * model.dim];
      float* j = &model.items[std::uint64_t{negative} * model.dim];
      if (options.metric == Metric::kCosine) {
        step_cosine(options, u, i, j);
      } else {
        step_inner_product(options, u, i, j);
      }
    }
    if (after_epoch) after_epoch(epoch);
  }
}

RankingQuality full_ranking(const FactorModel& model, const ItemLists& masked,
                            const ItemLists& held_out) {
  RankingQuality total;
  std::vector<std::uint64_t> keys;
  for (std::uint32_t user = 0; user + 1 < held_out.offsets.size(); ++user) {
    std::uint32_t relevant = 0;
    for (std::uint64_t at = held_out.offsets[user]; at < held_out.offsets[user + 1]; ++at) {
      relevant += masked.contains(user, held_out.items[at]) ? 0 : 1;
    }
    if (relevant == 0) continue;
    rank_items(model, masked, user, keys);
    double gain = 0;
    double ideal = 0;
    bool hit = false;
    for (std::uint32_t rank = 0; rank < 10 && rank < keys.size(); ++rank) {
      const double discount = 1.0 / std::log2(rank + 2.0);
      if (rank < relevant) ideal += discount;
      if (held_out.contains(user, item_of_key(keys[rank]))) {
        gain += discount;
        hit = true;
      }
    }
    total.ndcg10 += gain / ideal;
    total.hit10 += hit ? 1 : 0;
    ++total.users;
  }
  if (total.users > 0) {
    total.ndcg10 /= total.users;
    total.hit10 /= total.users;
  }
  return total;
}

std::vector<RankBucket> held_out_by_rank(const FactorModel& model, const ItemLists& masked,
                                         const ItemLists& held_out) {
  const auto num_items = static_cast<std::uint32_t>(model.items.size() / model.dim);
  std::vector<RankBucket> buckets;
  std::uint32_t first = 1;
  for (const std::uint32_t last : {10u, 30u, 100u, 200u, 400u, 1000u}) {
    if (last >= num_items) break;
    buckets.push_back({first, last, 0, 0});
    first = last + 1;
  }
  buckets.push_back({first, num_items, 0, 0});
  RankBucket all{1, num_items, 0, 0};
  std::vector<std::uint64_t> keys;
  for (std::uint32_t user = 0; user + 1 < held_out.offsets.size(); ++user) {
    if (held_out.offsets[user] == held_out.offsets[user + 1]) continue;
    rank_items(model, masked, user, keys);
    std::size_t bucket = 0;
    for (std::uint32_t rank = 1; rank <= keys.size(); ++rank) {
      if (rank > buckets[bucket].last) ++bucket;
      ++buckets[bucket].candidates;
      ++all.candidates;
      if (!held_out.contains(user, item_of_key(keys[rank - 1]))) continue;
      ++buckets[bucket].held_out;
      ++all.held_out;
    }
  }
  buckets.push_back(all);
  return buckets;
}

}  // namespace quarry::demo
