// Tables that are hard on retrieval, and brute force that shares nothing with the retrievers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "index/retriever.h"
#include "kernels/core/exact_math.h"

namespace quarry::test {

enum class Data { kGaussian, kDuplicates, kAllEqual, kOneHuge, kDescending };
inline constexpr Data kAllData[] = {Data::kGaussian, Data::kDuplicates, Data::kAllEqual,
                                    Data::kOneHuge, Data::kDescending};
inline constexpr Metric kMetrics[] = {Metric::kInnerProduct, Metric::kCosine, Metric::kL2};
inline const char* name_of(Data data) {
  constexpr const char* kNames[] = {"gaussian", "duplicates", "all equal", "one huge",
                                    "descending"};
  return kNames[static_cast<int>(data)];
}
inline const char* name_of(Metric metric) {
  return metric == Metric::kL2 ? "l2" : metric == Metric::kCosine ? "cosine" : "ip";
}

/// The exact score of docs/row_contract.md section 1, word by word.
inline float naive_score(Metric metric, const float* q, const float* x, std::uint32_t dim) {
  float acc[32] = {};
  for (std::uint32_t i = 0; i < dim; ++i) {
    float& a = acc[i % 32];
    if (metric == Metric::kL2) {
      const float t = q[i] - x[i];
      a = std::fma(t, t, a);
    } else {
      a = std::fma(q[i], x[i], a);
    }
  }
  for (int w = 16; w >= 1; w /= 2) {
    for (int l = 0; l < w; ++l) acc[l] = acc[l] + acc[l + w];
  }
  const float score = metric == Metric::kL2 ? -acc[0] : acc[0];
  return score == 0.0f ? 0.0f : score;
}

struct Tables {
  Metric metric = Metric::kInnerProduct;
  std::uint32_t num_items = 0;
  std::uint32_t num_queries = 0;
  std::uint32_t dim = 0;
  std::vector<float> items;
  std::vector<float> queries;
  ItemTable view() const { return {items.data(), num_items, dim, metric}; }
};

inline void normalize(std::vector<float>& rows, std::uint32_t dim) {
  for (std::size_t r = 0; r < rows.size(); r += dim) {
    const float norm = std::sqrt(naive_score(Metric::kInnerProduct, &rows[r], &rows[r], dim));
    for (std::uint32_t i = 0; i < dim; ++i) rows[r + i] = rows[r + i] / norm;
  }
}

inline Tables make_tables(Data data, Metric metric, std::uint32_t num_items,
                          std::uint32_t num_queries, std::uint32_t dim, unsigned seed) {
  Tables t{metric, num_items, num_queries, dim, {}, {}};
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  t.items.resize(std::size_t{num_items} * dim);
  t.queries.resize(std::size_t{num_queries} * dim);
  for (float& v : t.items) v = normal(random);
  for (float& v : t.queries) v = normal(random);
  const auto row = [&](std::uint32_t i) {
    return t.items.begin() + static_cast<std::ptrdiff_t>(std::size_t{i} * dim);
  };
  const auto stride = static_cast<std::ptrdiff_t>(dim);
  for (std::uint32_t i = 0; i < num_items; ++i) {
    if (data == Data::kAllEqual && i > 0) std::copy(row(0), row(0) + stride, row(i));
    if (data == Data::kDuplicates) {
      // A centre per 20 items; half of its members are exact copies, half lie within rounding of
      // it.
      const std::uint32_t centre = i - i % 20;
      if (i != centre) std::copy(row(centre), row(centre) + stride, row(i));
      if (i % 2 == 1) *row(i) *= 1.0f + 3e-7f * static_cast<float>(i % 20);
    }
    if (data == Data::kDescending) {
      for (std::uint32_t d = 0; d < dim; ++d) row(i)[d] *= 100.0f / static_cast<float>(i + 1);
    }
  }
  if (data == Data::kOneHuge) {
    for (std::uint32_t d = 0; d < dim; ++d) row(num_items / 2)[d] *= 1e6f;
  }
  if (metric == Metric::kCosine) {
    normalize(t.items, dim);
    normalize(t.queries, dim);
  }
  return t;
}

struct Found {
  std::vector<std::uint32_t> items, count;
  std::vector<float> scores;
  std::vector<std::uint8_t> complete, certified;
};

inline constexpr std::uint32_t kUntouched = 0xABABABABu;

inline void search_into(Retriever& retriever, const Exec& exec, const Tables& t,
                        std::uint32_t first, std::uint32_t n, std::uint32_t k, Found& f) {
  const std::size_t at = std::size_t{first} * k;
  retriever.search(exec, t.queries.data() + std::size_t{first} * t.dim, n, k,
                   {f.items.data() + at, f.scores.data() + at, f.count.data() + first,
                    f.complete.data() + first, f.certified.data() + first});
}

inline Found search(Retriever& retriever, int threads, const Tables& t, std::uint32_t k,
                    std::uint32_t batch) {
  Found f;
  f.items.assign(std::size_t{t.num_queries} * k, kUntouched);
  f.scores.assign(std::size_t{t.num_queries} * k, -7.0f);
  f.count.assign(t.num_queries, kUntouched);
  f.complete.assign(t.num_queries, 9);
  f.certified.assign(t.num_queries, 9);
  Exec exec;
  exec.threads = threads;
  for (std::uint32_t at = 0; at < t.num_queries; at += batch) {
    search_into(retriever, exec, t, at, std::min(batch, t.num_queries - at), k, f);
  }
  return f;
}

using Ranking = std::vector<std::vector<std::pair<float, std::uint32_t>>>;

/// All items of every query in the order of the contract.
inline Ranking brute_force(const Tables& t) {
  Ranking all(t.num_queries);
  for (std::uint32_t q = 0; q < t.num_queries; ++q) {
    for (std::uint32_t i = 0; i < t.num_items; ++i) {
      all[q].emplace_back(naive_score(t.metric, &t.queries[std::size_t{q} * t.dim],
                                      &t.items[std::size_t{i} * t.dim], t.dim),
                          i);
    }
    std::sort(all[q].begin(), all[q].end(), [](const auto& a, const auto& b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
  }
  return all;
}

/// Rows that are not equal to brute force in count, ids or score bits.
inline int wrong_rows(const Tables& t, const Ranking& truth, const Found& f, std::uint32_t k) {
  int wrong = 0;
  const std::uint32_t n = std::min(k, t.num_items);
  for (std::uint32_t q = 0; q < t.num_queries; ++q) {
    bool good =
        f.count[q] == n && f.complete[q] == (n == t.num_items ? 1 : 0) && f.certified[q] == 1;
    for (std::uint32_t j = 0; j < k && good; ++j) {
      const std::size_t at = std::size_t{q} * k + j;
      good = j < n ? f.items[at] == truth[q][j].second &&
                         bits_of_float(f.scores[at]) == bits_of_float(truth[q][j].first)
                   : f.items[at] == kUntouched;
    }
    wrong += good ? 0 : 1;
  }
  return wrong;
}

inline bool have_faiss() { return faiss_info().present; }

inline std::unique_ptr<Retriever> make(const std::string& kind, const Tables& t,
                                       const FaissOptions& options = {}) {
  Exec exec;
  exec.threads = 2;
  return make_retriever(exec, t.view(), kind, options);
}

}  // namespace quarry::test
