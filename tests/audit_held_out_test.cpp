// quarry audit beside held-out events: negatives that nearly copy what the user liked later are
// counted, and more held-out negatives than their ranks explain are told.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/core/exact_score.h"
#include "tests/support/audit_world.h"

namespace quarry {
namespace {

using namespace test;
using Gates = std::set<std::string>;

class AuditHeldOutTest : public AuditWorldTest {
 protected:
  void SetUp() override {
    AuditWorldTest::SetUp();
    mine_clean_set();
    load_tables();
  }

  static bool has(const Exposure& e, std::uint32_t user, std::uint32_t item) {
    const auto begin = e.items.begin() + static_cast<std::ptrdiff_t>(e.offsets[user]);
    const auto end = e.items.begin() + static_cast<std::ptrdiff_t>(e.offsets[user + 1]);
    return std::find(begin, end, item) != end;
  }
  std::vector<std::uint32_t> liked_later(std::uint32_t user) const {
    std::vector<std::uint32_t> items;
    for (auto i = later_.offsets[user]; i < later_.offsets[user + 1]; ++i) {
      if (later_.classes[i] == 1) items.push_back(later_.items[i]);
    }
    return items;
  }
  static bool in_row(const EditableSet& s, std::uint64_t row, std::uint32_t item) {
    for (std::uint32_t j = 0; j < s.batch.count[row]; ++j) {
      if (s.batch.item[s.slot(row, j)] == item) return true;
    }
    return false;
  }
  /// Puts the item, with its score, into the row's first slot of the random branch that `free`
  /// allows.
  bool put(EditableSet& s, std::uint64_t row, std::uint32_t item,
           const std::function<bool(std::uint32_t)>& free) const {
    for (std::uint32_t j = 0; j < s.batch.count[row]; ++j) {
      const std::size_t at = s.slot(row, j);
      if (s.batch.branch[at] != 1 || !free(s.batch.item[at])) continue;
      s.batch.item[at] = item;
      s.batch.score[at] =
          exact_dot_portable(vector(users_, s.user[row]), vector(items_, item), kShopDim);
      return true;
    }
    return false;
  }
  Audited audited(const EditableSet& set, const std::string& gates = "") {
    fs::remove_all(path("edited"));
    set.write(path("edited"));
    write_file("gates.toml", gates + "[fill.logq]\nseverity = \"off\"\n");
    return audit("edited", {"--held-out", shop("heldout.csv"), "--gates", path("gates.toml")});
  }
};

TEST_F(AuditHeldOutTest, NegativesThatNearlyCopyHeldOutPositivesAreCounted) {
  EditableSet set(path("set"));
  const auto near_copy = [&](std::uint32_t user, std::uint32_t item) {
    const std::vector<std::uint32_t> liked = liked_later(user);
    if (std::find(liked.begin(), liked.end(), item) != liked.end()) return false;
    return std::any_of(liked.begin(), liked.end(),
                       [&](std::uint32_t other) { return cosine(item, other) >= 0.98; });
  };
  const auto count = [&] {
    std::uint64_t near = 0;
    for (std::uint64_t r = 0; r < set.rows(); ++r) {
      for (std::uint32_t j = 0; j < set.batch.count[r]; ++j)
        near += near_copy(set.user[r], set.batch.item[set.slot(r, j)]) ? 1 : 0;
    }
    return near;
  };
  const std::uint64_t before = count();
  EXPECT_EQ(audited(set).status("leak.test_near_duplicates"), "pass");
  for (std::uint64_t r = 0; r < set.rows(); ++r) {
    for (std::uint32_t i = 0; i < kShopItems; ++i) {
      if (near_copy(set.user[r], i) && !has(exposure_, set.user[r], i) && !in_row(set, r, i))
        put(set, r, i, [&](std::uint32_t there) { return !near_copy(set.user[r], there); });
    }
  }
  const std::uint64_t near = count();
  ASSERT_GT(near, before + 20) << "hardly anything was planted";
  const Audited a = audited(set, "[leak.test_near_duplicates]\nlimit = 0.0005\n");
  const Json gate = a.gate("leak.test_near_duplicates");
  EXPECT_EQ(gate["status"], "warn") << a.err;
  EXPECT_NE(gate["why"].get<std::string>().find(std::to_string(near) + " of "), std::string::npos)
      << near << ": " << gate;
  EXPECT_EQ(audited(set, "[leak.test_near_duplicates]\nseverity = \"fail\"\nlimit = 0.0005\n")
                .failed.count("leak.test_near_duplicates"),
            1u);
}

TEST_F(AuditHeldOutTest, MoreHeldOutNegativesThanTheirRanksExplainAreTold) {
  EditableSet set(path("set"));
  int planted = 0;
  for (std::uint64_t r = 0; r < set.rows(); ++r) {
    const std::vector<std::uint32_t> liked = liked_later(set.user[r]);
    const auto other = [&](std::uint32_t there) {
      return std::find(liked.begin(), liked.end(), there) == liked.end();
    };
    for (const std::uint32_t item : liked) {
      if (!has(exposure_, set.user[r], item) && !in_row(set, r, item) && put(set, r, item, other))
        ++planted;
    }
  }
  ASSERT_GT(planted, 100);
  const std::string strict = "[leak.held_out_excess]\nlimit = 1.5\n";
  const Audited a = audited(set, strict);
  const Json gate = a.gate("leak.held_out_excess");
  EXPECT_EQ(gate["status"], "warn") << a.err;
  EXPECT_GT(gate["value"].get<double>(), 1.5) << gate;
  EXPECT_EQ(a.status("leak.future_mask"), "pass") << "they are too many, not too few";
  EXPECT_EQ(audited(EditableSet(path("set")), strict).status("leak.held_out_excess"), "pass");
  EXPECT_EQ(audited(set, strict + "severity = \"fail\"\n").failed.count("leak.held_out_excess"),
            1u);
}

}  // namespace
}  // namespace quarry
