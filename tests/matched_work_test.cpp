// How many rows the comparison of held-out positives takes: what the filters cost counts.
#include <gtest/gtest.h>

#include <algorithm>

#include "host/audit/matched.h"
#include "host/data/tables.h"
#include "tests/support/audit_world.h"

namespace quarry {
namespace {

using namespace test;

class MatchedWorkTest : public AuditWorldTest {
 protected:
  void SetUp() override {
    AuditWorldTest::SetUp();
    mine_clean_set();
    load_tables();
    exec_.threads = 1;
    inputs_.items = items_.view();
    inputs_.users = users_.view();
    inputs_.exposure = &exposure_;
    inputs_.catalogue = &catalogue_;
  }

  static std::string with_filters(const std::string& safety, const std::string& hard) {
    std::string text = kAuditRecipe;
    const auto put = [&](const std::string& from, const std::string& to) {
      const auto at = text.find(from);
      ASSERT_NE(at, std::string::npos) << from;
      text.replace(at, from.size(), to);
    };
    put("  { kind = \"near_duplicate\", cosine = 0.98 },\n", safety);
    put("  { kind = \"relative_margin\", ratio = 0.95, against = \"min\" },\n", hard);
    return text;
  }
  double work(const Recipe& recipe, std::uint64_t positives) {
    const JudgeTables tables(exec_, recipe, inputs_, 0, 0);
    return matched_row_work(tables, positives);
  }
  double work(const std::string& text, std::uint64_t positives) {
    return work(parse_recipe(text, "audited", 0), positives);
  }

  Exec exec_;
  MinerInputs inputs_;
};

TEST_F(MatchedWorkTest, EveryFilterOverPositivesCounts) {
  // 600 items of 16 dimensions; the hard branch looks at 500 of them, the random one at all.
  const std::string none = with_filters("", "");
  EXPECT_EQ(work(none, 0), 600 * 16);
  EXPECT_EQ(work(none, 7), 600 * 16 + (500 + 600) * 7);
  EXPECT_EQ(work(kAuditRecipe, 7), 600 * 16 + (500 + 600) * 7 * (1 + 16));
  const std::string near = "  { kind = \"near_duplicate\", cosine = 0.98 },\n";
  EXPECT_EQ(work(with_filters("", near), 3), 600 * 16 + 500 * 3 * (1 + 16) + 600 * 3);
  const std::string two = "  { kind = \"similarity\", max = 0.9 },\n" + near;
  EXPECT_EQ(work(with_filters(two, near), 2), 600 * 16 + 500 * 2 * (1 + 48) + 600 * 2 * (1 + 32));
  const std::string overlap =
      "  { kind = \"overlap\", columns = [\"group\", \"seller\", \"category\"], min_equal = 3 },\n";
  EXPECT_EQ(work(with_filters(overlap, ""), 5), 600 * 16 + (500 + 600) * 5 * (1 + 3));
  // Branches that are not compared cost nothing.
  Recipe exposed = parse_recipe(kAuditRecipe, "audited", 0);
  exposed.branches[1].source.kind = SourceKind::kExposed;
  EXPECT_EQ(work(exposed, 7), 600 * 16 + 500 * 7 * (1 + 16));
}

TEST_F(MatchedWorkTest, RowsAreTakenUntilTheWorkIsUsedUp) {
  // Rows with one to five positives, of which only their number matters here.
  EditableSet s(path("set"));
  s.positives.clear();
  s.offsets = {0};
  for (std::uint64_t r = 0; r < s.rows(); ++r) {
    for (std::uint64_t p = 0; p < 1 + s.key[r] % 5; ++p)
      s.positives.push_back(static_cast<std::uint32_t>((r + 97 * p) % kShopItems));
    s.offsets.push_back(s.positives.size());
  }
  s.write(path("wide"));
  const NegativeSet set = NegativeSet::open(path("wide"), true);
  const Recipe recipe = parse_recipe(kAuditRecipe, "audited", 0);
  const JudgeTables tables(exec_, recipe, inputs_, 0, 0);
  const HeldOut held_out(later_, &exposure_);
  // One row of each user, that of the least splitmix64 of its key; users in that order.
  std::map<std::uint32_t, std::pair<std::uint64_t, std::uint64_t>> least;
  for (std::uint64_t r = 0; r < s.rows(); ++r) {
    if (HeldOut::of(held_out.fresh, s.user[r]).empty()) continue;
    std::uint64_t z = s.key[r] + 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    const std::pair<std::uint64_t, std::uint64_t> choice = {z ^ z >> 31,
                                                            s.offsets[r + 1] - s.offsets[r]};
    const auto at = least.try_emplace(s.user[r], choice).first;
    at->second = std::min(at->second, choice);
  }
  std::vector<std::pair<std::uint64_t, std::uint64_t>> order;
  for (const auto& [user, choice] : least) order.push_back(choice);
  std::sort(order.begin(), order.end());
  ASSERT_GT(order.size(), 100u);
  for (const double allowed : {1.0, 3e5, 1e6, 4e6, 1e12}) {
    std::uint64_t rows = 0;
    double used = 0;
    for (const auto& [hash, positives] : order) {
      const double more = 9600 + 1100.0 * 17 * static_cast<double>(positives);
      if (rows > 0 && used + more > allowed) break;
      used += more;
      ++rows;
    }
    AuditSettings settings;
    settings.matched_work = allowed;
    const MatchedResult r = compare_matched(set, tables, held_out, nullptr, settings, exec_);
    EXPECT_EQ(r.rows, rows) << allowed;
    EXPECT_EQ(r.work, used) << allowed;
    EXPECT_EQ(r.users, order.size());
    settings.matched_rows = 3;
    EXPECT_EQ(compare_matched(set, tables, held_out, nullptr, settings, exec_).rows,
              std::min<std::uint64_t>(rows, 3));
  }
}

TEST_F(MatchedWorkTest, TheGateSaysThatTheWorkIsUsedUp) {
  const Args held_out = {"--held-out", shop("heldout.csv"), "--gates", path("gates.toml")};
  write_file("gates.toml", "[settings]\nmatched_work = 1e6\n");
  const Audited few = audit("set", held_out);
  // One positive a row: 1e6 / (9600 + 1100 x 17).
  const std::string why = few.gate("leak.future_mask")["why"];
  EXPECT_EQ(few.status("leak.future_mask"), "not_checked");
  EXPECT_NE(why.find(" of 35 rows"), std::string::npos) << why;
  EXPECT_NE(why.find("settings.matched_work (1e+06) is used up: raise it"), std::string::npos)
      << why;
  write_file("gates.toml", "[settings]\nmatched_rows = 35\n");
  const std::string rows = audit("set", held_out).gate("leak.future_mask")["why"];
  EXPECT_NE(rows.find(" of 35 rows"), std::string::npos) << rows;
  EXPECT_EQ(rows.find("used up"), std::string::npos) << rows;
}

}  // namespace
}  // namespace quarry
