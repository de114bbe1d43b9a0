// What must not matter end to end: the order of lines in the files of events, catalogue, pairs,
// lists and rows. Files are written, shuffled, read by the real readers and mined by a recipe that
// reads all of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "kernels/core/errors.h"
#include "tests/support/files.h"
#include "tests/support/mined.h"
#include "tests/support/scale.h"
#include "tests/support/worlds.h"

namespace quarry {
namespace {

using test::Words;

constexpr const char* kRecipe = R"(
name = "order"
k = 12
metric = "ip"
[exposure]
positive = ["purchase", "rating>=4", "click & dwell>=30"]
aversion = ["dislike", "rating<=2"]
disinterest = ["skip", "view & dwell<3"]
window = "60d"
[safety]
filters = [
  { kind = "positives" },
  { kind = "exposed", classes = ["ambiguous"], max_age = "30d" },
  { kind = "universal", share = 0.2 },
  { kind = "group", column = "seller" },
  { kind = "time" },
]
[strata]
popularity = { bins = 3, names = ["tail", "torso", "head"] }
recency = { edges = ["30d", "90d"] }
category = { column = "category" }
[[branch]]
name = "hard"
share = 0.3
source = { kind = "topk", pool = 40, max_rank = 400 }
filters = [
  { kind = "exposed", classes = ["aversion", "disinterest"], max_age = "45d" },
  { kind = "relative_margin", ratio = 0.99, against = "min" },
]
select = { kind = "sample", weight = [{ kind = "softmax", tau = 1.0 }, { kind = "popularity", beta = 0.5 }, { kind = "class", non_consumption = 1.0, aversion = 2.0, disinterest = 1.5, ambiguous = 0.5 }] }
[[branch]]
name = "seen"
share = 0.2
source = { kind = "exposed", classes = ["aversion", "disinterest"], max_age = "50d" }
[[branch]]
name = "listed"
share = 0.2
source = { kind = "run", table = "first" }
filters = [{ kind = "allow_list", list = "allowed" }]
[[branch]]
name = "pool"
share = 0.1
source = { kind = "pool", n = 30, base = "popularity", beta = 0.5 }
[[branch]]
name = "popular"
share = 0.1
source = "popularity^0.75"
[[branch]]
name = "random"
share = 0.1
source = "uniform"
[quota]
by = ["popularity", "recency", "category"]
shares = { popularity = { head = 0.4, torso = 0.35, tail = 0.25 }, recency = "catalogue", category = "equal" }
redistribute = true
cap = [{ column = "seller", per_row = 2 }]
backfill = ["random", "hard", "listed"]
)";

constexpr std::uint32_t kUsers = 160, kItems = 500, kDim = 12;
constexpr std::int64_t kDay = 86400, kAsOf = 400 * kDay;

/// A table as text whose lines can be written in any order.
struct Lines {
  std::string header;
  std::vector<std::string> lines;

  std::string text() const {
    std::string all = header + "\n";
    for (const std::string& line : lines) all += line + "\n";
    return all;
  }
  void shuffle(std::uint32_t seed) {
    Words random(seed);
    for (std::size_t i = lines.size(); i > 1; --i)
      std::swap(lines[i - 1], lines[random.below(static_cast<std::uint32_t>(i))]);
  }
};

/// The files of a shop, by what they hold.
struct Files {
  Lines events, catalogue, run, allowed, rows;
  Lines& by_name(const std::string& name) {
    return name == "events"      ? events
           : name == "catalogue" ? catalogue
           : name == "run"       ? run
           : name == "allowed"   ? allowed
                                 : rows;
  }
};

// Ids are names, so that neither their order nor their text is that of the indices.
std::string user_name(std::uint32_t u) { return "u" + std::to_string(u * 7919 % 100003); }
std::string item_name(std::uint32_t i) { return "i" + std::to_string(i * 104729 % 1000003); }

Files make_files(std::uint32_t seed) {
  Words random(seed);
  Files f;
  f.events.header = "user,item,time,kind,value";
  const char* const kinds[] = {"purchase", "rating", "click", "dwell", "dislike",
                               "skip",     "view",   "hover", "peek"};
  const auto add = [&](const std::string& user, const std::string& item, std::int64_t time,
                       const std::string& kind) {
    std::string value;
    if (kind == "rating") value = std::to_string(1 + random.below(5));
    if (kind == "dwell") value = std::to_string(random.below(60)) + ".5";
    f.events.lines.push_back(user + "," + item + "," + std::to_string(time) + "," + kind + "," +
                             value);
  };
  for (std::uint32_t u = 0; u < kUsers; ++u) {
    for (std::uint32_t e = 0; e < 30; ++e) {
      const float x = random.unit();
      const auto item = static_cast<std::uint32_t>(x * x * x * float{kItems - 1});
      // Whole days, some at the very edge of a window, some after as_of; several events of a pair,
      // also at one time.
      std::int64_t time = kAsOf + kDay * (static_cast<std::int64_t>(random.below(130)) - 120);
      const std::uint32_t events = 1 + random.below(3);
      for (std::uint32_t n = 0; n < events; ++n) {
        add(user_name(u), item_name(item), time, kinds[random.below(9)]);
        if (random.below(2) == 0) time -= kDay * random.below(20);
      }
    }
  }
  for (std::uint32_t n = 0; n < 40; ++n)  // ids without an embedding are left out
    add(n % 2 == 0 ? "nobody" : user_name(n), n % 2 == 0 ? item_name(n) : "nothing", kAsOf - n,
        "purchase");

  f.catalogue.header = "item,first_seen,retired,seller,category";
  f.allowed.header = "item";
  for (std::uint32_t i = 0; i < kItems; ++i) {
    const std::int64_t seen = kAsOf - kDay * random.below(200);
    const std::string gone = random.below(15) == 0 ? std::to_string(seen + 100 * kDay) : "";
    const std::uint32_t seller = random.below(80);
    f.catalogue.lines.push_back(item_name(i) + "," +
                                (random.below(8) == 0 ? "" : std::to_string(seen)) + "," + gone +
                                "," + (seller == 0 ? "" : "s" + std::to_string(seller)) + "," +
                                (i % 7 == 0 ? "" : "c" + std::to_string(random.below(4))));
    if (random.below(3) != 0) f.allowed.lines.push_back(item_name(i));
  }
  f.run.header = "user,item,score";
  f.rows.header = "user,item,time";
  for (std::uint32_t u = 0; u < kUsers; ++u) {
    for (std::uint32_t i = random.below(9); i < kItems; i += 1 + random.below(40)) {
      // Eighths: many candidates of a user share a value.
      f.run.lines.push_back(user_name(u) + "," + item_name(i) + "," +
                            std::to_string(random.below(16) / 8.0));
    }
    for (std::uint32_t r = 0; r < 4; ++r) {
      const std::uint32_t first = random.below(kItems);
      std::string positives = item_name(first);
      if (r % 2 == 1) positives += "|" + item_name((first + 1 + random.below(kItems - 1)) % kItems);
      f.rows.lines.push_back(user_name(u) + "," + (r == 3 ? "" : positives) + "," +
                             std::to_string(kAsOf - kDay * (r * 40 + random.below(30))));
    }
  }
  return f;
}

/// Reads the files and mines: rows made of the events, or those of the rows file.
class Shop {
 public:
  explicit Shop(std::uint32_t seed) : recipe_(parse_recipe(kRecipe, "order.toml", 0)) {
    Words random(seed + 1000);
    items_.resize(std::size_t{kItems} * kDim);
    users_.resize(std::size_t{kUsers} * kDim);
    for (float& x : items_) x = random.normal();
    for (float& x : users_) x = random.normal();
    std::vector<std::string> users, items;
    for (std::uint32_t u = 0; u < kUsers; ++u) users.push_back(user_name(u));
    for (std::uint32_t i = 0; i < kItems; ++i) items.push_back(item_name(i));
    user_ids_ = IdMap::from_ids(users, "users");
    item_ids_ = IdMap::from_ids(items, "items");
  }

  const Recipe& recipe() const { return recipe_; }
  const Exposure& exposure() const { return exposure_; }
  const RowTable& rows() const { return rows_; }

  test::Mined mine(const Files& f, bool rows_from_events, std::optional<std::int64_t> as_of,
                   int threads = 1) {
    const testing::TempDir dir;
    exposure_ = read_exposure(dir.write("events.csv", f.events.text()), {}, recipe_.exposure,
                              user_ids_, item_ids_, as_of, UnknownIds::kDrop, {.threads = threads});
    catalogue_ = read_catalogue(dir.write("catalogue.csv", f.catalogue.text()), {}, item_ids_,
                                UnknownIds::kReject);
    run_ = read_pairs(dir.write("run.csv", f.run.text()), {}, user_ids_, item_ids_,
                      UnknownIds::kReject);
    rows_ = rows_from_events
                ? rows_from_exposure(exposure_, RowsFrom::kPositives, user_ids_, item_ids_)
                : read_rows(dir.write("rows.csv", f.rows.text()), {}, user_ids_, item_ids_,
                            UnknownIds::kReject, true);
    MinerInputs inputs;
    inputs.items = {items_.data(), kItems, kDim, Dtype::kF32};
    inputs.users = {users_.data(), kUsers, kDim, Dtype::kF32};
    inputs.exposure = &exposure_;
    inputs.catalogue = &catalogue_;
    inputs.rows = &rows_;
    inputs.pairs["first"] = &run_;
    inputs.item_lists["allowed"] = read_item_list(dir.write("allowed.csv", f.allowed.text()),
                                                  "item", item_ids_, UnknownIds::kReject);
    RowsView view;
    view.num_rows = rows_.size();
    view.key = rows_.key.data();
    view.user = rows_.user.data();
    view.time = rows_.time.data();
    view.positive_offsets = rows_.positive_offsets.data();
    view.positives = rows_.positives.data();
    return test::mine_all(recipe_, inputs, view,
                          {.exec = {.threads = threads}, .seed = 11, .tile_rows = 200});
  }

 private:
  Recipe recipe_;
  std::vector<float> items_, users_;
  IdMap user_ids_, item_ids_;
  Exposure exposure_;
  Catalogue catalogue_;
  PairValues run_;
  RowTable rows_;
};

int repetitions() { return 4 * test::test_scale(); }

/// Every branch gave something and every filter rejected something: nothing agrees for nothing.
void expect_everything_at_work(const Recipe& recipe, const test::Mined& mined) {
  for (std::size_t b = 0; b < recipe.branches.size(); ++b) {
    const BranchCounters& c = mined.report.counters.branch[b];
    EXPECT_GT(c.picked, 0u) << recipe.branches[b].name;
    const std::size_t filters = recipe.safety.size() + recipe.branches[b].filters.size();
    // Draws never meet what the user's lists took out of their space; the others are asked in turn.
    const SourceKind source = recipe.branches[b].source.kind;
    if (source != SourceKind::kTopk && source != SourceKind::kRun) continue;
    for (std::size_t f = 0; f < filters; ++f)
      EXPECT_GT(c.rejected[f], 0u) << recipe.branches[b].name << " filter " << f;
  }
}

TEST(OrderOfLines, OfEventsChangesNothing) {
  std::uint64_t rows = 0, slots = 0;
  for (int n = 0; n < repetitions(); ++n) {
    const auto seed = static_cast<std::uint32_t>(n + 1);
    Shop shop(seed);
    Files files = make_files(seed);
    // Without an as-of time the latest event is it, wherever it stands.
    const std::optional<std::int64_t> as_of = n % 2 == 0 ? std::optional(kAsOf) : std::nullopt;
    const test::Mined first = shop.mine(files, true, as_of);
    const Exposure exposure = shop.exposure();
    const RowTable table = shop.rows();
    expect_everything_at_work(shop.recipe(), first);
    std::map<int, int> classes;
    for (const std::uint8_t c : exposure.classes) classes[c] += 1;
    EXPECT_EQ(classes.size(), 4u) << "a class of exposure that no pair has";
    EXPECT_EQ(exposure.unnamed_kinds.size(), 2u);
    for (std::uint32_t turn = 0; turn < 4; ++turn) {
      if (turn == 0) {
        std::reverse(files.events.lines.begin(), files.events.lines.end());
      } else {
        files.events.shuffle(seed * 10 + turn);
      }
      const test::Mined again = shop.mine(files, true, as_of, turn % 2 == 0 ? 1 : 2);
      EXPECT_EQ(shop.exposure().offsets, exposure.offsets);
      EXPECT_EQ(shop.exposure().last_time, exposure.last_time);
      EXPECT_EQ(shop.exposure().unnamed_kinds, exposure.unnamed_kinds);
      EXPECT_EQ(shop.rows().key, table.key);
      EXPECT_EQ(shop.rows().time, table.time);
      EXPECT_EQ(test::difference(first, again), "") << "seed " << seed << " turn " << turn;
      rows += again.all.num_rows;
      slots += again.report.counters.emitted;
    }
  }
  std::printf("%llu rows, %llu negatives, all columns and counters\n",
              static_cast<unsigned long long>(rows), static_cast<unsigned long long>(slots));
}

class OrderOfLinesOf : public ::testing::TestWithParam<const char*> {};

TEST_P(OrderOfLinesOf, ChangesNothing) {
  for (int n = 0; n < repetitions(); ++n) {
    const auto seed = static_cast<std::uint32_t>(n + 1);
    Shop shop(seed);
    Files files = make_files(seed);
    const test::Mined first = shop.mine(files, false, kAsOf);
    expect_everything_at_work(shop.recipe(), first);
    files.by_name(GetParam()).shuffle(seed);
    EXPECT_EQ(test::difference(first, shop.mine(files, false, kAsOf)), "") << "seed " << seed;
  }
}
INSTANTIATE_TEST_SUITE_P(Table, OrderOfLinesOf,
                         ::testing::Values("events", "catalogue", "run", "allowed"),
                         [](const auto& info) { return std::string(info.param); });

TEST(OrderOfLines, OfRowsMovesTheRowsAndNothingElse) {
  for (int n = 0; n < repetitions(); ++n) {
    const auto seed = static_cast<std::uint32_t>(n + 1);
    Shop shop(seed);
    Files files = make_files(seed);
    const test::Mined first = shop.mine(files, false, kAsOf);
    std::map<std::uint64_t, std::uint64_t> place;
    for (std::uint64_t r = 0; r < shop.rows().size(); ++r) place[shop.rows().key[r]] = r;
    ASSERT_EQ(place.size(), shop.rows().size());
    files.rows.shuffle(seed);
    const test::Mined again = shop.mine(files, false, kAsOf);
    std::uint64_t moved = 0;
    for (std::uint64_t r = 0; r < shop.rows().size(); ++r) {
      const std::uint64_t before = place.at(shop.rows().key[r]);
      moved += before != r;
      ASSERT_EQ(test::row_difference(first.all, before, again.all, r), "") << "row " << r;
    }
    EXPECT_GT(moved, shop.rows().size() / 2);
    EXPECT_EQ(test::counter_difference(first.report, again.report), "");
  }
}

TEST(OrderOfLists, OfRunCandidatesInMemoryIsByItem) {
  // In memory a user's pairs must be sorted by item: another order is refused, not mined.
  auto w = test::make_world({.users = 3, .items = 40, .dim = 4, .rows_per_user = 1});
  std::swap(w->pairs.items[0], w->pairs.items[1]);
  w->inputs.pairs["first"] = &w->pairs;
  const Recipe recipe = parse_recipe(R"(
name = "run"
k = 2
[safety]
filters = ["positives"]
[[branch]]
name = "listed"
source = { kind = "run", table = "first" }
)",
                                     "run.toml", 0);
  testing::expect_error<InputError>([&] { Miner(recipe, w->inputs, {}); }, {"first", "item"});
}

TEST(OrderOfLists, OfAnAllowListChangesNothing) {
  auto w = test::make_world({.users = 40, .items = 300, .dim = 8, .rows_per_user = 3});
  const Recipe recipe = parse_recipe(R"(
name = "allowed"
k = 6
[safety]
filters = ["positives", { kind = "allow_list", list = "some" }]
[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = 20 }
[[branch]]
name = "random"
share = 0.5
source = "uniform"
)",
                                     "allowed.toml", 0);
  std::vector<std::uint32_t>& list = w->inputs.item_lists["some"];
  for (std::uint32_t i = 0; i < 300; i += 3) list.push_back(i);
  const test::Mined first = test::mine_all(recipe, w->inputs, w->rows_view, {.seed = 2});
  EXPECT_GT(first.report.counters.branch[0].rejected[1], 0u);
  std::reverse(list.begin(), list.end());
  list.push_back(list[7]);  // named twice
  EXPECT_EQ(test::difference(first, test::mine_all(recipe, w->inputs, w->rows_view, {.seed = 2})),
            "");
}

TEST(OrderOfPositives, OfARowChangesNothingButItsMeanAndItsRandomOne) {
  // Without those two aggregates the positives of a row are a set.
  auto w = test::make_world({.users = 60, .items = 300, .dim = 8, .rows_per_user = 4});
  RowTable rows = w->rows;
  rows.positives.clear();
  rows.positive_offsets = {0};
  Words random(5);
  for (std::uint64_t r = 0; r < rows.size(); ++r) {
    for (std::uint32_t p = 0; p < r % 5; ++p) rows.positives.push_back(random.below(300));
    rows.positive_offsets.push_back(rows.positives.size());
  }
  w->rows = rows;
  w->point();
  const Recipe recipe = parse_recipe(R"(
name = "positives"
k = 8
[safety]
filters = ["positives", { kind = "near_duplicate", cosine = 0.7 }, { kind = "overlap", columns = ["seller", "category"], min_equal = 1 }]
[[branch]]
name = "hard"
share = 0.4
source = { kind = "topk", pool = 40 }
filters = [{ kind = "relative_margin", ratio = 0.95, against = "max" }, { kind = "absolute_margin", margin = 0.1, against = "min" }]
select = { kind = "sample", weight = { kind = "simans", centre = "min" } }
[[branch]]
name = "close"
share = 0.3
source = { kind = "near", n = 60 }
[[branch]]
name = "random"
share = 0.3
source = "uniform"
)",
                                     "positives.toml", 0);
  const test::Mined first = test::mine_all(recipe, w->inputs, w->rows_view, {.seed = 2});
  for (std::uint64_t r = 0; r < rows.size(); ++r) {
    std::reverse(
        w->rows.positives.begin() + static_cast<std::ptrdiff_t>(rows.positive_offsets[r]),
        w->rows.positives.begin() + static_cast<std::ptrdiff_t>(rows.positive_offsets[r + 1]));
  }
  ASSERT_NE(w->rows.positives, rows.positives);
  EXPECT_EQ(test::difference(first, test::mine_all(recipe, w->inputs, w->rows_view, {.seed = 2})),
            "");
  for (std::uint32_t b = 0; b < 3; ++b) EXPECT_GT(first.report.counters.branch[b].picked, 0u);
}

}  // namespace
}  // namespace quarry
