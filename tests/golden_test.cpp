// The golden cases: one lane and many give the same hashes, which are those pinned in
// tests/golden/cases.txt. A GPU's are compared with them by tools/gpu_check.
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "host/recipe/recipe.h"
#include "tests/support/golden_cases.h"
#if !defined(QUARRY_HAS_CUDA)
#include "tests/support/lane_device.h"
#include "tests/support/scale.h"
#endif

namespace quarry {
namespace {

using test::GoldenCase;
using test::GoldenHashes;

/// `run(i)` for the numbers of some cases, on two threads.
template <class Run>
void for_cases(std::size_t count, std::size_t every, const Run& run) {
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next.fetch_add(every); i < count; i = next.fetch_add(every)) run(i);
  };
  std::thread other(work);
  work();
  other.join();
}

struct Solo {
  std::vector<GoldenCase> cases = test::golden_cases();
  std::vector<GoldenHashes> hashes;
  Solo() : hashes(cases.size()) {
    for_cases(cases.size(), 1, [this](std::size_t i) { hashes[i] = run_golden(cases[i], {}); });
  }
};
const Solo& solo() {
  static const Solo all;
  return all;
}

TEST(Golden, TheListCoversRecipesWidthsAndSizes) {
  const Solo& s = solo();
  std::set<std::string> names, families, inputs;
  std::size_t mined = 0, wide = 0, sanitizer = 0, matrix = 0;
  for (std::size_t i = 0; i < s.cases.size(); ++i) {
    const GoldenCase& c = s.cases[i];
    EXPECT_TRUE(names.insert(c.name).second) << c.name << " twice";
    EXPECT_EQ(c.name.find(' '), std::string::npos);
    families.insert(c.family());
    inputs.insert(s.hashes[i].inputs);
    mined += s.hashes[i].refused() ? 0 : 1;
    wide += c.wide ? 1 : 0;
    matrix += c.matrix ? 1 : 0;
    sanitizer += c.sanitizer ? 1 : 0;
  }
  EXPECT_GE(mined, 1000u);
  EXPECT_GE(wide, 20u) << "cases larger than one block";
  EXPECT_GE(sanitizer, 20u);
  EXPECT_LE(sanitizer, 60u) << "sanitizers are a hundred times slower";
  EXPECT_GT(inputs.size(), s.cases.size() * 9 / 10) << "cases repeat each other";
  std::size_t recipes = 0;
  for (const NamedRecipe& recipe : named_recipes()) {
    if (!recipe.over_tables()) continue;
    recipes += 1;
    EXPECT_EQ(families.count(recipe.name), 1u) << recipe.name << " has no golden case";
  }
  EXPECT_EQ(matrix, 2 * recipes);
  for (const char* name :
       {"wide-top/k31-of-31", "wide-top/k32-of-32", "wide-top/k33-of-33", "wide-sample/k65-of-65",
        "wide-strata/k65-of-1025", "wide-top/k2048-of-2048", "wide-strata/k1025-of-1025"}) {
    EXPECT_EQ(names.count(name), 1u) << name;
  }
}

/// Any change of results shows in the diff of this file, and is reviewed.
TEST(Golden, ResultsAreThePinnedOnes) {
  const Solo& s = solo();
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < s.cases.size(); ++i)
    lines.push_back(golden_line(s.cases[i], s.hashes[i]));
  const std::string path = QUARRY_SOURCE_DIR "/tests/golden/cases.txt";
  std::ifstream file(path);
  std::vector<std::string> pinned;
  for (std::string line; std::getline(file, line);) pinned.push_back(line);
  const std::vector<std::string> now = test::golden_families(lines);
  std::ostringstream changes;
  for (const std::string& line : now)
    if (std::find(pinned.begin(), pinned.end(), line) == pinned.end())
      changes << "+ " << line << "\n";
  for (const std::string& line : pinned)
    if (std::find(now.begin(), now.end(), line) == now.end()) changes << "- " << line << "\n";
  EXPECT_EQ(now, pinned)
      << "results differ from " << path << ":\n"
      << changes.str() << "If that is wanted: build/cpu/golden --families > tests/golden/cases.txt";
}

TEST(Golden, ADifferenceIsNamed) {
  const GoldenHashes a{"1", "2", "3", "4"};
  EXPECT_EQ(golden_difference(a, a), "");
  EXPECT_EQ(golden_difference(a, {"1", "2", "3", "5"}), "reasons 5 instead of 4");
  EXPECT_EQ(golden_difference(a, {"1", "x", "3", "5"}), "ids x instead of 2");
}

/// The rows of a batch do not depend on the others: a CPU may check a few of many.
TEST(Golden, SampledRowsOfALargeBatchAreTheRowsAlone) {
  constexpr std::uint64_t kRows = 700;
  const GoldenHashes all = test::run_huge(test::huge_batch(kRows, false), Exec{});
  const GoldenHashes alone = test::run_huge(test::huge_batch(kRows, true), Exec{});
  EXPECT_EQ(test::golden_difference(alone, all), "");
  Exec threads;
  threads.threads = 3;
  EXPECT_EQ(test::golden_difference(alone, test::run_huge(test::huge_batch(kRows, false), threads)),
            "");
  EXPECT_NE(test::run_huge(test::huge_batch(kRows + 1, true), Exec{}).ids, alone.ids);
}

#if !defined(QUARRY_HAS_CUDA)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t kEvery = 12;  // lanes are ten times slower there
#else
constexpr std::size_t kEvery = 1;
#endif

/// Sanitizers see only what is launched under them.
TEST(Golden, TheSanitizersCasesLaunchEveryRowKernel) {
  lane_device() = {};
  Exec exec;
  exec.device = Device::kCuda;
  for (const GoldenCase& c : solo().cases) {
    if (c.sanitizer) run_golden(c, {exec});
  }
  std::string launched;
  for (const auto& [launcher, count] : lane_device().launches_by) launched += launcher + "\n";
  for (const char* launcher :
       {"admit_gpu", "gather_gpu", "exclude_gpu", "select_gpu", "sample_gpu", "score_positives_gpu",
        "score_lists_gpu", "certify_gpu", "label_keys_gpu", "merge_gpu", "tally_gpu"}) {
    EXPECT_NE(launched.find(std::string(" quarry::") + launcher + "("), std::string::npos)
        << launcher << " is not among\n"
        << launched;
  }
}

TEST(Golden, LanesGiveTheSameHashes) {
  const Solo& s = solo();
  struct Setting {
    std::uint32_t width;
    test::Schedule schedule;
  };
  std::vector<Setting> settings = {{32, test::Schedule::kRandom}};
  if (test::test_scale() > 1) {
    settings.push_back({32, test::Schedule::kStarving});
    settings.push_back({128, test::Schedule::kInOrder});
    settings.push_back({3, test::Schedule::kRandom});
  }
  for (const Setting& setting : settings) {
    std::atomic<std::uint64_t> launches{0};
    std::vector<std::string> wrong(s.cases.size());
    for_cases(s.cases.size(), kEvery, [&](std::size_t i) {
      lane_device().width = setting.width;
      lane_device().schedule = setting.schedule;
      lane_device().seed = i;
      const std::uint64_t before = lane_device().launches;
      Exec exec;
      exec.device = Device::kCuda;
      wrong[i] = golden_difference(s.hashes[i], run_golden(s.cases[i], {exec}));
      launches += lane_device().launches - before;
    });
    EXPECT_GT(launches.load(), s.cases.size() / kEvery) << "hardly a lane ran";
    for (std::size_t i = 0; i < wrong.size(); ++i)
      EXPECT_EQ(wrong[i], "") << s.cases[i].name << " with " << setting.width << " lanes";
  }
}

#endif

}  // namespace
}  // namespace quarry
