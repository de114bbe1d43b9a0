// Rows that are short after a search are searched again, deeper, and only they: where 95 % of the
// first candidates are rejected every row that can be filled is, and the work is that of a brute
// force that knows how deep each row must look.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

#include "kernels/topk/int8_cpu.h"
#include "tests/support/mined.h"
#include "tests/support/oracle.h"
#include "tests/support/worlds.h"

namespace quarry {
namespace {

constexpr std::uint8_t kExhausted = 1, kMaxRank = 2, kQuota = 4;
constexpr std::uint32_t kNever = 0xFFFFFFFFu;

/// How searches of a call must go, by the ranks at which each row is satisfied: all rows once, then
/// four times as deep those that are not, and nobody else. A search as deep as n goes about to
/// the n-th item that its user does not own, but at most twice as far, and never over seven eighths
/// of the catalogue before all of it. reach: the length of a user's list at a depth.
struct Searches {
  std::uint64_t again = 0, candidates = 0, queries = 0, deepest = 0;
};
Searches expected_searches(const std::vector<std::uint32_t>& needs,
                           const std::vector<std::uint32_t>& users, std::uint32_t first,
                           std::uint32_t last,
                           const std::function<std::uint32_t(std::uint32_t, std::uint32_t)>& length,
                           const std::function<std::uint32_t(std::uint32_t)>& searched) {
  Searches expected;
  std::uint32_t depth = first;
  std::vector<std::size_t> rows(needs.size());
  for (std::size_t r = 0; r < rows.size(); ++r) rows[r] = r;
  while (!rows.empty()) {
    std::set<std::uint32_t> distinct;
    for (const std::size_t r : rows) distinct.insert(users[r]);
    expected.queries += distinct.size();
    for (const std::size_t r : rows) expected.candidates += length(users[r], depth);
    expected.deepest = std::max<std::uint64_t>(expected.deepest, searched(depth));
    std::erase_if(rows, [&](std::size_t r) {
      const std::uint32_t reached = length(users[r], depth);
      return needs[r] <= reached || reached >= last;
    });
    expected.again += rows.size();
    depth = std::min(depth * 4, last);
  }
  return expected;
}

TEST(Deepen, OnlyRowsThatAreShortAreSearchedAgain) {
  constexpr std::uint32_t kMany = 2000, kPeople = 120, kRows = 2, kDim = 8, kK = 20;
  const auto w = test::make_world({.users = kPeople,
                                   .items = kMany,
                                   .dim = kDim,
                                   .rows_per_user = kRows,
                                   .events_per_user = 1,
                                   .seed = 3});
  // Half of the items, in turn, are of either kind of a quota that k divides.
  for (CatalogueColumn& c : w->catalogue.columns) {
    for (std::uint32_t i = 0; i < kMany && c.name == "category"; ++i) c.codes[i] = 1 + i % 2;
  }
  std::vector<std::vector<std::uint32_t>> ranking(kPeople);
  std::vector<std::set<std::uint32_t>> owned(kPeople);
  RowTable own;
  own.positive_offsets = {0};
  const auto part = [](const std::vector<float>& table, std::uint32_t at) {
    const auto first = table.begin() + static_cast<std::ptrdiff_t>(at) * kDim;
    return std::vector<float>(first, first + kDim);
  };
  for (std::uint32_t u = 0; u < kPeople; ++u) {
    std::vector<std::pair<float, std::uint32_t>> order;
    for (std::uint32_t i = 0; i < kMany; ++i)
      order.emplace_back(-oracle::dot(part(w->users, u), part(w->items, i)), i);
    std::sort(order.begin(), order.end());
    for (const auto& [score, item] : order) ranking[u].push_back(item);
    for (std::uint64_t r = 0; r < w->rows.size(); ++r) {
      if (w->rows.user[r] != u) continue;
      owned[u].insert(
          w->rows.positives.begin() + static_cast<std::ptrdiff_t>(w->rows.positive_offsets[r]),
          w->rows.positives.begin() + static_cast<std::ptrdiff_t>(w->rows.positive_offsets[r + 1]));
    }
    for (std::uint64_t e = w->exposure.offsets[u]; e < w->exposure.offsets[u + 1]; ++e)
      if (w->exposure.classes[e] == 1) owned[u].insert(w->exposure.items[e]);
    for (std::uint32_t n = 0; n < kMany; ++n) {
      const std::uint32_t item = ranking[u][n];
      const bool takes = (u % 8 == 1 && n < 200 && n % 20 != 7)        // 95 % of the first 200
                         || (u % 8 == 3 && n < 700)                    // all of the first 700
                         || (u % 32 == 3 && n < 1600)                  // few have so many
                         || (u == 44 && n % 300 != 5)                  // all but seven
                         || (u % 8 == 6 && item % 2 == 1 && n < 400);  // all of one kind
      if (takes) owned[u].insert(item);
    }
    for (const std::uint32_t item : owned[u]) own.positives.push_back(item);
    own.key.push_back(~std::uint64_t{u});
    own.user.push_back(u);
    own.time.push_back(0);
    own.positive_offsets.push_back(own.positives.size());
  }
  w->inputs.rows = &own;

  struct Kind {
    const char* source;
    std::uint32_t pool, max_rank;
    bool quota;
  };
  for (const Kind& kind :
       std::vector<Kind>{{"{ kind = \"topk\", pool = 20 }", 20, kMany, false},
                         {"{ kind = \"topk\", pool = 200 }", 200, kMany, false},
                         {"{ kind = \"topk\", pool = 20, max_rank = 600 }", 20, 600, false},
                         {"{ kind = \"topk\", pool = 20 }", 20, kMany, true},
                         {"{ kind = \"topk\", pool = 20, max_rank = 600 }", 20, 600, true}}) {
    const Recipe recipe = parse_recipe(
        std::string("name = \"deep\"\nk = 20\n[safety]\nfilters = [\"positives\"]\n[[branch]]\n"
                    "name = \"hard\"\nsource = ") +
            kind.source + "\n" +
            (kind.quota ? "[strata]\ncategory = { column = \"category\" }\n[quota]\n"
                          "by = \"category\"\nshares = { category1 = 0.5, category2 = 0.5 }\n"
                        : ""),
        "deep.toml", 0);
    // The rank at which a row has all that it may get, by itself; and what that is.
    std::vector<std::uint32_t> needs;
    std::vector<std::vector<std::uint32_t>> expected;
    std::vector<std::uint8_t> code;
    for (std::uint64_t r = 0; r < w->rows.size(); ++r) {
      const std::uint32_t u = w->rows.user[r];
      std::uint32_t room[2] = {kind.quota ? kK / 2 : kK, kind.quota ? kK / 2 : kK};
      std::uint32_t pooled = 0, need = kNever;
      std::vector<std::uint32_t> items, beyond;
      for (std::uint32_t n = 0; n < kind.max_rank; ++n) {
        const std::uint32_t item = ranking[u][n];
        if (owned[u].count(item) != 0) continue;
        ++pooled;
        std::uint32_t& left = room[kind.quota ? item % 2 : 0];
        if (left > 0) items.push_back(item), --left;
        if (items.size() == kK && pooled >= kind.pool) {
          need = n + 1;
          break;
        }
      }
      needs.push_back(need);
      expected.push_back(items);
      code.push_back(kind.max_rank < kMany ? kMaxRank : kind.quota ? kQuota : kExhausted);
    }
    const MinerOptions options{.seed = 1, .tile_rows = 1024};  // one tile
    const std::uint32_t first = Miner(recipe, w->inputs, options).plan(w->rows.size()).depth;
    // Room for the lists of all but one user in twenty, where twice the depth has none.
    std::vector<std::uint32_t> held;
    for (const auto& own_items : owned)
      held.push_back(static_cast<std::uint32_t>(own_items.size()));
    std::sort(held.begin(), held.end());
    const std::uint32_t usual = held[held.size() - 1 - held.size() / 20];
    const std::uint32_t room = usual > first ? usual : 0;
    const auto most_at = [&](std::uint32_t depth) {
      return std::min({2 * depth + room, kind.max_rank, kMany - kMany / 8});
    };
    // Without a goal: as deep as searches without one begin, and so on.
    const auto searched = [&](std::uint32_t depth) {
      const std::uint32_t plain = (kind.pool + kind.pool / 4 + 32) * (depth / first);
      return most_at(depth) > depth ? depth : std::min(plain, kind.max_rank);
    };
    const auto length = [&](std::uint32_t u, std::uint32_t depth) {
      const std::uint32_t most = most_at(depth);
      if (most <= depth) return searched(depth);
      std::uint32_t free = 0;
      for (std::uint32_t n = 0; n < most; ++n)
        if (owned[u].count(ranking[u][n]) == 0 && ++free == depth) return n + 1;
      return most;
    };
    const auto mine = [&](const std::function<bool(std::uint64_t)>& keep) {
      const RowTable rows = test::rows_where(w->rows, keep);
      std::vector<std::uint32_t> their_needs;
      for (std::uint64_t r = 0; r < w->rows.size(); ++r)
        if (keep(r)) their_needs.push_back(needs[r]);
      const test::Mined mined = test::mine_all(recipe, w->inputs, test::view_of(rows), options);
      const Searches e =
          expected_searches(their_needs, rows.user, first, kind.max_rank, length, searched);
      EXPECT_EQ(mined.report.deepened_rows, e.again) << kind.source;
      EXPECT_EQ(mined.report.candidates, e.candidates) << kind.source;
      EXPECT_EQ(mined.report.search.queries, e.queries) << kind.source;
      EXPECT_EQ(mined.report.deepest, e.deepest) << kind.source;
      return mined;
    };
    const test::Mined all = mine([](std::uint64_t) { return true; });
    std::uint64_t satisfied = 0, deepened = 0, unfillable = 0;
    for (std::uint64_t r = 0; r < w->rows.size(); ++r) {
      const std::size_t at = r * kK;
      ASSERT_EQ(all.all.count[r], expected[r].size()) << kind.source << " row " << r;
      for (std::size_t i = 0; i < expected[r].size(); ++i)
        ASSERT_EQ(all.all.item[at + i], expected[r][i]) << kind.source << " row " << r;
      for (std::size_t i = expected[r].size(); i < kK; ++i)
        ASSERT_EQ(all.all.fill[at + i], code[r]) << kind.source << " row " << r;
      (needs[r] <= length(w->rows.user[r], first) ? satisfied
       : expected[r].size() == kK                 ? deepened
                                                  : unfillable) += 1;
    }
    EXPECT_GT(satisfied, 50u);
    EXPECT_GT(deepened + unfillable, 9u);
    EXPECT_GT(kind.max_rank < kMany ? unfillable : deepened, 4u);
    // Who is satisfied at once is not searched again, whoever is in the call with it, and the
    // others' searches are all of those that the whole call made.
    EXPECT_EQ(mine([&](std::uint64_t r) {
                return needs[r] <= length(w->rows.user[r], first);
              }).report.deepened_rows,
              0u);
    EXPECT_EQ(mine([&](std::uint64_t r) {
                return needs[r] > length(w->rows.user[r], first);
              }).report.deepened_rows,
              all.report.deepened_rows);
    std::printf(
        "%s%s: first depth %u, %llu rows at once, %llu deeper, %llu not fillable\n", kind.source,
        kind.quota ? ", quota" : "", first, static_cast<unsigned long long>(satisfied),
        static_cast<unsigned long long>(deepened), static_cast<unsigned long long>(unfillable));
  }
}

float score_of(const test::TestWorld& w, std::uint32_t user, std::uint32_t item) {
  const std::size_t dim = w.inputs.items.dim;
  const auto x = w.items.begin() + static_cast<std::ptrdiff_t>(item * dim);
  const auto q = w.users.begin() + static_cast<std::ptrdiff_t>(user * dim);
  const auto n = static_cast<std::ptrdiff_t>(dim);
  return oracle::dot(std::vector<float>(q, q + n), std::vector<float>(x, x + n));
}

/// Under a low ceiling a list may hold all there is below it, few items or none: one scan proves
/// it.
TEST(Deepen, WhatLiesBelowALowCeilingIsFoundInOneScan) {
  constexpr std::uint32_t kMany = 2000, kDim = 8;
  const auto w = test::make_world({.users = 60,
                                   .items = kMany,
                                   .dim = kDim,
                                   .rows_per_user = 1,
                                   .events_per_user = 1,
                                   .seed = 4});
  std::vector<float> all;
  for (std::uint32_t u = 0; u < 60; ++u) {
    for (std::uint32_t i = 0; i < kMany; ++i) all.push_back(score_of(*w, u, i));
  }
  std::sort(all.begin(), all.end());
  std::uint64_t passed = 0, few = 0;
  for (const double share : {0.0, 0.0005, 0.01, 0.04, 0.3}) {
    const float ceiling =
        share == 0 ? all[0] - 1 : all[static_cast<std::size_t>(share * all.size())];
    const Recipe recipe = parse_recipe(
        "name = \"low\"\nk = 20\n[safety]\nallow_positives = true\n[[branch]]\nname = "
        "\"hard\"\nsource = { kind = \"topk\", pool = "
        "50 }\nfilters = [{ kind = \"score\", hi = " +
            std::to_string(ceiling) + " }]\n",
        "low.toml", 0);
    const test::Mined mined =
        test::mine_all(recipe, w->inputs, w->rows_view, {.seed = 1, .tile_rows = 1024});
    EXPECT_EQ(mined.report.deepened_rows, 0u) << share;
    EXPECT_EQ(mined.report.search.fallback, 0u) << share;
    EXPECT_EQ(mined.report.search.queries, 60u) << share;
    passed += mined.report.search.passed;
    for (std::uint64_t r = 0; r < w->rows.size(); ++r) {
      std::uint32_t below = 0;
      for (std::uint32_t i = 0; i < kMany; ++i)
        below += score_of(*w, w->rows.user[r], i) <= std::stof(std::to_string(ceiling)) ? 1 : 0;
      ASSERT_EQ(mined.all.count[r], std::min(below, 20u)) << share << " row " << r;
      few += below < 50;
    }
  }
  EXPECT_GT(passed, 100000u);
  EXPECT_GT(few, 100u);
}

/// Users whose rankings are alike, and the scores of the first's from the best down.
struct Far {
  static constexpr std::uint32_t kMany = 12000, kDim = 8, kPeople = 60;
  std::unique_ptr<test::TestWorld> w = test::make_world({.users = kPeople,
                                                         .items = kMany,
                                                         .dim = kDim,
                                                         .rows_per_user = 1,
                                                         .events_per_user = 1,
                                                         .seed = 6});
  std::vector<float> scores;

  Far() {
    for (std::size_t at = 0; at < w->users.size(); at += kDim) {
      for (std::uint32_t d = 0; d < kDim; ++d)
        w->users[at + d] = w->users[d] + 0.1f * w->users[at + d];
    }
    for (std::uint32_t i = 0; i < kMany; ++i) scores.push_back(score_of(*w, 0, i));
    std::sort(scores.rbegin(), scores.rend());
  }
  /// filters: behind `group`, which no scan can apply.
  test::Mined mine(const std::string& filters, std::uint32_t tile_rows) const {
    const Recipe recipe = parse_recipe(
        "name = \"far\"\nk = 20\n[safety]\nallow_positives = true\n[[branch]]\nname = \"hard\"\n"
        "source = { kind = \"topk\", pool = 20 }\nfilters = [{ kind = \"group\", column = "
        "\"category\" }, " +
            filters + "]\n",
        "far.toml", 0);
    MinerOptions options{.seed = 1, .tile_rows = tile_rows};
    options.exec.threads = 2;
    return test::mine_all(recipe, w->inputs, w->rows_view, options);
  }
  static std::string below(float score) {
    return "{ kind = \"score\", hi = " + std::to_string(score) + " }";
  }
};

/// What is above the ceiling is listed: one more search goes down to it, however far that is.
TEST(Deepen, ListsThatEndAboveTheCeilingAreSearchedOnceMore) {
  const Far far;
  for (const std::uint32_t rank : {1500u, 4000u, 8000u}) {
    const test::Mined mined = far.mine(Far::below(far.scores[rank]), 1024);
    EXPECT_EQ(mined.report.deepened_rows, Far::kPeople) << rank;
    EXPECT_EQ(mined.report.search.queries, 2 * Far::kPeople) << rank;
    EXPECT_EQ(mined.report.search.fallback, 0u) << rank;
    EXPECT_LT(mined.report.candidates, std::uint64_t{Far::kPeople} * (4 * rank + 2000)) << rank;
    for (std::uint64_t r = 0; r < Far::kPeople; ++r) {
      ASSERT_EQ(mined.all.count[r], 20u);
      for (std::uint32_t i = 0; i < 20; ++i)
        ASSERT_LE(mined.all.score[r * 20 + i], std::stof(std::to_string(far.scores[rank])));
    }
  }
}

/// Above the ceiling lists have no order, unless somebody asks for ranks there. Few rows at a time
/// are searched without a goal, in order.
TEST(Deepen, RanksAboveTheCeilingAreTheSameByAGoalAndWithout) {
  const Far far;
  const std::string ranks = "{ kind = \"rank\", window = [300, 12000], of = \"raw\" }, ";
  for (const std::string& first : {std::string(), ranks}) {
    const std::string filters = first + Far::below(far.scores[1500]);
    const test::Mined together = far.mine(filters, 1024);
    const test::Mined alone = far.mine(filters, 1);
    EXPECT_EQ(oracle::difference(together.report.counters, alone.report.counters, 1), "") << first;
    EXPECT_GT(together.report.search.toward, 0u);
    EXPECT_EQ(alone.report.search.toward, 0u);
    EXPECT_EQ(together.all.item, alone.all.item);
    EXPECT_EQ(together.all.raw_rank, alone.all.raw_rank);
  }
}

/// Of what filters reject whatever its score only the place is asked for: who rejects it, how many
/// are ahead of a pick, and what is ahead of the last rank come out as in order.
TEST(Deepen, WhatIsRejectedWhateverItsScoreIsCountedAsInOrder) {
  Far far;
  auto& few = far.w->inputs.item_lists["few"];
  for (std::uint32_t i = 3; i < Far::kMany; i += 30) few.push_back(i);
  auto& half = far.w->inputs.item_lists["half"];
  for (std::uint32_t i = 1; i < Far::kMany; i += 2) half.push_back(i);
  const std::string allow =
      "{ kind = \"allow_list\", list = \"half\" }, { kind = \"allow_list\", list = \"few\" }";
  const std::string taken = "{ kind = \"exposed\", classes = [\"aversion\", \"ambiguous\"] }";
  const std::string high = Far::below(far.scores[40]), low = Far::below(far.scores[900]);
  struct Case {
    std::string filters, second;  ///< of the branch, and of another
    const char* source = "pool = 20";
  };
  for (const Case& c : std::vector<Case>{
           {"\"positives\", " + taken + ", " + allow, ""},
           {allow + ", \"positives\"", ""},
           {allow + ", " + high, ""},
           {high + ", " + allow, ""},  // told apart by its score first
           {allow + ", " + low, allow + ", " + high},
           {allow + ", " + low, high + ", " + allow},
           {allow, "", "pool = 20, max_rank = 500"},
           {allow, allow, "pool = 20, max_rank = 500"},
           {"{ kind = \"rank\", window = [200, 9000], of = \"raw\" }, " + allow, ""},
           {allow + ", { kind = \"rank\", window = [3, 12], of = \"survivors\" }", ""}}) {
    const std::string name = c.filters + " | " + c.second + " | " + c.source;
    const std::string source = std::string("source = { kind = \"topk\", ") + c.source + " }\n";
    std::string text =
        "name = \"far\"\nk = 20\n[safety]\nallow_positives = true\n[[branch]]\nname = "
        "\"hard\"\nshare = 0.5\n" +
        source + "filters = [" + c.filters +
        "]\n[[branch]]\n"
        "name = \"other\"\nshare = 0.5\n";
    text += c.second.empty()
                ? "source = { kind = \"uniform\" }\n"
                : "source = { kind = \"topk\", pool = 30 }\nfilters = [" + c.second + "]\n";
    const Recipe recipe = parse_recipe(text, "far.toml", 0);
    const auto mine = [&](std::uint32_t tile_rows) {
      MinerOptions options{.seed = 1, .tile_rows = tile_rows};
      options.exec.threads = 2;
      return test::mine_all(recipe, far.w->inputs, far.w->rows_view, options);
    };
    const test::Mined together = mine(1024);
    const test::Mined alone = mine(1);  // without a goal, in order
    EXPECT_GT(together.report.search.toward, 0u) << name;
    EXPECT_EQ(alone.report.search.toward, 0u) << name;
    EXPECT_EQ(oracle::difference(together.report.counters, alone.report.counters, 2), "") << name;
    for (std::uint64_t r = 0; r < Far::kPeople; ++r)
      ASSERT_EQ(test::row_difference(together.all, r, alone.all, r), "") << name << " row " << r;
  }
}

/// A scan takes its first thresholds from a sample of the items. Where these are better than the
/// rest, lists end early: their rows are searched again, and get what they get without a sample.
TEST(Deepen, ASampleUnlikeTheRestCostsASecondSearchAndChangesNothing) {
  constexpr std::uint32_t kMany = 2500, kDim = 8, kStride = 8;
  const auto w = test::make_world({.users = 80,
                                   .items = kMany,
                                   .dim = kDim,
                                   .rows_per_user = 2,
                                   .events_per_user = 1,
                                   .seed = 5});
  Int8Sample sample;
  sample.take({}, Int8Unit::kPortable, w->items.data(), nullptr, kMany, kDim, kStride);
  for (std::uint32_t s = 0; s < sample.size(); ++s) {
    for (std::uint32_t d = 0; d < kDim; ++d)
      w->items[std::size_t{sample.items()[s]} * kDim + d] *= 9.0f;
  }
  const Recipe recipe = parse_recipe(
      "name = \"early\"\nk = 20\n[safety]\nfilters = [\"positives\"]\n[[branch]]\nname = "
      "\"hard\"\nsource = { kind = \"topk\", pool = 250 }\n",
      "early.toml", 0);
  const auto mine = [&](const char* retriever) {
    return test::mine_all(recipe, w->inputs, w->rows_view,
                          {.seed = 1, .tile_rows = 1024, .retriever = retriever});
  };
  const test::Mined by_sample = mine("exact-int8");
  const test::Mined without = mine("exact-fp32");
  EXPECT_GT(by_sample.report.deepened_rows, w->rows.size() / 2);
  EXPECT_EQ(without.report.deepened_rows, 0u);
  for (std::uint64_t r = 0; r < w->rows.size(); ++r)
    ASSERT_EQ(test::row_difference(by_sample.all, r, without.all, r), "") << "row " << r;
}

}  // namespace
}  // namespace quarry
