// The list of golden cases.
#include <algorithm>
#include <string>

#include "host/recipe/recipe.h"
#include "tests/support/golden_cases.h"

namespace quarry::test {
namespace {

constexpr std::uint32_t kSizes[] = {31, 32, 33, 65};

std::string three_digits(std::uint64_t n) {
  std::string text = std::to_string(n);
  return std::string(text.size() < 3 ? 3 - text.size() : 0, '0') + text;
}

/// Hundreds are families, so that a change of results is narrowed down in the pinned list.
void add_numbered(std::vector<GoldenCase>& out, const char* what, GoldenKind kind,
                  std::uint64_t first, std::uint64_t count) {
  for (std::uint64_t n = first; n < first + count; ++n) {
    GoldenCase c;
    c.name = std::string(what) + "-" + three_digits((n - first) / 100 * 100) + "/" +
             three_digits(n - first);
    c.kind = kind;
    c.number = n;
    c.sanitizer = (kind == GoldenKind::kStages && n - first < 12) ||
                  (kind == GoldenKind::kStarved && n - first < 4) ||
                  (kind == GoldenKind::kSearch && n % 7 == 3);
    out.push_back(c);
  }
}

/// Every recipe that runs over tables, over catalogues and rows around the widths of warps.
void add_recipes(std::vector<GoldenCase>& out) {
  std::uint32_t number = 0;
  for (const NamedRecipe& recipe : named_recipes()) {
    if (!recipe.over_tables()) continue;
    number += 1;
    std::uint32_t variant = 0;
    for (const std::uint32_t items : {31u, 32u, 33u, 65u, 129u, 300u}) {
      for (const std::uint32_t k : {0u, kSizes[variant / 2 % 4]}) {
        GoldenCase c;
        c.name = recipe.name + "/items" + std::to_string(items) + (k == 0 ? "" : "-k") +
                 (k == 0 ? "" : std::to_string(k));
        c.kind = GoldenKind::kRecipe;
        c.recipe = recipe.name;
        c.k = k;
        c.shape = {.users = 5,
                   .items = items,
                   .dim = 1 + (number * 7 + variant * 5) % 40,
                   .rows_per_user = 2,
                   .events_per_user = std::min(items / 2, 30u),
                   .learned = variant % 3 == 0,
                   .ties = variant % 2 == 0,
                   .seed = 100 * number + variant};
        c.sanitizer = items == 65 && k == 0 && number % 4 == 0;
        out.push_back(c);
        variant += 1;
      }
    }
    for (const bool ties : {false, true}) {
      GoldenCase c;
      c.name = recipe.name + (ties ? "/matrix-ties" : "/matrix");
      c.kind = GoldenKind::kRecipe;
      c.recipe = recipe.name;
      c.matrix = true;
      c.shape = {.users = 24, .items = 900, .dim = 12, .rows_per_user = 2, .ties = ties};
      c.shape.seed = 9000 + 2 * number + (ties ? 1 : 0);
      out.push_back(c);
    }
  }
}

constexpr const char* kWideHead = R"(
metric = "cosine"
[exposure]
positive = ["rating>=4"]
aversion = ["rating<=2"]
disinterest = ["rating=3"]
[safety]
filters = [{ kind = "positives" }, { kind = "time" }]
)";

/// Long lists and many negatives: a warp's and a block's worth of them, and more than shared memory
/// holds (some 2,000 pool entries), so that each way in which select, order and certify divide a
/// row is taken.
void add_wide(std::vector<GoldenCase>& out) {
  struct Way {
    const char* name;
    const char* branches;
  };
  const Way kWays[] = {
      {"top", R"(
[[branch]]
name = "hard"
share = 1.0
source = { kind = "topk", pool = POOL }
filters = [{ kind = "relative_margin", ratio = 0.95, against = "min" }]
)"},
      {"sample", R"(
[[branch]]
name = "hard"
share = 0.7
source = { kind = "topk", pool = POOL }
select = { kind = "sample", weight = { kind = "simans", a = 0.5, b = 0.0 } }
[[branch]]
name = "random"
share = 0.3
source = { kind = "uniform" }
)"},
      {"strata", R"(
[strata]
popularity = { bins = 3, names = ["tail", "torso", "head"] }
[[branch]]
name = "hard"
share = 0.6
source = { kind = "topk", pool = POOL }
filters = [{ kind = "rank", window = [3, 1000000], of = "survivors" }]
[[branch]]
name = "drawn"
share = 0.4
source = { kind = "pool", n = POOL }
select = { kind = "sample", weight = { kind = "softmax", tau = 0.7 } }
[quota]
by = "popularity"
shares = { head = 0.4, torso = 0.35, tail = 0.25 }
cap = [{ column = "category", per_row = 900 }]
)"},
      {"replacement", R"(
[[branch]]
name = "hard"
share = 1.0
source = { kind = "topk", pool = POOL }
select = { kind = "sample_replacement", weight = { kind = "softmax", tau = 0.5 } }
)"},
  };
  struct Size {
    std::uint32_t k, pool;
  };
  const Size kWidth[] = {{31, 31},     {32, 32},     {33, 33},     {65, 65},    {31, 256},
                         {33, 257},    {65, 1025},   {32, 1999},   {31, 2048},  {65, 3000},
                         {1025, 1025}, {1025, 1100}, {2048, 2048}, {2100, 2300}};
  std::uint32_t number = 0;
  for (const Way& way : kWays) {
    for (const Size& size : kWidth) {
      GoldenCase c;
      c.name = std::string("wide-") + way.name + "/k" + std::to_string(size.k) + "-of-" +
               std::to_string(size.pool);
      c.kind = GoldenKind::kRecipe;
      std::string branches = way.branches;
      for (std::size_t at = 0; (at = branches.find("POOL")) != std::string::npos;)
        branches.replace(at, 4, std::to_string(size.pool));
      c.recipe = "name = \"wide\"\nk = " + std::to_string(size.k) + kWideHead + branches;
      c.shape = {.users = 2,
                 .items = 3400,
                 .dim = 9,
                 .rows_per_user = 1,
                 .learned = true,
                 .ties = number % 2 == 1,
                 .seed = 20000 + number};
      c.wide = std::max(size.k, size.pool) > 128;
      c.sanitizer = (size.pool == 257 || size.pool == 3000) && size.k < 100;
      out.push_back(c);
      number += 1;
    }
  }
}

}  // namespace

std::vector<GoldenCase> golden_cases() {
  std::vector<GoldenCase> all;
  add_numbered(all, "problem", GoldenKind::kProblem, 0, 500);
  add_numbered(all, "starved", GoldenKind::kStarved, 0, 40);
  add_numbered(all, "stages", GoldenKind::kStages, 1000, 160);
  add_numbered(all, "large", GoldenKind::kLarge, 2000, 24);
  add_numbered(all, "search", GoldenKind::kSearch, 0, 30);
  add_recipes(all);
  add_wide(all);
  GoldenCase huge;
  huge.name = "huge/over-2^31-places";
  huge.kind = GoldenKind::kHuge;
  huge.wide = true;
  all.push_back(huge);
  return all;
}

}  // namespace quarry::test
