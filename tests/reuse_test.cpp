// Rows that Reuse says stand: mined anew behind random changes of events, items, attributes, lists
// and recipes, each must come out bit for bit as it was.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "host/mine/reuse.h"
#include "tests/support/mined.h"
#include "tests/support/problems.h"
#include "tests/support/scale.h"

namespace quarry {
namespace {

using test::Problem;
using test::Rng;

/// All that is known of a problem's rows.
struct Facts {
  std::vector<std::string> segments;
  std::vector<RowFacts> rows;

  explicit Facts(const Problem& p) {
    const RowsView& v = p.rows_view;
    for (std::uint64_t r = 0; r < v.num_rows; ++r)
      segments.push_back(v.segment != nullptr ? std::to_string(v.segment[r]) : "");
    for (std::uint64_t r = 0; r < v.num_rows; ++r) {
      RowFacts f;
      f.user = v.user[r];
      if (v.time != nullptr) f.time = v.time[r];
      f.segment = segments[r];
      if (v.positive_offsets != nullptr) {
        f.positives = {v.positives + v.positive_offsets[r],
                       v.positive_offsets[r + 1] - v.positive_offsets[r]};
      }
      rows.push_back(f);
    }
  }
};

test::Mined mine(const Problem& p) {
  MinerOptions options;
  options.seed = p.seed;
  options.round = p.round;
  options.retriever = "exact";
  return test::mine_all(p.recipe, p.inputs, p.rows_view, options);
}

// --- changes; each keeps the problem one that can be mined
// ----------------------------------------

constexpr std::int64_t kAsOf = 10000;

void change_events(Rng& rng, Problem& p) {
  Exposure& e = p.exposure;
  const auto users = static_cast<std::uint32_t>(e.offsets.size() - 1);
  const std::uint32_t chosen =
      rng.chance(60) ? static_cast<std::uint32_t>(rng.in(0, users - 1)) : users;
  Exposure next = e;
  next.items.clear(), next.classes.clear(), next.last_time.clear(), next.positive_time.clear();
  next.offsets = {0};
  std::fill(next.item_count.begin(), next.item_count.end(), 0);
  for (std::uint32_t u = 0; u < users; ++u) {
    const bool touched = u == chosen || (chosen == users && rng.chance(30));
    std::uint64_t at = e.offsets[u];
    for (std::uint32_t i = 0; i < p.inputs.items.rows; ++i) {
      const bool there = at < e.offsets[u + 1] && e.items[at] == i;
      std::uint8_t c = there ? e.classes[at] : 0;
      std::int64_t time = there ? e.last_time[at] : 0;
      std::int64_t since = there ? e.positive_time[at] : INT64_MIN;
      at += there ? 1 : 0;
      if (touched && rng.chance(4)) {
        c = static_cast<std::uint8_t>(rng.in(0, 4));
        time = static_cast<std::int64_t>(rng.in(0, kAsOf));
        since = c == 1 ? time : INT64_MIN;
      }
      if (c == 0) continue;
      next.items.push_back(i), next.classes.push_back(c), next.last_time.push_back(time);
      next.positive_time.push_back(since);
      next.item_count[i] += c == 1;
    }
    next.offsets.push_back(next.items.size());
  }
  if (rng.chance(40)) next.as_of = kAsOf + static_cast<std::int64_t>(rng.in(0, 6000));
  e = next;
}

void move_items(Rng& rng, Problem& p) {
  if (!p.half_items.empty()) return;
  const std::uint32_t dim = p.inputs.items.dim;
  for (std::uint64_t n = rng.in(1, 6); n > 0; --n) {
    const std::uint64_t item = rng.in(0, p.inputs.items.rows - 1);
    p.items[item * dim + rng.in(0, dim - 1)] += rng.chance(50) ? 0.25f : -0.25f;
    p.items[item * dim] += 0.0078125f;
    for (std::uint32_t d = 0; n % 2 == 0 && d < dim; ++d)  // from near to far, or back
      p.items[item * dim + d] *= -1.0f;
  }
}

void move_user(Rng& rng, Problem& p) {
  const std::uint32_t dim = p.inputs.users.dim;
  p.users[rng.in(0, p.inputs.users.rows - 1) * dim + rng.in(0, dim - 1)] += 0.3125f;
}

void change_attributes(Rng& rng, Problem& p) {
  for (std::uint64_t n = rng.in(1, 5); n > 0; --n) {
    const std::uint64_t item = rng.in(0, p.inputs.items.rows - 1);
    CatalogueColumn& column = p.catalogue.columns[rng.in(0, p.catalogue.columns.size() - 1)];
    if (rng.chance(60)) {
      column.codes[item] = static_cast<std::uint32_t>(rng.in(0, column.names.size() - 1));
    } else if (!p.catalogue.retired.empty()) {
      p.catalogue.retired[item] = static_cast<std::int64_t>(rng.in(0, 30) * 500);
    }
  }
}

void add_items(Rng& rng, Problem& p) {
  if (!p.half_items.empty()) return;
  const std::uint32_t dim = p.inputs.items.dim;
  for (std::uint64_t n = rng.in(1, 8); n > 0; --n) {
    const std::uint64_t like = rng.in(0, p.inputs.items.rows - 1);
    for (std::uint32_t d = 0; d < dim; ++d)
      p.items.push_back(p.items[like * dim + d] * (rng.chance(50) ? 1.0f : 0.75f));
    for (std::uint32_t d = 0; d < 3; ++d) p.feature.push_back(p.feature[like * 3 + d]);
    p.exposure.item_count.push_back(0);
    for (CatalogueColumn& column : p.catalogue.columns)
      column.codes.push_back(static_cast<std::uint32_t>(rng.in(0, column.names.size() - 1)));
    if (!p.catalogue.first_seen.empty())
      p.catalogue.first_seen.push_back(static_cast<std::int64_t>(rng.in(0, 20) * 700));
    if (!p.catalogue.retired.empty()) p.catalogue.retired.push_back(INT64_MAX);
    p.inputs.items.rows += 1;
  }
  p.inputs.items.data = p.items.data();
  p.inputs.features["feature"] = {p.feature.data(), p.inputs.items.rows, 3, Dtype::kF32};
}

void change_lists(Rng& rng, Problem& p) {
  std::vector<std::uint32_t>& list = p.inputs.item_lists["allowed"];
  if (!list.empty())
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(rng.in(0, list.size() - 1)));
  PairValues& pairs = rng.chance(50) ? p.teacher : p.run;
  if (!pairs.values.empty()) pairs.values[rng.in(0, pairs.values.size() - 1)] += 0.125f;
}

void change_rows(Rng& rng, Problem& p) {
  const std::uint64_t row = rng.in(0, p.rows.size() - 1);
  if (rng.chance(50) && !p.rows.time.empty()) {
    p.rows.time[row] = static_cast<std::int64_t>(rng.in(0, kAsOf));
  } else if (p.rows.positive_offsets[row] < p.rows.positive_offsets[row + 1]) {
    p.rows.positives[p.rows.positive_offsets[row]] =
        static_cast<std::uint32_t>(rng.in(0, p.inputs.items.rows - 1));
  }
}

void change_recipe(Rng& rng, Problem& p) {
  if (rng.chance(50)) {
    p.seed += 1;
  } else if (p.recipe.k > 1) {
    p.recipe.k -= 1;
    p.recipe.text += " k";
  }
}

using Change = void (*)(Rng&, Problem&);
constexpr Change kChanges[] = {change_events, move_items,   move_user,   change_attributes,
                               add_items,     change_lists, change_rows, change_recipe};

struct Totals {
  std::uint64_t sets = 0, rows = 0, stood = 0, blocked = 0, alike = 0;
  std::uint64_t by_change[std::size(kChanges)] = {}, stood_by[std::size(kChanges)] = {};
};

void judge(std::uint64_t number, test::ProblemSize size, Totals& totals) {
  SCOPED_TRACE("problem " + std::to_string(number));
  const auto problem = test::make_problem(number, size);
  Problem& p = *problem;
  if (p.rows_view.queries != nullptr) return;  // rows of a run have users
  const auto num_items = static_cast<std::uint32_t>(p.inputs.items.rows);
  if (p.inputs.snapshot == nullptr) {  // what is kept of the first run
    p.snapshot = make_snapshot(p.exposure, num_items);
    p.inputs.snapshot = &p.snapshot;
  }
  test::Mined then;
  try {
    then = mine(p);
  } catch (const ConfigError&) {
    return;  // infeasible on purpose
  }
  const IdMap ids = IdMap::identity(num_items);
  RunBasis basis;
  std::vector<std::uint64_t> depends;
  std::vector<std::uint64_t> keys = p.rows.key;
  {
    const Dependence before(p.recipe, p.inputs, ids, p.seed, p.round, {});
    const Facts facts(p);
    for (const RowFacts& row : facts.rows) depends.push_back(before.of_row(row));
    basis = {before.common(), before.items(), before.as_of(), true};
  }
  const std::vector<float> old_items = p.items;
  const MatrixView items_then = {old_items.data(), num_items, p.inputs.items.dim, Dtype::kF32};

  Rng rng{number * 104729 + 5};
  const std::size_t which = number % std::size(kChanges);
  kChanges[which](rng, p);
  if (rng.chance(25)) kChanges[rng.in(0, std::size(kChanges) - 1)](rng, p);
  test::Mined now;
  try {
    now = mine(p);
  } catch (const ConfigError&) {
    return;
  }
  const IdMap more = IdMap::identity(p.inputs.items.rows);
  const Dependence after(p.recipe, p.inputs, more, p.seed, p.round, {});
  std::optional<MatrixView> at_hand;
  if (p.half_items.empty() && rng.chance(80)) at_hand = items_then;
  Reuse reuse(after, basis, at_hand, true, {});
  totals.sets += 1;
  totals.rows += p.rows_view.num_rows;
  totals.by_change[which] += p.rows_view.num_rows;
  const bool comparable = then.all.k == now.all.k;
  for (std::uint64_t r = 0; comparable && r < p.rows_view.num_rows; ++r)
    totals.alike += test::row_difference(then.all, r, now.all, r).empty();
  if (!reuse.obstacles().empty()) {
    totals.blocked += 1;
    return;
  }
  const Facts facts(p);
  std::vector<std::uint64_t> depends_now;
  for (const RowFacts& row : facts.rows) depends_now.push_back(after.of_row(row));
  std::vector<std::uint8_t> stands(facts.rows.size(), 9);
  reuse.judge({facts.rows.data(), depends.data(), depends_now.data(), then.all.floor.data()},
              facts.rows.size(), stands.data());
  for (std::uint64_t r = 0; r < stands.size(); ++r) {
    ASSERT_LE(stands[r], 1);
    if (stands[r] == 0) continue;
    totals.stood += 1;
    totals.stood_by[which] += 1;
    ASSERT_EQ(test::row_difference(then.all, r, now.all, r), "")
        << "row " << r << " was said to stand; change " << which << "\n"
        << test::describe(p);
  }
}

TEST(ReuseTest, RowsThatStandComeOutAsTheyWere) {
  Totals totals;
  for (std::uint64_t n = 0; n < 1600 * static_cast<std::uint64_t>(test::test_scale()); ++n) {
    judge(n, test::ProblemSize::kSmall, totals);
    if (n % 4 == 0) judge(n / 4, test::ProblemSize::kLarge, totals);
    if (HasFatalFailure()) return;
  }
  std::printf(
      "%llu change sets, %llu rows: %llu said to stand, %llu came out as they were; %llu sets "
      "to be mined whole\n",
      static_cast<unsigned long long>(totals.sets), static_cast<unsigned long long>(totals.rows),
      static_cast<unsigned long long>(totals.stood), static_cast<unsigned long long>(totals.alike),
      static_cast<unsigned long long>(totals.blocked));
  for (std::size_t c = 0; c < std::size(kChanges); ++c) {
    std::printf("  change %zu: %llu of %llu rows stand\n", c,
                static_cast<unsigned long long>(totals.stood_by[c]),
                static_cast<unsigned long long>(totals.by_change[c]));
    // Of events, items, attributes, lists: saying that nothing stands would be right and useless.
    if (c == 7) continue;  // another recipe is another set
    EXPECT_GT(totals.stood_by[c] * 50, totals.by_change[c]) << "change " << c;
  }
}

}  // namespace
}  // namespace quarry
