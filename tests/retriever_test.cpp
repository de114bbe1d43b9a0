// Exact retrievers against brute force, bit for bit, and the certificate under bad approximations.
#include "index/retriever.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "index/certificate.h"
#include "kernels/core/exact_math.h"
#include "kernels/topk/bf16_cpu.h"
#include "kernels/topk/int8_cpu.h"
#include "tests/support/counting_allocator.h"
#include "tests/support/retrieval_cases.h"

namespace quarry {
namespace {

using namespace test;

std::vector<std::string> exact_kinds() {
  std::vector<std::string> kinds{"exact-fp32", "exact-int8", "exact-bf16"};
  if (have_faiss()) kinds.push_back("Flat");
  return kinds;
}

TEST(ExactRetriever, EqualsBruteForceBitForBit) {
  constexpr std::uint32_t kItems = 300;
  for (const Data data : kAllData) {
    for (const Metric metric : kMetrics) {
      SearchStats sum;
      for (const std::uint32_t dim : {1u, 3u, 31u, 32u, 33u, 127u, 128u, 129u, 768u}) {
        const Tables t = make_tables(data, metric, kItems, 17, dim, dim + 7);
        const Ranking truth = brute_force(t);
        for (const std::string& kind : exact_kinds()) {
          const auto retriever = make(kind, t);
          ASSERT_TRUE(retriever->exact());
          std::uint64_t queries = 0;
          for (const std::uint32_t k : {1u, 10u, kItems - 1, kItems, kItems + 5}) {
            for (const int threads : {1, 2}) {
              const std::uint32_t batch = threads == 1 ? t.num_queries : 5;
              ASSERT_EQ(wrong_rows(t, truth, search(*retriever, threads, t, k, batch), k), 0)
                  << kind << ", " << name_of(data) << ", " << name_of(metric) << ", dim " << dim
                  << ", k " << k << ", threads " << threads << ", batch " << batch;
              queries += t.num_queries;
            }
          }
          const SearchStats stats = retriever->stats();
          ASSERT_EQ(stats.queries, queries);
          ASSERT_EQ(stats.certified + stats.fallback, queries);
          sum.queries += stats.queries;
          sum.certified += stats.certified;
        }
      }
      std::printf(
          "%-10s %-6s certified %5.1f %% of %llu (3 of 5 depths want nearly all items: brute "
          "force)\n",
          name_of(data), name_of(metric),
          100.0 * static_cast<double>(sum.certified) / static_cast<double>(sum.queries),
          static_cast<unsigned long long>(sum.queries));
    }
  }
}

TEST(ExactRetriever, LargerCataloguesCertifyOrFallBackWithoutAWrongRow) {
  for (const Data data : kAllData) {
    for (const Metric metric : kMetrics) {
      const Tables t = make_tables(data, metric, 4000, 30, 32, 3);
      const Ranking truth = brute_force(t);
      for (const std::string& kind : exact_kinds()) {
        const auto retriever = make(kind, t);
        // 3 places into a cluster of 20: the slack of 16 ends inside it, among exact ties.
        for (const std::uint32_t k : {50u, 423u}) {
          for (const int threads : {1, 2}) {
            ASSERT_EQ(
                wrong_rows(t, truth, search(*retriever, threads, t, k, threads == 1 ? 30 : 4), k),
                0)
                << kind << ", " << name_of(data) << ", " << name_of(metric) << ", k " << k
                << ", threads " << threads;
          }
        }
        const SearchStats s = retriever->stats();
        std::printf(
            "%-6s %-10s %-6s certified %5.1f %%, fallback %5.1f %%, widened %llu, wrong rows 0\n",
            kind.c_str(), name_of(data), name_of(metric),
            100.0 * static_cast<double>(s.certified) / static_cast<double>(s.queries),
            100.0 * static_cast<double>(s.fallback) / static_cast<double>(s.queries),
            static_cast<unsigned long long>(s.widened));
        ASSERT_EQ(s.certified + s.fallback, s.queries);
        if (data == Data::kGaussian) {
          EXPECT_EQ(s.fallback, 0u) << "well separated scores need no brute force";
        }
        if (data == Data::kDuplicates && kind != "exact-bf16") {
          EXPECT_GT(s.widened, 0u) << "a tie at the boundary cannot be certified at once";
        }
        if (data == Data::kAllEqual) {
          EXPECT_EQ(s.certified, 0u) << "a tie at the boundary cannot be certified";
        }
        if (data == Data::kOneHuge && metric == Metric::kInnerProduct) {
          EXPECT_EQ(s.fallback, 0u) << "one heavy item must not loosen the bound for all";
        }
      }
    }
  }
}

TEST(ExactRetriever, OverflowingScoresEndInBruteForce) {
  // Sums of products above the largest float: BLAS makes infinities and NaN in its own order.
  Tables t = make_tables(Data::kGaussian, Metric::kInnerProduct, 3000, 9, 33, 4);
  for (float& v : t.items) v *= 1e19f;
  for (float& v : t.queries) v = std::fabs(v) * 1e19f;
  for (float& v : t.items) v = std::fabs(v);
  const Ranking truth = brute_force(t);
  const auto retriever = make_exact_retriever(t.view());
  EXPECT_EQ(wrong_rows(t, truth, search(*retriever, 2, t, 10, 9), 10), 0);
  EXPECT_EQ(retriever->stats().fallback, 9u);
}

TEST(ExactRetriever, EmptyInputsGiveEmptyResults) {
  const Tables none = make_tables(Data::kGaussian, Metric::kInnerProduct, 0, 3, 4, 1);
  for (const std::string& kind : exact_kinds()) {
    const auto retriever = make(kind, none);
    const Found f = search(*retriever, 1, none, 5, 3);
    for (int q = 0; q < 3; ++q) {
      EXPECT_EQ(f.count[q], 0u);
      EXPECT_EQ(f.complete[q], 1);
    }
    const Tables some = make_tables(Data::kGaussian, Metric::kInnerProduct, 20, 3, 4, 1);
    const auto other = make(kind, some);
    other->search({}, nullptr, 0, 5, {});
    EXPECT_EQ(other->stats().queries, 0u);
  }
}

/// What is above a ceiling is counted, to the item: a ceiling is the exact score of an item here,
/// so scores off in their last bits fall on either side of it.
TEST(Goals, WhatIsPassedOverIsSurelyAboveTheCeiling) {
  std::uint64_t passed_in_all = 0;
  for (const Data data : {Data::kGaussian, Data::kDescending, Data::kDuplicates}) {
    for (const Metric metric : kMetrics) {
      const Tables t = make_tables(data, metric, 3000, 64, 33, 5);
      const Ranking truth = brute_force(t);
      for (const char* kind : {"exact-fp32", "exact-int8", "exact-bf16"}) {
        const auto retriever = make(kind, t);
        constexpr std::uint32_t kMost = 300;
        std::vector<float> ceiling(t.num_queries);
        for (std::uint32_t q = 0; q < t.num_queries; ++q) ceiling[q] = truth[q][q % 90].first;
        SearchGoal goal;
        goal.wanted = 20;
        goal.ceiling = goal.pass_above = ceiling.data();
        Found f;
        f.items.assign(std::size_t{t.num_queries} * kMost, kUntouched);
        f.scores.assign(f.items.size(), 0.0f);
        f.count.assign(t.num_queries, 0);
        f.complete.assign(t.num_queries, 9);
        f.certified.assign(t.num_queries, 9);
        std::vector<std::uint32_t> passed(t.num_queries, kUntouched);
        retriever->search_toward({}, t.queries.data(), t.num_queries, kMost, goal,
                                 {f.items.data(), f.scores.data(), f.count.data(),
                                  f.complete.data(), f.certified.data(), passed.data()});
        for (std::uint32_t q = 0; q < t.num_queries; ++q) {
          std::uint32_t counting = 0;
          for (std::uint32_t j = 0; j < f.count[q]; ++j) {
            const std::size_t at = std::size_t{q} * kMost + j;
            if (f.scores[at] > ceiling[q]) continue;
            ++counting;
            const std::size_t rank = passed[q] + j;
            ASSERT_LT(rank, truth[q].size());
            ASSERT_EQ(f.items[at], truth[q][rank].second)
                << kind << ", " << name_of(data) << ", " << name_of(metric) << ", query " << q;
            ASSERT_EQ(f.scores[at], truth[q][rank].first);
          }
          // The goal is counted by scores that are off, and reached all the same.
          ASSERT_GE(counting, 20u) << kind << ", query " << q;
          passed_in_all += passed[q];
        }
      }
    }
  }
  EXPECT_GT(passed_in_all, 10000u);
}

/// 8 bits where rows pay for packing the items, bf16 by tiles where fewer do; the same answers.
TEST(ExactRetriever, TheFirstPassIsThatOfTheProcessorAndTheNumberOfRows) {
  const Tables t = make_tables(Data::kGaussian, Metric::kInnerProduct, 3000, 64, 40, 9);
  const Ranking truth = brute_force(t);
  const auto search = [&](std::uint32_t rows) {
    const auto retriever = make("exact", t);
    SearchGoal goal;
    goal.wanted = 20;
    constexpr std::uint32_t kMost = 100;
    Found f;
    f.items.assign(std::size_t{rows} * kMost, kUntouched);
    f.scores.assign(f.items.size(), 0.0f);
    f.count.assign(rows, 0);
    f.complete.assign(rows, 9);
    retriever->search_toward(
        {}, t.queries.data(), rows, kMost, goal,
        {f.items.data(), f.scores.data(), f.count.data(), f.complete.data(), nullptr, nullptr});
    for (std::uint32_t q = 0; q < rows; ++q) {
      EXPECT_GE(f.count[q], 20u);
      for (std::uint32_t j = 0; j < f.count[q]; ++j)
        EXPECT_EQ(f.items[std::size_t{q} * kMost + j], truth[q][j].second) << rows << ", " << q;
    }
    return retriever->stats().coarse;
  };
  const bool tiles = bf16_pays(bf16_unit());
  EXPECT_EQ(search(64), !int8_pays(int8_unit()) && tiles ? 64u : 0u);
  EXPECT_EQ(search(8) > 0, tiles);
  EXPECT_EQ(search(2), 0u);
}

/// A miner that finds no memory for a tile makes it smaller and goes on with the same retriever.
TEST(ExactRetriever, ASearchAfterOneThatFoundNoMemoryIsAsAnyOther) {
  const Tables t = make_tables(Data::kGaussian, Metric::kL2, 3000, 40, 64, 5);
  const Ranking truth = brute_force(t);
  std::vector<float> ceiling(t.num_queries, std::numeric_limits<float>::infinity());
  constexpr std::uint32_t kMost = 300, kWanted = 20;
  for (const FirstPass pass : {FirstPass::kInt8, FirstPass::kFp32, FirstPass::kBf16}) {
    int refused = 0;
    for (bool some = true; some; ++refused) {
      test::CountingAllocator allocator(refused);
      Exec exec;
      exec.allocator = allocator.get();
      const auto retriever = make_exact_retriever(t.view(), pass);
      std::vector<std::uint32_t> items(std::size_t{t.num_queries} * kMost), count(t.num_queries);
      std::vector<float> scores(items.size());
      std::vector<std::uint8_t> complete(t.num_queries);
      SearchGoal goal;
      goal.wanted = kWanted;
      goal.ceiling = ceiling.data();
      const auto run = [&] {
        retriever->search_toward(
            exec, t.queries.data(), t.num_queries, kMost, goal,
            {items.data(), scores.data(), count.data(), complete.data(), nullptr, nullptr});
      };
      some = false;
      try {
        run();
      } catch (const OutOfMemory&) {
        some = true;
        run();
      }
      for (std::uint32_t q = 0; q < t.num_queries; ++q) {
        ASSERT_GE(count[q], kWanted) << name_of(pass) << ", refused " << refused;
        for (std::uint32_t j = 0; j < count[q]; ++j)
          ASSERT_EQ(items[std::size_t{q} * kMost + j], truth[q][j].second)
              << name_of(pass) << ", refused " << refused << ", query " << q;
      }
    }
    EXPECT_GT(refused, 10) << name_of(pass);
  }
}

/// Scores with an error far above the bound, as a BLAS in reduced precision would give.
class ImpreciseSource final : public CandidateSource {
 public:
  explicit ImpreciseSource(const Tables& t) : t_(t) {}
  void find(const Exec&, const float*, const float* queries, std::uint32_t rows,
            std::uint32_t depth, SearchWorkspace&, const TopkResult& out) override {
    for (std::uint32_t r = 0; r < rows; ++r) {
      std::vector<std::uint64_t> keys;
      for (std::uint32_t i = 0; i < t_.num_items; ++i) {
        const float s = naive_score(t_.metric, queries + std::size_t{r} * t_.dim,
                                    &t_.items[std::size_t{i} * t_.dim], t_.dim);
        keys.push_back(score_key(s + (i % 2 == 0 ? 0.01f : -0.01f), i));
      }
      std::sort(keys.rbegin(), keys.rend());
      std::copy_n(keys.begin(), depth, out.keys + std::size_t{r} * depth);
      out.count[r] = depth;
      out.left_out[r] = 1;
      out.cut[r] = score_of_key(keys[depth]);
    }
  }

 private:
  const Tables& t_;
};

TEST(Certificate, ImpreciseScoresAreNoticedAndNotCertified) {
  const Tables t = make_tables(Data::kGaussian, Metric::kInnerProduct, 3000, 20, 16, 8);
  const Ranking truth = brute_force(t);
  ImpreciseSource source(t);
  CertifiedSearch certified(t.view(), Approximation::kTopk);
  Found f;
  f.items.assign(20 * 10, kUntouched);
  f.scores.assign(20 * 10, 0.0f);
  f.count.assign(20, 0);
  f.complete.assign(20, 9);
  f.certified.assign(20, 9);
  certified.search(
      {}, source, t.queries.data(), 20, 10,
      {f.items.data(), f.scores.data(), f.count.data(), f.complete.data(), f.certified.data()});
  EXPECT_EQ(wrong_rows(t, truth, f, 10), 0);
  EXPECT_EQ(certified.stats().fallback, 20u);
  EXPECT_EQ(certified.stats().certified, 0u);
}

/// The nearest number of 8 significant bits, ties to even, by frexp and nearbyint.
float shortened(float value) {
  int exponent = 0;
  const float fraction = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8);
}

TEST(Certificate, BoundHoldsForEveryPairAndIsNotIdle) {
  for (const Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
    for (const std::uint32_t dim : {1u, 17u, 128u, 768u}) {
      const Tables t = make_tables(Data::kGaussian, metric, 400, 10, dim, dim);
      ErrorBound bound;
      bound.prepare({}, t.view(), true);
      double largest = 0.0;
      double largest_coarse = 0.0;
      for (std::uint32_t q = 0; q < t.num_queries; ++q) {
        const float* query = &t.queries[std::size_t{q} * dim];
        const QueryBound b = query_bound(bound.of(Approximation::kTopk), query);
        const QueryBound coarse = query_bound(bound.of(Approximation::kTopkBf16), query);
        for (std::uint32_t i = 0; i < t.num_items; ++i) {
          const float* item = &t.items[std::size_t{i} * dim];
          // The worst order of addition at hand: one by one.
          float dot = 0.0f;
          float coarse_dot = 0.0f;
          for (std::uint32_t d = 0; d < dim; ++d) {
            dot += query[d] * item[d];
            coarse_dot += shortened(query[d]) * shortened(item[d]);
          }
          const double exact{naive_score(metric, query, item, dim)};
          const auto error_of = [&](float product, double offset) {
            float approximate = product;
            if (metric == Metric::kL2)
              approximate = 2.0f * product - static_cast<float>(squared_norm(item, dim));
            return std::fabs(double{approximate} + offset - exact);
          };
          const double error = error_of(dot, b.offset);
          const double coarse_error = error_of(coarse_dot, coarse.offset);
          ASSERT_LE(error, b.error);
          ASSERT_LE(coarse_error, coarse.error);
          largest = std::max(largest, error / b.error);
          largest_coarse = std::max(largest_coarse, coarse_error / coarse.error);
        }
      }
      if (dim > 1) {
        EXPECT_GT(largest, 1e-3) << "a bound a thousand times too wide certifies nothing";
        EXPECT_GT(largest_coarse, 1e-2) << "that of bf16 is near what happens";
      }
    }
  }
}

}  // namespace
}  // namespace quarry
