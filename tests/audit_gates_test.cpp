// quarry audit: gates of fill, diversity, drift, cohorts, calibration and age, each with a set that
// deserves them; false alarms over many clean worlds; no external user id in any output.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <random>

#include "host/audit/metrics.h"
#include "host/audit/work.h"
#include "kernels/core/errors.h"
#include "tests/support/audit_world.h"

namespace quarry {
namespace {

using namespace test;
using Gates = std::set<std::string>;

class AuditGatesTest : public AuditWorldTest {
 protected:
  void SetUp() override {
    AuditWorldTest::SetUp();
    write_file("audited.toml", kAuditRecipe);
    as_of_ = synth(2);
    mine("set", kAuditRecipe);
  }
  void mine(const std::string& out, const std::string& recipe, const Args& more = {}) {
    write_file("audited.toml", recipe);
    const Result r = run(mine_shop(out, as_of_, more));
    ASSERT_EQ(r.code, 0) << r.err;
  }
  static std::string changed(std::string text, const std::string& from, const std::string& to) {
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  }
  Args baseline(const Args& more = {}) const {
    Args args = {"--baseline", path("set")};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  /// One item in a random slot of a share of the rows, scores left as they are.
  void plant_hub(const std::string& out, double share) {
    EditableSet s(path("set"));
    const auto rows = static_cast<std::uint64_t>(share * static_cast<double>(s.rows()));
    for (std::uint64_t r = 0; r < rows; ++r) s.batch.item[s.slot(r, 7)] = 17;
    fs::remove_all(path(out));
    s.write(path(out));
  }

  /// A gates file with a stricter limit on spikes: in a shop this small no item can tower by 30.
  std::string strict_spike() const {
    write_file("spike.toml", "[diversity.spike]\nlimit = 4\n");
    return path("spike.toml");
  }
};

TEST_F(AuditGatesTest, ShortRowsAndStrataThatRunOut) {
  mine("short",
       changed(changed(kAuditRecipe, "pool = 60, max_rank = 500", "pool = 9, max_rank = 9"),
               "backfill = [\"random\", \"hard\"]", "backfill = [\"hard\"]"));
  const Audited a = audit("short");
  EXPECT_EQ(a.failed, Gates{"fill.slots"}) << a.err;
  EXPECT_LT(a.gate("fill.slots")["value"].get<double>(), 0.95);
  double slots = 0, missing = 0;
  for (const Json& row : a.rows("fill.by_reason"))
    (row[0] == "filled" ? slots : missing) += row[1].get<double>();
  EXPECT_EQ(slots + missing, 8 * a.json["set"]["rows"].get<double>());
  // Only the quota's tail is asked for, where the hard branch finds little.
  mine("tailed",
       changed(changed(changed(kAuditRecipe, "max_rank = 500", "max_rank = 40"),
                       "backfill = [\"random\", \"hard\"]", "backfill = [\"hard\"]"),
               "share = 0.5\nsource = { kind = \"uniform\" }",
               "share = 0.5\nsource = { kind = \"exposed\", classes = [\"disinterest\"] }"));
  EXPECT_EQ(audit("tailed").status("strata.filled"), "warn");
}

TEST_F(AuditGatesTest, ExposedNegativesAndTheirShare) {
  std::string recipe = changed(kAuditRecipe, "share = 0.5\nsource = { kind = \"uniform\" }",
                               "share = 0.8\nsource = { kind = \"exposed\", classes = "
                               "[\"aversion\", \"disinterest\"] }");
  recipe = changed(recipe, "name = \"hard\"\nshare = 0.5", "name = \"hard\"\nshare = 0.2");
  recipe = recipe.substr(0, recipe.find("[quota]"));
  mine("exposed", changed(recipe, "k = 8", "k = 4"));
  const Audited a = audit("exposed");
  EXPECT_EQ(a.status("exposure.share"), "warn") << a.err;
  EXPECT_EQ(audit("set").status("exposure.share"), "pass");
  EXPECT_EQ(a.failed, Gates{}) << "a warning is no failure";
  // The bars of the classes are as long as all negatives.
  const Json table = a.table("leak.by_class");
  for (const Json& column : table["columns"]) {
    const Json& drawn = table["chart"]["y"];
    EXPECT_EQ(std::count(drawn.begin(), drawn.end(), column["id"]),
              column["id"] == "branch" ? 0 : 1)
        << column;
  }
}

TEST_F(AuditGatesTest, WithoutEventsNoItemIsRetired) {
  write_file("rows.csv", "user,item\n0,5\n1,7\n2,5\n");
  write_file("plain.toml",
             "name = \"plain\"\nk = 4\nmetric = \"ip\"\n[safety]\nfilters = [{ kind = "
             "\"positives\" }, { kind = \"time\" }]\n"
             "[[branch]]\nname = \"hard\"\nsource = { kind = \"topk\", pool = 20 }\n");
  const Result mined = run({"mine", "--items", shop("items.npy"), "--users", shop("users.npy"),
                            "--catalogue", shop("catalogue.csv"), "--rows", path("rows.csv"),
                            "--recipe", path("plain.toml"), "--out", path("plain")});
  ASSERT_EQ(mined.code, 0) << mined.err;
  const Audited a = audit("plain");
  EXPECT_EQ(a.status("leak.time"), "pass") << a.err;
  EXPECT_EQ(a.failed, Gates{}) << a.err;
}

TEST_F(AuditGatesTest, OfNoNegativesNothingIsSaid) {
  mine("none", changed(kAuditRecipe, "{ kind = \"time\" },",
                       "{ kind = \"time\" }, { kind = \"score\", hi = -1e30 },"));
  const Audited a = audit("none", baseline());
  for (const Json& g : a.json["gates"]) {
    const std::string id = g["id"];
    if (id.rfind("diversity.", 0) == 0 || id.rfind("drift.", 0) == 0) {
      EXPECT_EQ(g["status"], "not_checked") << id;
    }
  }
  EXPECT_EQ(a.metric("fill.slots"), 0.0);
}

TEST_F(AuditGatesTest, HubsSpikesAndCollapse) {
  plant_hub("hub", 0.6);
  const Audited hub = audit("hub");
  EXPECT_EQ(hub.status("diversity.hub"), "warn") << hub.err;
  EXPECT_EQ(audit("set").status("diversity.hub"), "pass");
  const Json& list = hub.json["lists"][0];
  EXPECT_EQ(list["id"], "hubs");
  EXPECT_EQ(list["rows"][0][0], 17);
  plant_hub("spike", 0.45);
  const Audited spike = audit("spike", baseline());
  EXPECT_EQ(spike.status("diversity.hub"), "pass");
  EXPECT_EQ(spike.status("drift.spikes"), "warn") << spike.err;
  const Audited strict = audit("spike", {"--gates", strict_spike()});
  EXPECT_EQ(strict.status("diversity.spike"), "warn") << strict.err;
  EXPECT_EQ(audit("set", {"--gates", strict_spike()}).status("diversity.spike"), "pass");
  // All rows share 80 items: few effective items, but not so few that the set fails.
  EditableSet narrow(path("set"));
  for (std::uint64_t r = 0; r < narrow.rows(); ++r) {
    for (std::uint32_t j = 0; j < narrow.batch.count[r]; ++j)
      narrow.batch.item[narrow.slot(r, j)] = 40 + (static_cast<std::uint32_t>(r) * 8 + j) % 80;
  }
  narrow.write(path("narrow"));
  const Audited few = audit("narrow");
  EXPECT_EQ(few.status("diversity.effective_items"), "warn") << few.err;
  EXPECT_NEAR(few.metric("diversity.effective_items").get<double>(), 80, 0.5);
  // Every row gets one and the same eight items.
  EditableSet s(path("set"));
  for (std::uint64_t r = 0; r < s.rows(); ++r) {
    for (std::uint32_t j = 0; j < s.batch.count[r]; ++j) s.batch.item[s.slot(r, j)] = 40 + j;
  }
  s.write(path("collapsed"));
  const Audited collapsed = audit("collapsed");
  for (const char* gate : {"diversity.effective_items", "diversity.hub", "diversity.tail"})
    EXPECT_TRUE(collapsed.raised.count(gate)) << gate << collapsed.err;
  EXPECT_NEAR(collapsed.metric("diversity.effective_items").get<double>(), 8, 0.1);
  for (const Json& l : collapsed.json["lists"]) {
    if (l["id"] == "always") {
      EXPECT_GE(l["rows"].size(), 7u);
    }
  }
}

TEST_F(AuditGatesTest, RowsThatRepeatOneThing) {
  // All item vectors are nearly one: rows have no diversity, and nothing else is wrong with them.
  const Embeddings items = Embeddings::open(shop("items.npy"));
  std::vector<float> same(600 * 16);
  for (std::size_t i = 0; i < same.size(); ++i) {
    const float* v = static_cast<const float*>(items.view().data);
    same[i] = v[i % 16] + 0.02f * v[i];
  }
  write_npy(shop("items.npy"), same.data(), 600, 16);
  std::string recipe =
      changed(kAuditRecipe, "  { kind = \"near_duplicate\", cosine = 0.98 },\n", "");
  mine("alike",
       changed(recipe, "  { kind = \"relative_margin\", ratio = 0.95, against = \"min\" },\n", ""));
  const Audited a = audit("alike");
  EXPECT_EQ(a.status("diversity.intra_row"), "warn") << a.err;
  EXPECT_EQ(a.failed, Gates{}) << a.err;
}

TEST_F(AuditGatesTest, DriftIsFoundAndARefreshIsNotDrift) {
  const Audited same = audit("set", baseline());
  EXPECT_EQ(same.raised, Gates{"drift.churn"}) << "nothing was refreshed" << same.err;
  mine("again", kAuditRecipe, {"--seed", "9"});
  const Audited refreshed = audit("again", baseline());
  EXPECT_EQ(refreshed.raised, Gates{}) << refreshed.err;
  mine("headed", changed(kAuditRecipe, "head = 0.4, torso = 0.35, tail = 0.25",
                         "head = 0.9, torso = 0.05, tail = 0.05"));
  const Audited headed = audit("headed", baseline());
  EXPECT_EQ(headed.status("drift.popularity"), "fail") << headed.err;
  EXPECT_EQ(headed.status("drift.strata"), "fail");
  // PSI of the strata against one computed here.
  const auto counts = [&](const Audited& a) {
    std::vector<std::uint64_t> n;
    for (const Json& row : a.rows("strata.quota")) n.push_back(row[3].get<std::uint64_t>());
    return n;
  };
  const auto now = counts(headed), then = counts(same);
  double a = 0, b = 0, psi = 0;
  for (std::size_t i = 0; i < 3; ++i) a += now[i], b += then[i];
  for (std::size_t i = 0; i < 3; ++i)
    psi += (now[i] / a - then[i] / b) * std::log(now[i] / a * b / then[i]);
  EXPECT_NEAR(headed.gate("drift.strata")["value"].get<double>(), psi, 1e-9);
  mine("deep", changed(kAuditRecipe, "window = [1, 300]", "window = [100, 300]"));
  EXPECT_EQ(audit("deep", baseline()).status("drift.quantile"), "fail");
  const Embeddings users = Embeddings::open(shop("users.npy"));
  std::vector<float> scaled(250 * 16);
  for (std::size_t i = 0; i < scaled.size(); ++i)
    scaled[i] = 3 * static_cast<const float*>(users.view().data)[i];
  write_npy(path("users3.npy"), scaled.data(), 250, 16);
  Args args = mine_shop("scaled", as_of_);
  write_file("audited.toml", kAuditRecipe);
  std::replace(args.begin(), args.end(), shop("users.npy"), path("users3.npy"));
  ASSERT_EQ(run(args).code, 0);
  EXPECT_EQ(audit("scaled", baseline()).status("drift.score"), "fail");
  // One category gets all random negatives.
  std::string allowed = "item\n";
  std::istringstream rows(read_file("shop/catalogue.csv"));
  std::string line;
  std::getline(rows, line);
  while (std::getline(rows, line)) {
    if (line.find(",c0,") != std::string::npos || line.find(",c1,") != std::string::npos)
      allowed += line.substr(0, line.find(',')) + "\n";
  }
  write_file("few.csv", allowed);
  mine("few",
       changed(kAuditRecipe, "  { kind = \"time\" },",
               "  { kind = \"time\" },\n  { kind = \"allow_list\", list = \"few\" },"),
       {"--item-list", "few=" + path("few.csv")});
  const Audited few = audit("few", baseline());
  EXPECT_EQ(few.status("drift.attributes"), "fail") << few.err;
}

TEST_F(AuditGatesTest, ABaselineOfOtherItemsIsNotComparedByNumber) {
  const std::vector<const char*> by_number = {"drift.popularity", "drift.attributes", "drift.churn",
                                              "drift.spikes"};
  const auto expect_refused = [&](const char* what, const Audited& a) {
    for (const char* gate : by_number)
      EXPECT_EQ(a.status(gate), "not_checked") << what << gate << a.err;
    EXPECT_EQ(a.status("drift.score"), "pass") << what << a.err;
  };
  EditableSet s(path("set"));
  s.schema.num_items = 599;
  s.write(path("shorter"));
  expect_refused("fewer items ", audit("set", {"--baseline", path("shorter")}));
  EditableSet named(path("set"));
  named.run["inputs"].push_back(
      {{"role", "item-ids"}, {"path", "ids.csv"}, {"bytes", 5}, {"xxh3_128", "00"}});
  named.write(path("named"));
  expect_refused("other ids ", audit("set", {"--baseline", path("named")}));
}

TEST_F(AuditGatesTest, CohortsAreMergedAndSuppressionIsFound) {
  std::string groups = "user,place\n", small = "user,place\n";
  for (int u = 0; u < 250; ++u) {
    groups += std::to_string(u) + "," + (u < 80 ? "north" : "south") + "\n";
    small += std::to_string(u) + "," + (u < 5 ? "tiny" : u < 30 ? "few" : "many") + "\n";
  }
  write_file("groups.csv", groups);
  write_file("small.csv", small);
  const Audited clean = audit("set", {"--cohorts", path("groups.csv") + ":place"});
  EXPECT_EQ(clean.table("cohorts.groups")["rows"].size(), 2u) << clean.err;
  EXPECT_EQ(clean.status("cohorts.suppression"), "pass") << clean.err;
  const Audited merged = audit("set", {"--cohorts", path("small.csv") + ":place"});
  EXPECT_EQ(merged.out.find("tiny"), std::string::npos) << "5 users are too few to be shown";
  EXPECT_EQ(merged.err.find("tiny"), std::string::npos);
  // The north's users get what only the north likes: items with at least 5 positives there.
  EditableSet s(path("set"));
  std::map<std::uint32_t, std::pair<std::set<std::uint32_t>, std::set<std::uint32_t>>> liked;
  for (std::uint64_t r = 0; r < s.rows(); ++r) {
    for (auto p = s.offsets[r]; p < s.offsets[r + 1]; ++p)
      (s.user[r] < 80 ? liked[s.positives[p]].first : liked[s.positives[p]].second)
          .insert(s.user[r]);
  }
  std::vector<std::uint32_t> own;
  for (const auto& [item, users] : liked) {
    if (users.first.size() + users.second.size() >= 5 && users.first.size() >= users.second.size())
      own.push_back(item);
  }
  ASSERT_GT(own.size(), 2u);
  for (std::uint64_t r = 0; r < s.rows(); ++r) {
    if (s.user[r] < 80) s.batch.item[s.slot(r, 7)] = own[r % own.size()];
  }
  s.write(path("suppressed"));
  const Audited a = audit("suppressed", {"--cohorts", path("groups.csv") + ":place"});
  EXPECT_EQ(a.status("cohorts.suppression"), "warn") << a.err;
  // Nothing else.
  for (std::uint64_t r = 0; r < s.rows(); ++r) {
    if (s.user[r] >= 80) continue;
    for (std::uint32_t j = 0; j < 8; ++j) s.batch.item[s.slot(r, j)] = own[(r + j) % own.size()];
  }
  fs::remove_all(path("suppressed"));
  s.write(path("suppressed"));
  const Audited gross = audit("suppressed", {"--cohorts", path("groups.csv") + ":place"});
  EXPECT_EQ(gross.status("cohorts.suppression"), "fail") << gross.err;
  EXPECT_EQ(run({"audit", path("set"), "--cohorts", path("groups.csv")}).code, 2);
  write_file("twice.csv", "user,place\n1,north\n1,south\n");
  const Result twice = run({"audit", path("set"), "--cohorts", path("twice.csv") + ":place"});
  EXPECT_EQ(twice.code, 3);
  EXPECT_NE(twice.err.find("twice.csv:3"), std::string::npos) << twice.err;
}

TEST_F(AuditGatesTest, DisparityIsTheRatioOfShares) {
  std::string groups = "user,place\n";
  for (int u = 0; u < 250; ++u) groups += std::to_string(u) + ",all\n";
  write_file("groups.csv", groups);
  const Audited a = audit("set", {"--cohorts", path("groups.csv") + ":place"});
  std::map<std::string, std::pair<double, double>> ends;
  for (const Json& row : a.rows("cohorts.disparity")) {
    const double d = row[2].get<double>() / row[3].get<double>();
    EXPECT_NEAR(row[4].get<double>(), d, 1e-12);
    auto& [low, high] = ends.try_emplace(row[0].get<std::string>(), 1e9, 0.0).first->second;
    low = std::min(low, d), high = std::max(high, d);
  }
  double worst = 2;
  for (const auto& [column, pair] : ends) {
    if (pair.second > pair.first) worst = std::min(worst, pair.first / pair.second);
  }
  ASSERT_LT(worst, 1) << a.err;
  const Json gate = a.gate("cohorts.disparity");
  const bool warns = gate["status"] == "warn";
  if (!warns) {
    EXPECT_NEAR(gate["value"].get<double>(), worst, 1e-12);
  }
  EXPECT_EQ(gate["why"].get<std::string>().find("chance may explain") == std::string::npos, warns);
}

TEST(AuditDisparity, WarnsBeyondNoiseOnly) {
  // ln(400.5 / 500.5) = -0.2229, sqrt(1 / 400.5 + 3 / 500.5) = 0.09215: exp(-0.2229 + 0.1806).
  EXPECT_NEAR(disparity_high({400, 500, 500, 500}, 2), 0.9586, 1e-4);
  EXPECT_GT(disparity_high({400, 500, 500, 500}, 40), disparity_high({400, 500, 500, 500}, 2));
  // Clean: negatives at the same rate for all of 30 values. The extremes seldom lie below 0.8.
  std::mt19937_64 random(5);
  std::poisson_distribution<std::uint64_t> positives(60), negatives(300);
  int below = 0, noisy = 0;
  for (int t = 0; t < 1000; ++t) {
    std::array<std::uint64_t, 4> ends = {1, 0, 0, 1};
    double least = INFINITY, most = 0;
    for (int v = 0; v < 30; ++v) {
      const std::uint64_t n = negatives(random), p = std::max<std::uint64_t>(1, positives(random));
      const double d = static_cast<double>(n) / static_cast<double>(p);
      if (d < least) least = d, ends[0] = n, ends[1] = p;
      if (d > most) most = d, ends[2] = n, ends[3] = p;
    }
    noisy += least / most < 0.8;
    below += disparity_high(ends, 30) < 0.8;
  }
  EXPECT_GT(noisy, 900) << "the bare ratio warns of noise";
  EXPECT_LT(below, 50);
  EXPECT_LT(disparity_high({4000, 10000, 10000, 10000}, 30), 0.8) << "a true disparity is seen";
}

TEST_F(AuditGatesTest, CalibrationOfScores) {
  std::mt19937_64 random(3);
  std::uniform_real_distribution<double> unit(0, 1);
  std::string good = "score,label,weight,item\n", bad = "score,label\n", thinned = good;
  for (int i = 0; i < 40000; ++i) {
    const double q = 0.4 * unit(random);
    const int label = unit(random) < q;
    const std::string item = std::to_string(i % 600);
    good += std::to_string(q) + "," + std::to_string(label) + ",1," + item + "\n";
    bad += std::to_string(std::min(1.0, 1.6 * q + 0.2)) + "," + std::to_string(label) + "\n";
    if (label == 0 && unit(random) > 0.1) continue;
    thinned += std::to_string(q / (q + (1 - q) * 0.1)) + "," + std::to_string(label) + ",0.1," +
               item + "\n";
  }
  write_file("good.csv", good);
  write_file("bad.csv", bad);
  write_file("thinned.csv", thinned);
  const Audited a = audit("set", {"--scores", path("good.csv")});
  EXPECT_EQ(a.raised, Gates{}) << a.err;
  EXPECT_LT(a.metric("calibration.ece").get<double>(), 0.02);
  EXPECT_EQ(a.table("calibration.bins")["rows"].size(), 15u);
  EXPECT_EQ(a.table("calibration.popularity")["rows"].size(), 10u);
  EXPECT_EQ(audit("set", {"--scores", path("bad.csv")}).raised,
            (Gates{"calibration.ece", "calibration.large"}));
  EXPECT_EQ(audit("set", {"--scores", path("thinned.csv")}).raised, Gates{});
  write_file("logits.csv", "score,label\n0.5,1\n-2.5,0\n");
  const Result logits = run({"audit", path("set"), "--scores", path("logits.csv")});
  EXPECT_EQ(logits.code, 3);
  EXPECT_NE(logits.err.find("logits.csv:3"), std::string::npos) << logits.err;
}

TEST_F(AuditGatesTest, AgeAndChangedInputs) {
  const auto later = [&](std::int64_t days) {
    return std::to_string(std::stoll(as_of_) + days * 86400);
  };
  EXPECT_EQ(audit("set", {"--now", later(3)}).raised, Gates{});
  const Audited old = audit("set", {"--now", later(45)});
  EXPECT_EQ(old.raised, Gates{"staleness.age"});
  const std::int64_t latest = EditableSet(path("set")).run["latest_event"];
  ASSERT_LT(latest, std::stoll(as_of_));
  EXPECT_NEAR(old.metric("staleness.age").get<double>(),
              45 + static_cast<double>(std::stoll(as_of_) - latest) / 86400, 1e-9);
  EXPECT_EQ(run({"audit", path("set"), "--now", "soon"}).code, 2);
  const Audited early = audit("set", {"--now", later(-9)});
  EXPECT_EQ(early.raised, Gates{"staleness.age"}) << "events of the future";
  // An as_of far behind the last event does not make the events newer.
  EditableSet s(path("set"));
  s.run["as_of"] = std::stoll(as_of_) + 45 * 86400;
  s.run["latest_event"] = std::stoll(as_of_);
  s.write(path("ahead"));
  const Audited ahead = audit("ahead", {"--now", later(46)});
  EXPECT_EQ(ahead.status("staleness.age"), "warn") << ahead.err;
  EXPECT_NEAR(ahead.metric("staleness.age").get<double>(), 46, 1e-9);
  // An event after as_of changes the file and nothing that the set was made from.
  write_file("shop/events.csv",
             read_file("shop/events.csv") + "1,2," + later(9) + ",purchase,3.5\n");
  const Audited changed_file = audit("set");
  EXPECT_EQ(changed_file.raised, Gates{"inputs.unchanged"}) << changed_file.err;
  EXPECT_NE(changed_file.err.find("events.csv: has "), std::string::npos) << changed_file.err;
}

TEST_F(AuditGatesTest, AWalkEndsWhenAsked) {
  const NegativeSet set = NegativeSet::open(path("set"), true);
  std::atomic<bool> stop{false};
  Exec exec;
  exec.threads = 1;
  EXPECT_GT(sample_set(set, nullptr, nullptr, 1, 1e9, exec, &stop).rows, 0u);
  stop = true;
  EXPECT_THROW(sample_set(set, nullptr, nullptr, 1, 1e9, exec, &stop), Cancelled);
  EXPECT_THROW(stop_audit_if_asked(&stop), Cancelled);
  EXPECT_NO_THROW(stop_audit_if_asked(nullptr));
}

TEST_F(AuditGatesTest, NoGateAtAllIsNoPass) {
  std::string off, one;
  for (const GateRule& rule : default_gates().rules) {
    off += "[" + rule.id + "]\nseverity = \"off\"\n";
    one += rule.id == "fill.slots" ? "" : "[" + rule.id + "]\nseverity = \"off\"\n";
  }
  write_file("off.toml", off);
  write_file("one.toml", one);
  const Result none = run({"audit", path("set"), "--gates", path("off.toml")});
  EXPECT_EQ(none.code, 2) << none.err;
  EXPECT_NE(none.err.find("turns every gate off"), std::string::npos) << none.err;
  const Result single = run({"audit", path("set"), "--gates", path("one.toml")});
  EXPECT_EQ(single.code, 0) << single.err;
  EXPECT_NE(single.err.find(" 1 were checked: 1 pass"), std::string::npos) << single.err;
}

TEST_F(AuditGatesTest, FilesAndExitCodes) {
  const Result r = run({"audit", path("set"), "--out", path("audit.json"), "--prometheus",
                        path("audit.prom"), "--json"});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(read_file("audit.json"), r.out);
  const std::string prom = read_file("audit.prom");
  EXPECT_NE(prom.find("quarry_audit_failed{set=\"set\"} 0\n"), std::string::npos) << prom;
  EXPECT_NE(prom.find("quarry_audit_gate{set=\"set\",gate=\"leak.future_mask\"} 3\n"),
            std::string::npos);
  EXPECT_NE(prom.find("quarry_audit_metric{set=\"set\",metric=\"fill.slots\",unit=\"share\"} 1\n"),
            std::string::npos);
  const Result printed = run({"audit", "--print-gates"});
  EXPECT_EQ(printed.code, 0);
  write_file("gates.toml", printed.out);
  EXPECT_EQ(audit("set", {"--gates", path("gates.toml")}).out, r.out) << "defaults change nothing";
  write_file("gates.toml", "[diversity.intra_row]\nseverity = \"fail\"\nlimit = 1.9\n");
  EXPECT_EQ(audit("set", {"--gates", path("gates.toml")}).failed, Gates{"diversity.intra_row"});
  write_file("gates.toml", "[diversity.hubs]\nlimit = 1\n");
  expect({"audit", path("set"), "--gates", path("gates.toml")}, 2, "gates.toml:1");
  expect({"audit", path("nothing")}, 5, "nothing");
  expect({"audit", path("set"), "--held-out", path("none.csv")}, 5, "none.csv");
  expect({"audit", path("set"), "--out", path("no/such/file")}, 5, "make the folder");
  expect({"audit"}, 2, "say which set");
  write_file("views.csv", "user,item,time,kind,value\n1,2,1700000000,view,1\n");
  expect({"audit", path("set"), "--held-out", path("views.csv")}, 3, "no event is positive");
}

TEST_F(AuditGatesTest, NoUserIdLeaves) {
  std::string ids = "id\n", events, line, groups = "user,place\n";
  for (int u = 0; u < 250; ++u) {
    ids += "canary-" + std::to_string(u) + "-zq\n";
    groups += "canary-" + std::to_string(u) + "-zq," + (u % 2 ? "odd" : "even") + "\n";
  }
  write_file("ids.csv", ids);
  write_file("groups.csv", groups);
  for (const char* file : {"events", "heldout"}) {
    std::istringstream rows(read_file("shop/" + std::string(file) + ".csv"));
    std::getline(rows, line);
    events = line + "\n";
    while (std::getline(rows, line))
      events +=
          "canary-" + line.substr(0, line.find(',')) + "-zq" + line.substr(line.find(',')) + "\n";
    write_file("shop/" + std::string(file) + ".csv", events);
  }
  mine("named", kAuditRecipe, {"--user-ids", path("ids.csv")});
  const Audited a =
      audit("named", {"--held-out", shop("heldout.csv"), "--cohorts", path("groups.csv") + ":place",
                      "--baseline", path("set"), "--out", path("named.json"), "--prometheus",
                      path("named.prom")});
  EXPECT_GT(a.table("cohorts.groups")["rows"].size(), 0u);
  for (const std::string& text : {a.out, a.err, read_file("named.json"), read_file("named.prom")}) {
    EXPECT_GT(text.size(), 100u);
    EXPECT_EQ(text.find("canary"), std::string::npos) << text.substr(text.find("canary"), 80);
  }
}

TEST_F(AuditGatesTest, CleanWorldsRaiseNoAlarm) {
  const char* scale = std::getenv("QUARRY_TEST_SCALE");
  const int seeds = scale != nullptr ? 200 * std::max(1, std::atoi(scale)) : 60;
  int failed = 0, checked = 0, leaky = 0, found = 0;
  std::map<std::string, int> raised;
  write_file("audited.toml", kAuditRecipe);
  std::string places = "user,place\n";
  for (int u = 0; u < 150; ++u)
    places += std::to_string(u) + (u % 7 < 2 ? ",north\n" : u % 7 < 5 ? ",south\n" : ",west\n");
  write_file("places.csv", places);
  for (int seed = 1; seed <= seeds; ++seed) {
    as_of_ = synth(1000 + seed, 150, 400);
    for (const char* set : {"clean", "earlier"}) {
      fs::remove_all(path(set));
      const int draws = set == std::string("clean") ? seed : seed + 100'000;
      ASSERT_EQ(run(mine_shop(set, as_of_, {"--seed", std::to_string(draws)})).code, 0);
    }
    const Audited a =
        audit("clean", {"--held-out", shop("heldout.csv"), "--now", as_of_, "--baseline",
                        path("earlier"), "--cohorts", path("places.csv") + ":place"});
    for (const char* gate : {"drift.popularity", "drift.spikes", "cohorts.disparity"})
      EXPECT_NE(a.status(gate), "not_checked") << a.err;
    failed += a.failed.empty() ? 0 : 1;
    checked += a.status("leak.future_mask") != "not_checked" ? 1 : 0;
    for (const std::string& gate : a.raised) ++raised[gate];
    if (!a.failed.empty()) std::printf("seed %d:\n%s", 1000 + seed, a.err.c_str());
    if (seed % 10 != 0) continue;
    // A larger world, mined with all events and without a time to stop at.
    synth(1000 + seed, 600);
    std::string later = read_file("shop/heldout.csv");
    later.erase(0, later.find('\n') + 1);
    write_file("shop/events.csv", read_file("shop/events.csv") + later);
    fs::remove_all(path("leaky"));
    ASSERT_EQ(run(mine_shop("leaky", "")).code, 0);
    const std::string mask =
        audit("leaky", {"--held-out", shop("heldout.csv")}).status("leak.future_mask");
    leaky += mask != "not_checked" ? 1 : 0;
    found += mask == "fail" ? 1 : 0;
  }
  std::printf("%d clean worlds: %d failed, masks checked in %d; gates raised:", seeds, failed,
              checked);
  for (const auto& [gate, count] : raised) std::printf(" %s %d", gate.c_str(), count);
  std::printf("\n%d worlds with masks that knew the future: checked in %d, found in %d\n",
              seeds / 10, leaky, found);
  EXPECT_LE(failed, seeds / 100);
  EXPECT_GT(checked, seeds * 3 / 4) << "a gate that is never checked raises no alarm either";
  EXPECT_GT(leaky, seeds / 20);
  EXPECT_EQ(found, leaky);
}

/// Sets of published recipes have nothing that the judge, who shares no text with the miner, minds.
TEST_F(AuditGatesTest, NamedRecipesPass) {
  for (const char* name : {"balanced", "random", "word2vec", "naive", "nv-sample", "simans", "ance",
                           "ebr", "dns", "dns-mn", "realhns", "exposure", "warp", "ssm"}) {
    fs::remove_all(path("named"));
    Args args = mine_shop("named", as_of_);
    std::replace(args.begin(), args.end(), path("audited.toml"), std::string(name));
    const Result mined = run(args);
    ASSERT_EQ(mined.code, 0) << name << mined.err;
    const Audited a = audit("named", {"--held-out", shop("heldout.csv")});
    EXPECT_EQ(a.failed, Gates{}) << name << a.err;
  }
}

}  // namespace
}  // namespace quarry
