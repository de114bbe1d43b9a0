// Exact searches over a million rows (at QUARRY_TEST_SCALE 10 or more; else 20,000) of every kind
// of table that is hard on them, with goals and ceilings that bind, that leave nothing and that
// never do: each list against brute force, bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

#include "kernels/certify/candidate_lists.h"
#include "tests/support/retrieval_cases.h"
#include "tests/support/scale.h"

namespace quarry {
namespace {

using namespace test;

constexpr float kNone = std::numeric_limits<float>::infinity();
constexpr std::uint32_t kMost = 60;
constexpr std::uint32_t kWanted = 10;

struct Size {
  std::uint32_t dim, items, rows;  ///< rows per kind of table and metric, at full scale
};
/// Rows by what brute force costs; the larger table has items enough for first thresholds from a
/// sample.
constexpr Size kSizes[] = {{1, 300, 6000},   {3, 300, 6000},   {31, 300, 5000},
                           {32, 2304, 1500}, {127, 300, 3000}, {128, 300, 3000},
                           {129, 300, 3000}, {768, 300, 400},  {1024, 300, 300}};

/// What is asked of a row, by its number.
float ceiling_of(const Ranking::value_type& ranked, std::uint32_t q) {
  switch (q % 4) {
    case 0:
      return kNone;
    case 1:
      return ranked[q % 90].first;
    case 2:
      return std::nextafter(ranked[q % 40].first, -kNone);
    default:
      return -std::numeric_limits<float>::max();  // nothing counts
  }
}

/// Some by two; threads change nothing, which other tests show.
int threads_for(const Tables& t) { return t.dim == 31 ? 2 : 1; }

struct Judged {
  std::uint64_t rows = 0, wrong = 0, certified = 0, fallback = 0, passed = 0, settled = 0;
  std::uint64_t dismissed = 0, out_of_order = 0, whole = 0;
};

std::vector<float> ceilings_of(const Ranking& truth) {
  std::vector<float> ceilings;
  for (std::uint32_t q = 0; q < truth.size(); ++q) ceilings.push_back(ceiling_of(truth[q], q));
  return ceilings;
}

/// Lists of at most kMost of all queries, and what was passed over.
std::pair<Found, std::vector<std::uint32_t>> search_toward(Retriever& retriever, const Tables& t,
                                                           const SearchGoal& goal) {
  const std::uint32_t n = t.num_queries;
  Found f;
  f.items.assign(std::size_t{n} * kMost, kUntouched);
  f.scores.assign(f.items.size(), 0.0f);
  f.count.assign(n, 0);
  f.complete.assign(n, 9);
  f.certified.assign(n, 9);
  std::vector<std::uint32_t> passed(n, kUntouched);
  Exec exec;
  exec.threads = threads_for(t);
  retriever.search_toward(exec, t.queries.data(), n, kMost, goal,
                          {f.items.data(), f.scores.data(), f.count.data(), f.complete.data(),
                           f.certified.data(), passed.data()});
  return {std::move(f), std::move(passed)};
}

/// Of each query some of its best items, ascending.
struct OwnLists {
  std::vector<std::uint64_t> offsets = {0};
  std::vector<std::uint32_t> items, owner;
  OwnLists(const Ranking& truth, const std::vector<std::uint32_t>& places) {
    for (std::uint32_t q = 0; q < truth.size(); ++q) {
      owner.push_back(q);
      std::vector<std::uint32_t> own;
      for (const std::uint32_t place : places) own.push_back(truth[q][place].second);
      std::sort(own.begin(), own.end());
      items.insert(items.end(), own.begin(), own.end());
      offsets.push_back(items.size());
    }
  }
};

/// Lists toward a goal, down to the entry that reaches it, if one does. settles: what is listed
/// above the ceilings, as items of their own lists are, need not be scored again.
void judge_goals(Retriever& retriever, const Tables& t, const Ranking& truth, bool settles,
                 Judged& judged) {
  const std::uint32_t n = t.num_queries;
  const OwnLists own(truth, {0, 2, 30});
  const std::vector<float> ceiling = ceilings_of(truth);
  SearchGoal goal;
  goal.wanted = kWanted;
  goal.ceiling = goal.pass_above = ceiling.data();
  if (settles) goal.settled_above = ceiling.data();
  goal.num_skips = 1;
  goal.skips[0] = {own.offsets.data(), own.items.data(), own.owner.data()};
  const auto [f, passed] = search_toward(retriever, t, goal);
  for (std::uint32_t q = 0; q < n; ++q) {
    bool good = f.certified[q] == 1 && f.count[q] <= kMost &&
                std::uint64_t{passed[q]} + f.count[q] <= t.num_items;
    // Above the ceiling some are passed over and some listed, as their scores in the scan fall;
    // from there on the list is the ranking, place by place.
    std::uint32_t above = 0, counting = 0;
    for (std::uint32_t j = 0; j < f.count[q] && good; ++j) {
      const std::size_t at = std::size_t{q} * kMost + j;
      const float score = f.scores[at];
      if (score > ceiling[q]) {
        ++above;
        const auto place = std::find_if(truth[q].begin(), truth[q].end(), [&](const auto& ranked) {
          return ranked.second == f.items[at];
        });
        const bool settled = settles && score == kSettledScore;
        good = place != truth[q].end() && place->first > ceiling[q] &&
               (settled || bits_of_float(score) == bits_of_float(place->first)) &&
               (j == 0 || f.scores[at - 1] >= score);
        continue;
      }
      ++counting;
      const auto& [best, item] = truth[q][passed[q] + j];
      good = f.items[at] == item && bits_of_float(score) == bits_of_float(best);
    }
    const auto above_in_all = std::count_if(truth[q].begin(), truth[q].end(),
                                            [&](const auto& e) { return e.first > ceiling[q]; });
    good = good && passed[q] + above <= static_cast<std::uint64_t>(above_in_all);
    // A list may only end before its goal where it is as long as allowed, or all there is, or says
    // that there is more.
    good = good && (counting >= kWanted || f.count[q] == kMost ||
                    passed[q] + f.count[q] == t.num_items || f.complete[q] == 0);
    judged.wrong += good ? 0 : 1;
    judged.passed += passed[q];
  }
  judged.rows += n;
}

/// The same with nothing passed over, and no order above the ceilings: what a list holds of that
/// comes first and is, unless it ends there, all that there is; the rest is the ranking.
void judge_settled(Retriever& retriever, const Tables& t, const Ranking& truth, Judged& judged) {
  const std::uint32_t n = t.num_queries;
  const std::vector<float> ceiling = ceilings_of(truth);
  SearchGoal goal;
  goal.wanted = kWanted;
  goal.ceiling = goal.settled_above = ceiling.data();
  const auto [f, passed] = search_toward(retriever, t, goal);
  for (std::uint32_t q = 0; q < n; ++q) {
    const std::uint32_t* items = f.items.data() + std::size_t{q} * kMost;
    const float* scores = f.scores.data() + std::size_t{q} * kMost;
    const std::uint32_t count = f.count[q];
    bool good = f.certified[q] == 1 && count <= kMost && passed[q] == 0 &&
                f.complete[q] == (count == t.num_items ? 1 : 0);
    std::vector<std::uint32_t> front, ahead;
    for (std::uint32_t j = 0; j < count && scores[j] > ceiling[q]; ++j) front.push_back(items[j]);
    for (const auto& [score, item] : truth[q])
      if (score > ceiling[q]) ahead.push_back(item);
    std::sort(front.begin(), front.end());
    std::sort(ahead.begin(), ahead.end());
    good = good && std::includes(ahead.begin(), ahead.end(), front.begin(), front.end());
    if (count > front.size()) good = good && front == ahead;  // else the list ends among them
    for (auto j = static_cast<std::uint32_t>(front.size()); j < count && good; ++j)
      good = items[j] == truth[q][j].second &&
             bits_of_float(scores[j]) == bits_of_float(truth[q][j].first);
    good = good && (count - front.size() >= kWanted || count == kMost || count == t.num_items ||
                    f.complete[q] == 0);
    const auto settled = std::count(scores, scores + count, kSettledScore);
    judged.wrong += good ? 0 : 1;
    judged.settled += static_cast<std::uint64_t>(settled);
  }
  judged.rows += n;
}

/// What is to be listed though it does not count: few items do, or users have many of their own.
struct Dismissed {
  bool few_count, own_lists;
  bool settles, passes;  ///< what is above ceilings
};
constexpr Dismissed kDismissed[] = {{true, false, false, false},
                                    {false, true, false, false},
                                    {true, true, true, false},
                                    {false, true, false, true}};

/// Of what does not count only the place matters: every other entry stands at its rank in the
/// ranking of all with its score, and lists hold what is ranked ahead of their end.
void judge_dismissed(Retriever& retriever, const Tables& t, const Ranking& truth,
                     const Dismissed& of, Judged& judged) {
  std::vector<std::uint32_t> places{0, 1, 3, 4, 5, 8, 13, 21, 30, 34, 55};
  std::vector<float> ceiling(t.num_queries, kNone);
  if (of.settles) ceiling = ceilings_of(truth);
  std::uint32_t wanted = kWanted;
  if (of.passes) {  // nearly all is passed over, and what is left is not as much as is wanted
    const std::uint32_t n = t.num_items;
    places = {0, 3, n - 30, n - 21, n - 20, n - 8, n - 3, n - 1};
    for (std::uint32_t q = 0; q < t.num_queries; ++q) ceiling[q] = truth[q][n - 45].first;
    wanted = 40;
  }
  const OwnLists own(truth, places);
  std::vector<std::uint32_t> eligible((t.num_items + 31) / 32, 0);
  for (std::uint32_t i = 0; i < t.num_items; ++i)
    eligible[i / 32] |= (i * 2654435769u >> 29 == 0 ? 1u : 0u) << (i % 32);
  SearchGoal goal;
  goal.wanted = wanted;
  goal.dismisses = true;
  if (of.few_count) goal.eligible = eligible.data();
  if (of.settles || of.passes) goal.ceiling = ceiling.data();
  if (of.settles) goal.settled_above = ceiling.data();
  if (of.passes) goal.pass_above = ceiling.data();
  if (of.own_lists) {
    goal.num_skips = 1;
    goal.skips[0] = {own.offsets.data(), own.items.data(), own.owner.data()};
  }
  const auto [f, passed] = search_toward(retriever, t, goal);
  for (std::uint32_t q = 0; q < t.num_queries; ++q) {
    const std::uint32_t* items = f.items.data() + std::size_t{q} * kMost;
    const float* scores = f.scores.data() + std::size_t{q} * kMost;
    const std::uint32_t count = f.count[q];
    const auto counts = [&](std::uint32_t item) {
      const bool in_list =
          of.own_lists && std::binary_search(own.items.data() + own.offsets[q],
                                             own.items.data() + own.offsets[q + 1], item);
      return !in_list && (!of.few_count || (eligible[item / 32] >> (item % 32) & 1u) != 0);
    };
    const bool whole = passed[q] + count == t.num_items;
    bool good = f.certified[q] == 1 && count <= kMost && (of.passes || passed[q] == 0) &&
                f.complete[q] == (whole ? 1 : 0);
    judged.whole += whole ? 1 : 0;
    std::uint32_t front = 0, counting = 0;
    while (front < count && scores[front] > ceiling[q]) ++front;
    for (std::uint32_t j = 0; j < front && good; ++j) {
      good = std::any_of(truth[q].begin(), truth[q].end(), [&](const auto& e) {
        return e.second == items[j] && e.first > ceiling[q];
      });
    }
    for (std::uint32_t j = front; j < count && good; ++j) {
      const auto& [best, item] = truth[q][passed[q] + j];
      if (counts(items[j])) {
        ++counting;
        good = items[j] == item && bits_of_float(scores[j]) == bits_of_float(best);
      } else {
        judged.dismissed += 1;
        judged.out_of_order += items[j] != item ? 1 : 0;
        good = scores[j] <= ceiling[q];
      }
    }
    std::vector<std::uint32_t> held(items + front, items + count), best;
    for (std::uint32_t j = front; j < count && good; ++j)
      best.push_back(truth[q][passed[q] + j].second);
    std::sort(held.begin(), held.end());
    std::sort(best.begin(), best.end());
    // How far down a list goes is told by the score of its last entry, whether that counts or not.
    if (front < count && !whole) {
      const auto& [worst, item] = truth[q][passed[q] + count - 1];
      good = good && items[count - 1] == item &&
             bits_of_float(scores[count - 1]) == bits_of_float(worst);
    }
    // A list that ends among what is above the ceiling holds any of that.
    good = good && held == best;
    good = good && (counting >= wanted || count == kMost || whole || f.complete[q] == 0);
    judged.wrong += good ? 0 : 1;
  }
  judged.rows += t.num_queries;
}

/// turn: which of the searches for what is dismissed is made.
void judge(const Tables& t, const Ranking& truth, const std::string& kind, unsigned turn,
           Judged& judged) {
  const auto retriever = make(kind, t);
  Exec exec;
  exec.threads = threads_for(t);
  if (retriever->follows_goals(exec, t.num_queries, false)) {
    for (const bool settles : {false, true}) judge_goals(*retriever, t, truth, settles, judged);
    judge_settled(*retriever, t, truth, judged);
    judge_dismissed(*retriever, t, truth, kDismissed[turn % std::size(kDismissed)], judged);
  }
  const Found whole = search(*retriever, threads_for(t), t, kWanted, t.num_queries);
  judged.wrong += static_cast<std::uint64_t>(wrong_rows(t, truth, whole, kWanted));
  judged.rows += t.num_queries;
  judged.certified += retriever->stats().certified;
  judged.fallback += retriever->stats().fallback;
}

TEST(MillionSearches, NoRowIsWrong) {
  const bool full = test::test_scale() >= 10;
  std::vector<std::string> kinds{"exact", "exact-fp32", "exact-int8", "exact-bf16"};
  if (have_faiss()) kinds.push_back("Flat");
  Judged all;
  for (const Data data : kAllData) {
    Judged of_data;
    for (const Metric metric : kMetrics) {
      unsigned seed = 0;
      for (const Size& size : kSizes) {
        const std::uint32_t rows = full ? size.rows : std::max(size.rows / 50, 36u);
        const Tables t = make_tables(data, metric, size.items, rows, size.dim, 1000 + seed++);
        const Ranking truth = brute_force(t);
        for (const std::string& kind : kinds) {
          const std::uint64_t before = of_data.wrong;
          judge(t, truth, kind, seed + static_cast<unsigned>(metric), of_data);
          ASSERT_EQ(of_data.wrong, before)
              << kind << ", " << name_of(data) << ", " << name_of(metric) << ", dim " << size.dim;
        }
      }
    }
    std::printf("%-10s %8llu rows, %5.1f %% certified, %5.1f %% by brute force, 0 wrong\n",
                name_of(data), static_cast<unsigned long long>(of_data.rows),
                100.0 * static_cast<double>(of_data.certified) / static_cast<double>(of_data.rows),
                100.0 * static_cast<double>(of_data.fallback) / static_cast<double>(of_data.rows));
    EXPECT_EQ(of_data.certified + of_data.fallback, of_data.rows);
    // Of equal scores no bound tells one from the other.
    EXPECT_LE(of_data.fallback * (data == Data::kAllEqual ? 25 : 500), of_data.rows);
    all.rows += of_data.rows;
    all.passed += of_data.passed;
    all.settled += of_data.settled;
    all.dismissed += of_data.dismissed;
    all.out_of_order += of_data.out_of_order;
    all.whole += of_data.whole;
  }
  EXPECT_GE(all.rows, full ? 1000000u : 20000u);
  EXPECT_GT(all.passed, all.rows);
  EXPECT_GT(all.settled, all.rows);
  // Most are, some of them in another order than by their scores, or nothing was spared.
  EXPECT_GT(all.dismissed, all.rows);
  EXPECT_GT(all.out_of_order, all.rows / 100);
  EXPECT_GT(all.whole, all.rows / 1000);
}

}  // namespace
}  // namespace quarry
