// quarry audit of sets that took negatives over from other sets: those that knew later events.
#include <gtest/gtest.h>

#include <functional>

#include "host/audit/manifest_facts.h"
#include "tests/support/audit_world.h"

namespace quarry {
namespace {

using namespace test;
using Gates = std::set<std::string>;

class AuditSetsTest : public AuditWorldTest {
 protected:
  void SetUp() override {
    AuditWorldTest::SetUp();
    mine_clean_set();
  }
  /// Writes the set with the edit as `edited` and audits it.
  Audited with(const std::function<void(EditableSet&)>& edit) {
    EditableSet set(path("set"));
    edit(set);
    fs::remove_all(path("edited"));
    set.write(path("edited"));
    return audit("edited");
  }
};

TEST_F(AuditSetsTest, ThatKnewTheFutureFail) {
  const std::int64_t end = std::stoll(as_of_);
  const auto taken = [](const char* name, const Json& knew, const Json& known) {
    return Json{{"pairs", name},
                {"set", std::string("../runs/") + name + "@3"},
                {"as_of", nullptr},
                {"knew_until", knew},
                {"end_known", known}};
  };
  const auto gate = [&](const std::vector<Json>& sets, const Gates& failed) {
    const Audited a = with([&](EditableSet& s) { s.run["sets"] = sets; });
    EXPECT_EQ(a.raised, failed) << Json(sets) << a.err;
    return a.gate("leak.future_sets");
  };
  const Gates fails = {"leak.future_sets"};
  EXPECT_EQ(audit("set").status("leak.future_sets"), "not_checked") << "there is none";
  EXPECT_EQ(gate({taken("old", end, true), taken("older", end - 9, true)}, {})["status"], "pass");
  const Json two = gate(
      {taken("kept", end + 1, true), taken("old", end, true), taken("late", end + 86400, true)},
      fails);
  EXPECT_EQ(two["value"], 2);
  const std::string why = two["why"];
  EXPECT_NE(why.find("'late' (late@3)"), std::string::npos) << why;
  EXPECT_EQ(why.find("'old'"), std::string::npos) << why;
  EXPECT_NE(two["what_to_do"].get<std::string>().find("--as-of"), std::string::npos);
  // No recorded end is no pass, and no failure either; a later one beside it is.
  for (const Json& known : {Json(false), Json(nullptr)})
    EXPECT_EQ(gate({taken("old", end, true), taken("blind", nullptr, known)}, {})["status"],
              "not_checked");
  EXPECT_EQ(gate({taken("half", end - 5, false)}, {})["status"], "not_checked");
  gate({taken("blind", nullptr, false), taken("late", end + 1, true)}, fails);
  gate({taken("half", end + 5, false)}, fails);
  // As manifests had it before: as_of alone.
  const Json before = {{"pairs", "a"}, {"set", "b@1"}, {"as_of", end}};
  const Json after = {{"pairs", "a"}, {"set", "b@1"}, {"as_of", end + 1}};
  const Json silent = {{"pairs", "a"}, {"set", "b@1"}};
  gate({after}, fails);
  EXPECT_EQ(gate({before}, {})["status"], "pass");
  EXPECT_EQ(gate({silent}, {})["status"], "not_checked");
  // A run without --as-of ends with the last event that it saw; one without events, nowhere.
  const auto without = [&](const Json& latest, std::int64_t knew) {
    return with([&](EditableSet& s) {
             s.run["as_of"] = nullptr;
             s.run["latest_event"] = latest;
             s.run["sets"] = Json::array({taken("other", knew, true)});
           })
        .status("leak.future_sets");
  };
  EXPECT_EQ(without(end - 60, end), "fail");
  EXPECT_EQ(without(end - 60, end - 60), "pass");
  EXPECT_EQ(without(nullptr, end), "not_checked");
}

TEST(AuditSets, ByWhatIsKnownOfTheirEnds) {
  const auto later = [](std::optional<std::int64_t> as_of, std::vector<TakenSet> sets) {
    ManifestFacts facts;
    facts.as_of = as_of;
    facts.sets = std::move(sets);
    return future_sets(facts).later;
  };
  using Count = std::optional<std::uint64_t>;
  EXPECT_EQ(later(100, {{"a", "s@1", 100, true}, {"b", "s@2", 99, true}}), Count(0));
  EXPECT_EQ(later(100, {{"a", "s@1", 101, true}, {"b", "s@2", 100, true}}), Count(1));
  EXPECT_EQ(later(100, {{"a", "s@1", 100, true}, {"b", "s@2", {}, false}}), Count());
  EXPECT_EQ(later(100, {{"a", "s@1", 101, false}, {"b", "s@2", {}, false}}), Count(1));
  EXPECT_EQ(later(-5, {{"a", "s@1", -4, true}}), Count(1)) << "before 1970";
  EXPECT_EQ(later({}, {{"a", "s@1", 101, true}}), Count());
  EXPECT_EQ(later(100, {}), Count());
}

}  // namespace
}  // namespace quarry
