// What `--retriever auto` chooses: its promises for all sizes, and its sums against a hand's.
#include "index/choose_retriever.h"

#include <gtest/gtest.h>

#include <cmath>

#include "index/retriever.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

RetrievalTask task(std::uint64_t items, std::uint64_t rows, double recall) {
  RetrievalTask t;
  t.num_items = items;
  t.rows = rows;
  t.dim = 128;
  t.depth = 157;
  t.recall = recall;
  t.metric = Metric::kCosine;
  t.threads = 2;
  t.faiss = true;
  return t;
}

constexpr std::uint64_t kSizes[] = {0, 1, 50, 5000, 20000, 50000, 200000, 1000000, 100000000};
constexpr std::uint64_t kRows[] = {0, 1, 500, 5000, 20000, 1000000, 1000000000};
constexpr double kRecalls[] = {1e-6, 0.5, 0.9, 0.95, 0.99, 0.999999, 1.0};

template <class Judge>
void for_all(Judge&& judge) {
  for (const std::uint64_t items : kSizes) {
    for (const std::uint64_t rows : kRows) {
      for (const double recall : kRecalls) {
        for (const Metric metric : {Metric::kInnerProduct, Metric::kCosine, Metric::kL2}) {
          for (const std::uint32_t depth : {1u, 157u, 1000000u}) {
            RetrievalTask t = task(items, rows, recall);
            t.metric = metric;
            t.depth = depth;
            judge(t);
          }
        }
      }
    }
  }
}

TEST(ChooseRetriever, IsExactUnlessLessWasAllowedAndCanPay) {
  std::uint64_t approximate = 0;
  for_all([&](RetrievalTask t) {
    const RetrieverChoice choice = choose_retriever(t);
    const std::string where = std::to_string(t.num_items) + " items, " + std::to_string(t.rows) +
                              " rows, recall " + std::to_string(t.recall);
    EXPECT_FALSE(choice.rule.empty());
    EXPECT_EQ(choice.chosen.exact, choice.chosen.retriever == "exact") << where;
    if (t.recall == 1.0 || t.rows == 0) {
      EXPECT_EQ(choice.chosen.retriever, "exact") << where;
    }
    approximate += choice.chosen.exact ? 0 : 1;
    t.faiss = false;
    EXPECT_EQ(choose_retriever(t).chosen.retriever, "exact") << where;
    t.faiss = true;
    t.device = Device::kCuda;
    EXPECT_EQ(choose_retriever(t).chosen.retriever, "exact") << where;
  });
  EXPECT_GT(approximate, 20u);
}

TEST(ChooseRetriever, NoExactWayIsMuchCheaperThanTheChosenOne) {
  for_all([](const RetrievalTask& t) {
    const RetrieverChoice choice = choose_retriever(t);
    for (const RetrieverCost& c : retriever_costs(t)) {
      EXPECT_GT(c.rows_per_second, 0.0);
      EXPECT_GE(c.build_seconds, 0.0);
      EXPECT_TRUE(std::isfinite(c.work));
      if (c.exact) {
        EXPECT_LE(choice.chosen.work, c.work)
            << c.retriever << " of " << t.num_items << " items, " << t.rows << " rows";
      }
      EXPECT_TRUE(c.exact || t.recall < 1.0) << c.retriever;
    }
  });
}

TEST(ChooseRetriever, ThreadsChangeSecondsOnly) {
  for_all([](RetrievalTask t) {
    t.threads = 1;
    const RetrieverChoice one = choose_retriever(t);
    t.threads = 64;
    const RetrieverChoice many = choose_retriever(t);
    EXPECT_EQ(one.chosen.retriever, many.chosen.retriever);
    EXPECT_EQ(one.chosen.nprobe, many.chosen.nprobe);
    EXPECT_EQ(one.chosen.ef_search, many.chosen.ef_search);
    EXPECT_NEAR(many.chosen.rows_per_second / one.chosen.rows_per_second, 64.0, 1e-6);
  });
}

/// Lists of an IVF's index string.
std::uint32_t lists_of(const RetrieverCost& c) {
  return static_cast<std::uint32_t>(std::stoul(c.retriever.substr(3)));
}

TEST(ChooseRetriever, AnIndexLooksAtMoreWhereMoreIsWanted) {
  // 1 - recall = 0.476 / f^1.37, f the items looked at for each one wanted: f = 3.1232 for 0.9,
  // 16.770 for 0.99. At 157 items wanted of a million that is 490 and 2,633 items.
  for (const auto& [recall, items] : {std::pair{0.9, 490.35}, {0.99, 2632.88}}) {
    std::uint32_t seen = 0;
    for (const RetrieverCost& c : retriever_costs(task(1000000, 20000, recall))) {
      if (c.retriever.rfind("IVF", 0) == 0) {
        const double per_list = 1e6 / lists_of(c);
        EXPECT_EQ(c.nprobe, std::max(4.0, std::ceil(items / per_list))) << c.retriever;
        ++seen;
      }
      if (c.retriever.rfind("HNSW", 0) == 0) {
        EXPECT_NEAR(c.ef_search, items, 2.0);
        ++seen;
      }
    }
    EXPECT_EQ(seen, 5u);
  }
  RetrievalTask inner = task(1000000, 20000, 0.9);
  inner.metric = Metric::kInnerProduct;
  for (const RetrieverCost& c : retriever_costs(inner))
    EXPECT_NE(c.retriever.rfind("HNSW", 0), 0u) << "a graph over inner products";
}

TEST(ChooseRetriever, RowsPayForTheBuild) {
  // More rows of the same task may turn the choice from exact to approximate, never back; the
  // build is in what is compared.
  const double build_of_few = choose_retriever(task(1000000, 1, 0.95)).chosen.build_seconds;
  EXPECT_EQ(build_of_few, 0.0);
  bool turned = false;
  for (std::uint64_t rows = 1; rows < 100000000; rows *= 3) {
    const RetrieverChoice choice = choose_retriever(task(1000000, rows, 0.95));
    EXPECT_FALSE(turned && choice.chosen.exact) << rows;
    turned = turned || !choice.chosen.exact;
    if (turned) {
      EXPECT_GT(choice.chosen.build_seconds, 0.0);
      EXPECT_NE(choice.rule.find("pay for an index"), std::string::npos) << choice.rule;
    } else {
      EXPECT_NE(choice.rule.find("do not pay"), std::string::npos) << choice.rule;
    }
  }
  EXPECT_TRUE(turned);
  // Few items are scanned faster than any index is searched, however many rows there are.
  EXPECT_TRUE(choose_retriever(task(5000, 100000000, 0.95)).chosen.exact);
}

TEST(ChooseRetriever, RefusesARecallThatIsNone) {
  for (const double recall : {0.0, -1.0, 1.0001, std::nan(""), HUGE_VAL})
    EXPECT_THROW(choose_retriever(task(1000, 10, recall)), ConfigError) << recall;
}

TEST(ChooseRetriever, WhatItNamesCanBeBuilt) {
  if (!faiss_info().present) GTEST_SKIP() << "this build has no FAISS";
  // A small table for the largest task: FAISS takes the string, and the parameters are those of it.
  std::vector<float> rows(4096 * 8);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = std::sin(static_cast<float>(i * i % 977));
  for (const RetrieverCost& c : retriever_costs(task(20000, 1000000, 0.9))) {
    FaissOptions options;
    options.nprobe = c.nprobe;
    options.ef_search = c.ef_search;
    const auto retriever =
        make_retriever({}, {rows.data(), 4096, 8, Metric::kL2}, c.retriever, options);
    EXPECT_EQ(retriever->exact(), c.exact) << c.retriever;
    const std::string description = retriever->description();
    if (c.nprobe > 0) {
      EXPECT_NE(description.find("nprobe=" + std::to_string(c.nprobe)), std::string::npos);
    }
    if (c.ef_search > 0) {
      EXPECT_NE(description.find("ef_search=" + std::to_string(c.ef_search)), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace quarry
