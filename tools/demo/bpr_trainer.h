// A small matrix-factorisation trainer (BPR, one thread, same bits for a seed) that makes
// demonstration embeddings.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/core/exact_score.h"

namespace quarry::demo {

/// One observed positive: the trainer puts `item` above negatives for `user`.
struct Positive {
  std::uint32_t user = 0;
  std::uint32_t item = 0;
};

/// Item lists by user, sorted within a user. offsets: [users + 1].
struct ItemLists {
  std::vector<std::uint64_t> offsets;
  std::vector<std::uint32_t> items;

  static ItemLists from_pairs(std::vector<Positive> pairs, std::uint32_t num_users);
  bool contains(std::uint32_t user, std::uint32_t item) const;
};

struct BprOptions {
  std::uint32_t dim = 64;
  std::uint32_t epochs = 60;
  float learning_rate = 0.05f;
  float l2 = 0.01f;
  Metric metric = Metric::kInnerProduct;  ///< kInnerProduct or kCosine
  bool item_bias = true;     ///< inner product: the last coordinate is the item's bias, 1 for users
  float temperature = 0.2f;  ///< cosine: scores are divided by it inside the loss
  float mined_share = 0.5f;  ///< share of steps that take a mined negative where the pair has some
  std::uint32_t seed = 0;
};

/// Mined negatives of training pair p: items[offsets[p], offsets[p + 1]).
struct MinedNegatives {
  std::vector<std::uint64_t> offsets;
  std::vector<std::uint32_t> items;
};

/// users: [num_users, dim], items: [num_items, dim].
struct FactorModel {
  std::uint32_t dim = 0;
  Metric metric = Metric::kInnerProduct;
  std::vector<float> users;
  std::vector<float> items;
  float score(std::uint32_t user, std::uint32_t item) const;
};

/// Random small vectors, a function of the seed and the index only. Under kCosine every row has
/// length 1.
FactorModel initial_model(std::uint32_t num_users, std::uint32_t num_items,
                          const BprOptions& options);

/// Runs `options.epochs` epochs of stochastic gradient descent on `model` in place. Negatives are
/// uniform over the items that are not positives of the user, or mined ones where given.
/// `after_epoch(epoch)` may be empty. Throws InputError if there is no positive at all.
void train_bpr(const std::vector<Positive>& positives, const MinedNegatives* mined,
               const BprOptions& options, FactorModel& model,
               const std::function<void(std::uint32_t epoch)>& after_epoch);

struct RankingQuality {
  double ndcg10 = 0;
  double hit10 = 0;
  std::uint32_t users = 0;  ///< users that have a held-out positive
};

/// Ranks all items that are not in `masked` for every user that has held-out positives; no sampling
/// of items.
RankingQuality full_ranking(const FactorModel& model, const ItemLists& masked,
                            const ItemLists& held_out);

/// Share of held-out positives among all unmasked items of one bucket of ranks.
struct RankBucket {
  std::uint32_t first = 1;
  std::uint32_t last = 0;  ///< inclusive
  std::uint64_t candidates = 0;
  std::uint64_t held_out = 0;
};
/// Over all users, in the buckets 1-10, 11-30, 31-100, 101-200, 201-400, 401-1000 and the rest; the
/// last one, with first 1, is the whole list. What a miner that takes this bucket would teach as
/// negative although the user liked it later.
std::vector<RankBucket> held_out_by_rank(const FactorModel& model, const ItemLists& masked,
                                         const ItemLists& held_out);

}  // namespace quarry::demo
