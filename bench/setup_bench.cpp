// What a run does before its first row: classes of 1,000,000 events, then the lists per user, bins
// and draw spaces of a recipe that uses all of them, for 50,000 users and 200,000 items.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "host/mine/compile.h"

namespace quarry {
namespace {

constexpr std::uint32_t kUsers = 50'000;
constexpr std::uint32_t kItems = 200'000;
constexpr std::uint32_t kEvents = 1'000'000;
constexpr std::uint32_t kDim = 4;  // the tables are not what is measured

constexpr const char* kRecipe = R"(
name = "setup"
k = 10
metric = "ip"
[exposure]
positive = ["purchase"]
aversion = ["dislike"]
disinterest = ["skip"]
[safety]
filters = [
  { kind = "positives" },
  { kind = "exposed", classes = ["ambiguous", "aversion", "disinterest"] },
  { kind = "time" },
  { kind = "group", column = "group" },
]
[strata]
popularity = { bins = 3, names = ["tail", "torso", "head"] }
[quota]
by = "popularity"
shares = "equal"
[[branch]]
name = "popular"
share = 0.5
source = { kind = "popularity", beta = 0.75 }
[[branch]]
name = "random"
share = 0.5
source = { kind = "uniform" }
)";

/// Events with few popular items and few busy users, by a generator of its own.
struct SetupWorld {
  SetupWorld() {
    std::uint64_t state = 1;
    const auto unit = [&state] {
      state = state * 6364136223846793005u + 1442695040888963407u;
      return static_cast<double>(state >> 40) / (1 << 24);
    };
    for (std::uint32_t i = 0; i < kEvents; ++i) {
      Event e;
      e.user = static_cast<std::uint32_t>(std::pow(unit(), 1.5) * kUsers);
      e.item = static_cast<std::uint32_t>(std::pow(unit(), 3.0) * kItems);
      e.time = static_cast<std::int64_t>(unit() * 1e6);
      const double kind = unit();
      e.kind = kind < 0.6 ? 0 : kind < 0.8 ? 1 : 2;
      events.push_back(e);
    }
    recipe = parse_recipe(kRecipe, "bench.toml", 0);
    exposure = classify_events(events, kinds, recipe.exposure, kUsers, kItems, std::nullopt);
    CatalogueColumn column{"group", {}, {""}};
    for (std::uint32_t c = 1; c < 5000; ++c) column.names.push_back("g" + std::to_string(c));
    for (std::uint32_t i = 0; i < kItems; ++i) {
      column.codes.push_back(static_cast<std::uint32_t>(unit() * 5000));
      catalogue.first_seen.push_back(static_cast<std::int64_t>(unit() * 1e6));
    }
    catalogue.columns.push_back(std::move(column));
    vectors.assign(std::size_t{kItems} * kDim, 0.5f);
    rows = rows_from_exposure(exposure, RowsFrom::kUsers, IdMap::identity(kUsers),
                              IdMap::identity(kItems));
    inputs.items = {vectors.data(), kItems, kDim, Dtype::kF32};
    inputs.users = {vectors.data(), kUsers, kDim, Dtype::kF32};
    inputs.exposure = &exposure;
    inputs.catalogue = &catalogue;
    inputs.rows = &rows;
  }

  std::vector<std::string> kinds{"purchase", "skip", "dislike"};
  std::vector<Event> events;
  Recipe recipe;
  Exposure exposure;
  Catalogue catalogue;
  RowTable rows;
  std::vector<float> vectors;
  MinerInputs inputs;
};

const SetupWorld& world() {
  static const SetupWorld made;
  return made;
}

void classify(benchmark::State& state) {
  const SetupWorld& w = world();
  Exec exec;
  exec.threads = static_cast<int>(state.range(0));
  for (auto _ : state) {
    std::vector<Event> events = w.events;
    benchmark::DoNotOptimize(classify_events(std::move(events), w.kinds, w.recipe.exposure, kUsers,
                                             kItems, std::nullopt, exec));
  }
  state.counters["events"] = kEvents;
}
BENCHMARK(classify)
    ->ArgName("threads")
    ->Arg(1)
    ->Arg(2)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

void compile_recipe(benchmark::State& state) {
  const SetupWorld& w = world();
  Exec exec;
  exec.threads = static_cast<int>(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(compile(w.recipe, w.inputs, exec, 1, 0));
  state.counters["pairs"] = static_cast<double>(w.exposure.items.size());
  state.counters["users"] = kUsers;
  state.counters["items"] = kItems;
}
BENCHMARK(compile_recipe)
    ->ArgName("threads")
    ->Arg(1)
    ->Arg(2)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace quarry
