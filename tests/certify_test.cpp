// certify and the steps around it: against sorting of naive scores, on lanes against one thread,
// and whole retrievers on the stand-in device against the CPU, bit for bit.
#include "kernels/certify/certify.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "index/certificate.h"
#include "kernels/certify/certify_row.h"
#include "kernels/certify/label_keys_row.h"
#include "tests/support/lanes.h"
#include "tests/support/retrieval_cases.h"
#if !defined(QUARRY_HAS_CUDA)
#include "tests/support/lane_device.h"
#endif

namespace quarry {
namespace {

using namespace test;

constexpr std::uint32_t kWidths[] = {1, 2, 3, 32, 128};

/// Lists as a search leaves them, and what certify makes of them.
struct Case {
  Tables tables;
  ListKind kind = ListKind::kApproximate;
  std::uint32_t depth = 0;
  std::uint32_t k = 0;
  bool whole = false;
  double largest_norm = 0.0;
  std::vector<std::uint32_t> heavy;
  std::vector<std::uint64_t> keys;
  std::vector<std::uint32_t> count;
  std::vector<float> cut;
  std::vector<std::uint8_t> left_out;
  std::vector<std::uint32_t> needed;  ///< empty: k
};

struct Answer {
  std::vector<std::uint32_t> items, count;
  std::vector<float> scores;
  std::vector<std::uint8_t> complete, certified, proven;
  bool operator==(const Answer&) const = default;
};

/// Runs `each(args, list)` for every list into fresh outputs; rows are stored in reverse.
template <class Each>
Answer run(const Case& c, Each&& each) {
  const std::uint32_t lists = c.tables.num_queries;
  Answer a;
  a.items.assign(std::size_t{lists} * c.k, kUntouched);
  a.scores.assign(std::size_t{lists} * c.k, -7.0f);
  a.count.assign(lists, kUntouched);
  a.complete.assign(lists, 9);
  a.certified.assign(lists, 9);
  a.proven.assign(lists, 9);
  std::vector<std::uint32_t> rows(lists);
  for (std::uint32_t l = 0; l < lists; ++l) rows[l] = lists - 1 - l;
  CertifyArgs args;
  args.kind = c.kind;
  args.bound = {c.tables.dim, c.tables.metric, Approximation::kTopk, c.largest_norm};
  args.items = c.tables.items.data();
  args.num_items = c.tables.num_items;
  args.queries = c.tables.queries.data();
  args.heavy = c.heavy.data();
  args.num_heavy = static_cast<std::uint32_t>(c.heavy.size());
  args.lists = {c.keys.data(), c.count.data(), c.cut.data(), c.left_out.data(), c.depth};
  args.lists.needed = c.needed.empty() ? nullptr : c.needed.data();
  args.num_lists = lists;
  args.whole = c.whole;
  args.rows = rows.data();
  args.k = c.k;
  args.out = {a.items.data(), a.scores.data(), a.count.data(), a.complete.data(),
              a.certified.data()};
  args.proven = a.proven.data();
  std::vector<std::uint64_t> scratch(std::size_t{c.depth} + c.heavy.size() + 1, 0xDEADu);
  args.scratch = scratch.data();
  for (std::uint32_t l = 0; l < lists; ++l) each(args, l, scratch.data());
  EXPECT_EQ(scratch.back(), 0xDEADu) << "beyond the work area";
  return a;
}

Answer on_solo(const Case& c) {
  return run(c, [](const CertifyArgs& args, std::uint32_t l, std::uint64_t* keys) {
    SoloGroup solo;
    certify_row(solo, args, l, keys);
  });
}

/// The `depth` best by exact scores moved by `noise`, in random order. Every third list is empty if
/// `some_empty`.
Case make_case(Data data, Metric metric, ListKind kind, std::uint32_t depth, std::uint32_t k,
               float noise, bool some_empty, unsigned seed) {
  Case c;
  c.tables = make_tables(data, metric, 150, 9, 20, seed);
  c.kind = kind;
  c.depth = depth;
  c.k = k;
  const Tables& t = c.tables;
  ErrorBound bound;
  bound.prepare({}, t.view(), false);
  c.largest_norm = bound.of(Approximation::kTopk).largest_norm;
  if (kind == ListKind::kApproximate) c.heavy = bound.heavy();
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> moved(-noise, noise);
  for (std::uint32_t q = 0; q < t.num_queries; ++q) {
    std::vector<std::uint64_t> all;
    for (std::uint32_t i = 0; i < t.num_items; ++i) {
      const float* query = &t.queries[std::size_t{q} * t.dim];
      float s = naive_score(metric, query, &t.items[std::size_t{i} * t.dim], t.dim);
      if (kind == ListKind::kApproximate && metric == Metric::kL2)
        s = static_cast<float>(double{s} + squared_norm(query, t.dim));
      if (kind != ListKind::kExact) s += s * moved(random);
      all.push_back(score_key(clear_negative_zero(s), i));
    }
    std::sort(all.rbegin(), all.rend());
    const std::uint32_t n = some_empty && q % 3 == 1 ? 0 : std::min(depth, t.num_items);
    c.count.push_back(n);
    c.left_out.push_back(n < t.num_items ? 1 : 0);
    c.cut.push_back(n < t.num_items ? score_of_key(all[n]) : 0.0f);
    std::shuffle(all.begin(), all.begin() + n, random);
    all.resize(depth, 0x1234567812345678u);
    c.keys.insert(c.keys.end(), all.begin(), all.end());
  }
  return c;
}

/// What certify must write of proven and of unproven lists, by comparing floats.
void check_against_sorting(const Case& c, const Answer& a) {
  const Tables& t = c.tables;
  const Ranking truth = brute_force(t);
  for (std::uint32_t q = 0; q < t.num_queries; ++q) {
    const std::uint32_t row = t.num_queries - 1 - q;
    if (c.kind == ListKind::kApproximate && a.proven[q] == 0) {
      EXPECT_EQ(a.count[row], kUntouched);
      EXPECT_EQ(a.items[std::size_t{row} * c.k], kUntouched);
      continue;
    }
    std::vector<std::uint32_t> expected;
    if (c.kind == ListKind::kUnproven) {
      std::vector<bool> listed(t.num_items, false);
      for (std::uint32_t j = 0; j < c.count[q]; ++j)
        listed[item_of_key(c.keys[std::size_t{q} * c.depth + j])] = true;
      for (const auto& [score, item] : truth[q]) {
        if (listed[item]) expected.push_back(item);
      }
    } else {
      for (const auto& entry : truth[q]) expected.push_back(entry.second);
    }
    const std::size_t reached = expected.size();
    expected.resize(std::min<std::size_t>(reached, c.k));
    if (!c.needed.empty() && c.left_out[q] != 0) {
      // As many as are surely ahead of the cut, at least what is needed.
      ASSERT_GE(a.count[row], std::min<std::size_t>(c.needed[q], expected.size()));
      const QueryBound bound = query_bound({t.dim, t.metric, Approximation::kTopk, c.largest_norm},
                                           &t.queries[std::size_t{q} * t.dim]);
      const double cut = double{c.cut[q]} + bound.offset + bound.error;
      std::size_t ahead = 0;
      while (ahead < expected.size() && double{truth[q][ahead].first} > cut) ++ahead;
      ASSERT_EQ(a.count[row], ahead);
      expected.resize(ahead);
    }
    ASSERT_EQ(a.count[row], expected.size());
    for (std::size_t j = 0; j < c.k; ++j) {
      const std::size_t at = std::size_t{row} * c.k + j;
      ASSERT_EQ(a.items[at], j < expected.size() ? expected[j] : kUntouched);
    }
    const bool unproven = c.kind == ListKind::kUnproven;
    EXPECT_EQ(a.certified[row], unproven ? 0 : 1);
    const bool complete = expected.size() == t.num_items ||
                          (unproven && (reached < c.k || (c.whole && reached == c.k)));
    EXPECT_EQ(a.complete[row], complete ? 1 : 0);
  }
}

std::vector<Case> cases() {
  std::vector<Case> all;
  unsigned seed = 1;
  for (const Data data : {Data::kGaussian, Data::kDuplicates, Data::kAllEqual, Data::kOneHuge}) {
    for (const Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
      for (const std::uint32_t depth : {1u, 31u, 32u, 33u, 65u, 150u}) {
        const std::uint32_t k = depth > 20 ? depth - 16 : 1;
        all.push_back(
            make_case(data, metric, ListKind::kApproximate, depth, k, 0.0f, seed % 2 == 0, seed));
        all.push_back(make_case(data, metric, ListKind::kExact, depth, depth, 0.0f, false, seed));
        all.push_back(
            make_case(data, metric, ListKind::kUnproven, depth, k, 0.1f, seed % 3 == 0, seed));
        all.back().whole = seed % 2 == 0;
        ++seed;
      }
    }
  }
  // Heavy items in and outside of the lists, which are then shorter than k without them.
  Case heavy = make_case(Data::kGaussian, Metric::kInnerProduct, ListKind::kApproximate, 40, 20,
                         0.0f, true, 99);
  heavy.heavy = {0, 3, 4, 77, 149};
  all.push_back(heavy);
  heavy.k = 41;
  all.push_back(heavy);
  // Lists that ended where a goal said: less is needed than k.
  for (const Data data : {Data::kGaussian, Data::kDuplicates, Data::kOneHuge}) {
    for (const Metric metric : {Metric::kInnerProduct, Metric::kL2}) {
      for (const std::uint32_t depth : {33u, 60u}) {
        Case goal =
            make_case(data, metric, ListKind::kApproximate, depth, depth, 0.0f, false, depth);
        for (std::uint32_t q = 0; q < goal.tables.num_queries; ++q)
          goal.needed.push_back(q * 7 % (depth + 4));
        all.push_back(goal);
        goal.k = 20;
        all.push_back(goal);
      }
    }
  }
  // An item twice in a list of an index that may repeat itself.
  Case twice = make_case(Data::kGaussian, Metric::kInnerProduct, ListKind::kUnproven, 33, 33, 0.1f,
                         false, 98);
  for (std::uint32_t q = 0; q < twice.tables.num_queries; ++q)
    twice.keys[std::size_t{q} * 33 + 7] = twice.keys[std::size_t{q} * 33 + 30];
  all.push_back(twice);
  return all;
}

TEST(Certify, WritesTheBestAndProvesOnlyWhatSortingConfirms) {
  int proven = 0;
  int refused = 0;
  int heavy = 0;
  for (const Case& c : cases()) {
    const Answer a = on_solo(c);
    check_against_sorting(c, a);
    heavy += c.heavy.empty() ? 0 : 1;
    for (const std::uint8_t p : a.proven) {
      proven += p == 1;
      refused += p == 0;
    }
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(proven, 50);
  EXPECT_GT(refused, 50);
  EXPECT_GT(heavy, 5);
}

TEST(Certify, ScoresOutsideTheBoundAreNotProven) {
  const Case c = make_case(Data::kGaussian, Metric::kInnerProduct, ListKind::kApproximate, 60, 20,
                           1e-3f, false, 5);
  for (const std::uint8_t p : on_solo(c).proven) EXPECT_EQ(p, 0);
}

TEST(Certify, ATieAcrossTheCutIsNotProven) {
  const Case c = make_case(Data::kAllEqual, Metric::kInnerProduct, ListKind::kApproximate, 60, 20,
                           0.0f, false, 5);
  for (const std::uint8_t p : on_solo(c).proven) EXPECT_EQ(p, 0);
}

TEST(Certify, LanesGiveTheBitsOfOneThread) {
  const std::vector<Case> all = cases();
  for (std::size_t n = 0; n < all.size(); ++n) {
    const Answer solo = on_solo(all[n]);
    for (const std::uint32_t width : kWidths) {
      if (width == 128 && n % 4 != 0) continue;  // a fiber switch per lane and collective
      Lanes lanes(width, kSchedules[(n + width) % std::size(kSchedules)], n);
      const Answer wide =
          run(all[n], [&](const CertifyArgs& args, std::uint32_t l, std::uint64_t* keys) {
            lanes.run([&](LaneGroup& g) { certify_row(g, args, l, keys); });
          });
      ASSERT_TRUE(solo == wide) << "case " << n << ", " << width << " lanes";
    }
  }
}

TEST(LabelKeys, LanesGiveTheListsOfAPlainLoop) {
  std::mt19937 random(3);
  for (const std::uint32_t depth : {1u, 31u, 32u, 33u, 65u}) {
    for (const bool negate : {false, true}) {
      constexpr std::uint32_t kLists = 6, kItems = 70;
      std::vector<std::int64_t> labels(std::size_t{kLists} * depth);
      std::vector<float> distances(labels.size());
      std::vector<std::uint32_t> shuffled(kItems);
      std::iota(shuffled.begin(), shuffled.end(), 0u);
      for (std::uint32_t l = 0; l < kLists; ++l) {
        std::shuffle(shuffled.begin(), shuffled.end(), random);
        for (std::uint32_t j = 0; j < depth; ++j) {
          const std::size_t at = std::size_t{l} * depth + j;
          // List 0 is empty, list 1 whole; an index that pads does so anywhere here, and one that
          // is broken names what does not exist.
          const bool empty = l == 0 || (l > 1 && random() % 4 == 0);
          labels[at] = empty ? (random() % 8 == 0 ? std::int64_t{1} << 40 : -1) : shuffled[j];
          distances[at] = static_cast<float>(random() % 5) - 2.0f;
        }
      }
      LabelArgs args;
      args.labels = labels.data();
      args.distances = distances.data();
      args.num_lists = kLists;
      args.depth = depth;
      args.num_items = kItems;
      args.negate = negate;
      for (const std::uint32_t width : kWidths) {
        std::vector<std::uint64_t> keys(labels.size(), 77);
        std::vector<std::uint32_t> count(kLists, 77);
        std::vector<float> cut(kLists, 77.0f);
        std::vector<std::uint8_t> left_out(kLists, 77);
        args.keys = keys.data();
        args.count = count.data();
        args.cut = cut.data();
        args.left_out = left_out.data();
        Lanes lanes(width, kSchedules[width % std::size(kSchedules)], depth);
        for (std::uint32_t l = 0; l < kLists; ++l)
          lanes.run([&](LaneGroup& g) { label_keys_row(g, args, l); });
        for (std::uint32_t l = 0; l < kLists; ++l) {
          std::vector<std::uint64_t> expected;
          float worst = 77.0f;
          for (std::uint32_t j = 0; j < depth; ++j) {
            const std::size_t at = std::size_t{l} * depth + j;
            if (labels[at] < 0 || labels[at] >= kItems) continue;
            const float score = (negate ? -distances[at] : distances[at]) + 0.0f;
            expected.push_back(score_key(score, static_cast<std::uint32_t>(labels[at])));
            worst = expected.size() == 1 ? score : std::min(worst, score);
          }
          ASSERT_EQ(count[l], expected.size());
          ASSERT_TRUE(std::equal(expected.begin(), expected.end(),
                                 keys.begin() + static_cast<std::ptrdiff_t>(l * depth)));
          ASSERT_EQ(left_out[l], 1);
          ASSERT_EQ(cut[l], worst) << "list " << l << ", " << width << " lanes";
        }
      }
    }
  }
}

#if defined(QUARRY_HAS_CUDA)

TEST(StandInDevice, IsForBuildsWithoutCuda) {
  GTEST_SKIP() << "cuda_test compares retrievers on a GPU with the CPU";
}

#else

/// A search whose queries and results lie in the stand-in's memory alone.
Found search_on_device(Retriever& retriever, const Tables& t, std::uint32_t k,
                       std::uint32_t batch) {
  Exec exec;
  exec.device = Device::kCuda;
  Found f;
  f.items.assign(std::size_t{t.num_queries} * k, kUntouched);
  f.scores.assign(std::size_t{t.num_queries} * k, -7.0f);
  f.count.assign(t.num_queries, kUntouched);
  f.complete.assign(t.num_queries, 9);
  f.certified.assign(t.num_queries, 9);
  for (std::uint32_t at = 0; at < t.num_queries; at += batch) {
    const std::uint32_t n = std::min(batch, t.num_queries - at);
    const std::size_t places = std::size_t{n} * k;
    DeviceBuffer<float> queries(exec, std::size_t{n} * t.dim), scores(exec, places);
    DeviceBuffer<std::uint32_t> items(exec, places), count(exec, n);
    DeviceBuffer<std::uint8_t> complete(exec, n), certified(exec, n);
    copy_to_device(exec, queries.data(), &t.queries[std::size_t{at} * t.dim],
                   queries.size() * sizeof(float));
    copy_to_device(exec, items.data(), &f.items[std::size_t{at} * k], places * 4);
    copy_to_device(exec, scores.data(), &f.scores[std::size_t{at} * k], places * 4);
    retriever.search(
        exec, queries.data(), n, k,
        {items.data(), scores.data(), count.data(), complete.data(), certified.data()});
    copy_to_host(exec, &f.items[std::size_t{at} * k], items.data(), places * 4);
    copy_to_host(exec, &f.scores[std::size_t{at} * k], scores.data(), places * 4);
    copy_to_host(exec, &f.count[at], count.data(), n * 4);
    copy_to_host(exec, &f.complete[at], complete.data(), n);
    copy_to_host(exec, &f.certified[at], certified.data(), n);
  }
  return f;
}

TEST(StandInDevice, RetrieversGiveTheBitsOfTheCpu) {
  std::vector<std::string> kinds{"exact"};
  if (have_faiss()) kinds.insert(kinds.end(), {"Flat", "IVF8,Flat", "HNSW8,Flat"});
  lane_device().width = 3;
  for (const Data data : kAllData) {
    for (const Metric metric : {Metric::kCosine, Metric::kL2}) {
      const Tables t = make_tables(data, metric, 500, 12, 17, 21);
      for (const std::string& kind : kinds) {
        for (const std::uint32_t k : {1u, 20u, 490u, 505u}) {
          const auto on_cpu = make(kind, t);
          const auto on_device = make(kind, t);
          const Found expected = search(*on_cpu, 2, t, k, 12);
          const std::uint64_t before = lane_device().certified_lists;
          const Found found = search_on_device(*on_device, t, k, 5);
          EXPECT_GE(lane_device().certified_lists, before + t.num_queries) << "no lane certified";
          const std::string what =
              kind + ", " + name_of(data) + ", " + name_of(metric) + ", k " + std::to_string(k);
          // IVF and HNSW keep any of several that tie; FAISS ranks lists by batch.
          ASSERT_EQ(found.items, expected.items) << what;
          ASSERT_EQ(found.scores, expected.scores) << what;
          ASSERT_EQ(found.count, expected.count) << what;
          ASSERT_EQ(found.complete, expected.complete) << what;
          ASSERT_EQ(found.certified, expected.certified) << what;
          ASSERT_EQ(on_device->stats().queries, t.num_queries);
          if (on_device->exact()) {
            ASSERT_EQ(on_device->stats().fallback, on_cpu->stats().fallback) << what;
          }
          EXPECT_GT(on_device->device_bytes(), 0u);
        }
      }
    }
  }
}

#endif

}  // namespace
}  // namespace quarry
