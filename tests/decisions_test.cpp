// Approvals, audits, figures and the policy of a store: sequences against a model of a few lines,
// kills between any two steps, logs that were changed.
#include "host/store/decisions.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>

#include "host/store/store_run.h"
#include "kernels/core/errors.h"
#include "tests/support/files.h"

namespace quarry {
namespace {

/// Sets and stores are synced file by file; in memory that takes no time.
[[maybe_unused]] const bool kInMemory =
    ::access("/dev/shm", W_OK) == 0 && ::setenv("TMPDIR", "/dev/shm", 0) == 0;

using testing::read_bytes;

/// A version of three rows whose items follow from `seed`.
std::uint64_t add_version(const std::string& path, std::uint32_t seed) {
  const Store store = Store::create(path);
  const StoreLock lock(store.path());
  SetSchema schema;
  schema.k = 1;
  schema.branches = {"hard"};
  schema.strata = {"all"};
  schema.num_items = 100;
  StoreRun run(store, "run" + std::to_string(seed), schema);
  if (const auto there = run.version_there()) {
    run.complete(*there, {});
    return *there;
  }
  run.begin(false);
  NegativeBatch b;
  b.num_rows = 3;
  b.k = 1;
  b.num_branches = 1;
  const std::vector<std::uint64_t> keys = {1, 2, 3};
  for (std::uint32_t r = 0; r < 3; ++r) {
    b.count.push_back(1);
    b.positive_min.push_back(1.0f);
    b.certified.push_back(1);
    b.kappa.push_back(0.5f);
    b.item.push_back(seed + r);
    b.score.push_back(0.5f);
    b.branch.push_back(0);
    b.raw_rank.push_back(1);
    b.survivor_rank.push_back(1);
    b.stratum.push_back(0);
    b.logq.push_back(-1.0f);
    b.fill.push_back(0);
  }
  ShardWriter writer(run.part_folder(), schema);
  writer.append(b, {keys.data()}, 0, 3, nullptr);
  run.keep(0, 0, writer.finish(), "{}");
  return run.commit(3, "{}", "{}", {});
}

std::optional<std::uint64_t> tag_of(const Store& store, const std::string& name) {
  const auto tags = store.tags();
  const auto found = tags.find(name);
  return found != tags.end() ? std::optional(found->second) : std::nullopt;
}

Policy policy_of(const std::string& needs) { return parse_policy(needs); }

class DecisionsTest : public ::testing::Test {
 protected:
  void TearDown() override { observe_files(nullptr); }
  std::string path() const { return folder_.path_of("store"); }
  Store store() const { return Store::open(path()); }
  void decide(std::uint64_t version, bool approved) {
    Store opened = store();
    record_decision(opened, version, approved, "ada", "seen");
  }
  void audit(std::uint64_t version, bool passed) {
    Store opened = store();
    record_audit(opened, version, passed);
  }
  void set_policy(const std::string& needs) {
    Store opened = store();
    write_policy(opened, policy_of(needs));
  }
  testing::TempDir folder_;
};

TEST_F(DecisionsTest, ApprovalMovesTheTagAndRejectionTakesItBack) {
  for (std::uint32_t seed = 1; seed <= 3; ++seed) add_version(path(), seed);
  EXPECT_EQ(tag_of(store(), "approved"), std::nullopt);
  decide(1, true);
  decide(3, true);
  EXPECT_EQ(tag_of(store(), "approved"), 3u);
  decide(2, true);
  EXPECT_EQ(tag_of(store(), "approved"), 2u) << "what was approved last";
  decide(2, false);
  EXPECT_EQ(tag_of(store(), "approved"), 3u) << "what was approved last before";
  decide(1, false);
  EXPECT_EQ(tag_of(store(), "approved"), 3u);
  decide(3, false);
  EXPECT_EQ(tag_of(store(), "approved"), std::nullopt);
  EXPECT_EQ(tag_of(store(), "latest"), 3u) << "without a policy commits alone move it";
  const auto states = version_states(store());
  ASSERT_TRUE(states.at(3).decision.has_value());
  EXPECT_FALSE(states.at(3).decision->approved);
  EXPECT_EQ(states.at(3).decision->by, "ada");
  EXPECT_EQ(states.at(3).decision->reason, "seen");
}

TEST_F(DecisionsTest, UnderAPolicyLatestWaitsForWhatAVersionNeeds) {
  add_version(path(), 1);
  set_policy("approval,audit");
  EXPECT_EQ(tag_of(store(), "latest"), 1u) << "of before the policy";
  add_version(path(), 2);
  EXPECT_EQ(tag_of(store(), "latest"), 1u);
  decide(2, true);
  EXPECT_EQ(tag_of(store(), "latest"), 1u) << "not audited";
  EXPECT_EQ(tag_of(store(), "approved"), 2u);
  audit(2, false);
  EXPECT_EQ(tag_of(store(), "latest"), 1u) << "a failed audit is none";
  audit(2, true);
  EXPECT_EQ(tag_of(store(), "latest"), 2u);
  add_version(path(), 3);
  audit(3, true);
  EXPECT_EQ(tag_of(store(), "latest"), 2u) << "not approved";
  decide(3, true);
  EXPECT_EQ(tag_of(store(), "latest"), 3u);
  add_version(path(), 2);  // the run of version 2 once more
  EXPECT_EQ(tag_of(store(), "latest"), 3u) << "the newest that has what it needs";
  audit(3, false);
  EXPECT_EQ(tag_of(store(), "latest"), 2u) << "it lost what it needs";
  decide(2, false);
  EXPECT_EQ(tag_of(store(), "latest"), std::nullopt) << "none has what it needs";
  EXPECT_THROW(store().resolve("latest"), InputError);
  set_policy("nothing");
  EXPECT_EQ(add_version(path(), 4), 4u);
  EXPECT_EQ(tag_of(store(), "latest"), 4u);
}

TEST_F(DecisionsTest, GoodNewsNeverTakesLatestAway) {
  for (const bool bad_audit : {false, true}) {
    std::filesystem::remove_all(path());
    for (std::uint32_t seed = 1; seed <= 2; ++seed) add_version(path(), seed);
    set_policy("approval,audit");
    audit(2, true);
    EXPECT_EQ(tag_of(store(), "latest"), 2u) << "it lacks an approval yet";
    decide(1, true);
    audit(1, false);
    EXPECT_EQ(tag_of(store(), "latest"), 2u) << "bad news of another";
    if (bad_audit) {
      audit(2, false);
    } else {
      decide(2, false);
    }
    EXPECT_EQ(tag_of(store(), "latest"), std::nullopt);
    audit(1, true);
    EXPECT_EQ(tag_of(store(), "latest"), 1u);
  }
  std::filesystem::remove_all(path());
  add_version(path(), 1);
  set_policy("approval,audit");
  decide(1, true);
  EXPECT_EQ(tag_of(store(), "latest"), 1u) << "approved, not audited yet";
}

TEST_F(DecisionsTest, APolicyMovesLatestWhereAVersionHasWhatItAsksFor) {
  for (std::uint32_t seed = 1; seed <= 3; ++seed) add_version(path(), seed);
  set_policy("audit");
  EXPECT_EQ(tag_of(store(), "latest"), 3u) << "none has it";
  set_policy("nothing");
  decide(1, true);
  decide(2, true);
  EXPECT_EQ(tag_of(store(), "latest"), 3u);
  set_policy("approval");
  EXPECT_EQ(tag_of(store(), "latest"), 2u);
  EXPECT_TRUE(tags_behind(store()).empty());
  set_policy("nothing");
  EXPECT_EQ(tag_of(store(), "latest"), 2u) << "commits alone move it";
}

/// What tags must mean, said in another way: by one pass over what was done.
struct Model {
  std::map<std::uint64_t, int> approved, audited;  ///< 1 yes, -1 no
  std::vector<std::uint64_t> order;                ///< approvals, newest last
  std::uint64_t versions = 0;

  std::optional<std::uint64_t> tag() const {
    for (auto at = order.rbegin(); at != order.rend(); ++at) {
      if (approved.at(*at) == 1) return *at;
    }
    return std::nullopt;
  }
  bool fits(std::uint64_t v, const Policy& policy) const {
    const auto said = [v](const std::map<std::uint64_t, int>& of) {
      return of.contains(v) ? of.at(v) : 0;
    };
    return (!policy.needs_approval || said(approved) == 1) &&
           (!policy.needs_audit || said(audited) == 1) && said(approved) != -1;
  }
  std::optional<std::uint64_t> newest(const Policy& policy) const {
    for (std::uint64_t v = versions; v > 0; --v) {
      if (fits(v, policy)) return v;
    }
    return std::nullopt;
  }
};

TEST_F(DecisionsTest, AnySequenceEndsWhereItsLogSays) {
  for (std::uint32_t seed = 0; seed < 12; ++seed) {
    std::mt19937 random(seed);
    std::filesystem::remove_all(path());
    Store::create(path());
    const std::string needs =
        std::vector<std::string>{"approval", "audit", "approval,audit"}[seed % 3];
    set_policy(needs);
    Model model;
    for (int step = 0; step < 25; ++step) {
      const std::uint64_t version = model.versions > 0 ? 1 + random() % model.versions : 0;
      switch (version == 0 ? 0 : random() % 4) {
        case 0:
          ++model.versions;
          ASSERT_EQ(add_version(path(), static_cast<std::uint32_t>(model.versions)),
                    model.versions);
          break;
        case 1:
          decide(version, true);
          model.approved[version] = 1;
          std::erase(model.order, version);
          model.order.push_back(version);
          break;
        case 2:
          decide(version, false);
          model.approved[version] = -1;
          break;
        default:
          model.audited[version] = random() % 3 == 0 ? -1 : 1;
          audit(version, model.audited[version] == 1);
      }
      ASSERT_EQ(tag_of(store(), "approved"), model.tag()) << "seed " << seed << " step " << step;
      ASSERT_EQ(tag_of(store(), "latest"), model.newest(policy_of(needs)))
          << "seed " << seed << " step " << step << " needs " << needs;
      ASSERT_TRUE(tags_behind(store()).empty());
    }
    ASSERT_TRUE(store().verify({}).empty());
  }
}

/// Stands for a process that ends before its n-th step on disk.
class Ends final : public FileObserver {
 public:
  explicit Ends(int at) : at_(at) {}
  void before(const FileStep& step) override {
    if (++steps_ >= at_) throw IoError(step.path + ": ended here");
  }
  bool reached() const { return steps_ >= at_; }

 private:
  int at_, steps_ = 0;
};

using Gates = std::vector<std::pair<std::string, std::string>>;
const std::string kLimits(32, 'a');
const std::string kLooseLimits(32, 'b');

TEST_F(DecisionsTest, AnAuditMustHoldTheGatesThatThePolicyNames) {
  add_version(path(), 1);
  add_version(path(), 2);
  Policy policy = policy_of("audit");
  set_policy_part(policy, "audit_gates=leak.positives,leak.future_mask");
  Store opened = store();
  write_policy(opened, policy);
  EXPECT_EQ(read_policy(store()), policy);
  const auto audited = [&](const Gates& gates, const std::string& limits) {
    Store now = store();
    record_audit(now, 1, true, {{}, gates, limits, std::string(32, '0')});
    const bool counts = tag_of(store(), "latest") == 1u;
    EXPECT_EQ(counts, lacks(read_policy(store()), version_states(store()).at(1)).empty());
    return counts;
  };
  const Gates both = {{"leak.positives", "pass"}, {"leak.future_mask", "warn"}, {"x.y", "pass"}};
  EXPECT_TRUE(audited(both, kLimits));
  EXPECT_FALSE(audited({{"leak.positives", "pass"}}, kLimits)) << "a weaker one, recorded later";
  EXPECT_EQ(lacks(policy, version_states(store()).at(1)),
            std::vector<std::string>{"gate leak.future_mask (not checked)"});
  EXPECT_TRUE(audited(both, kLooseLimits)) << "any limits will do yet";
  // As logs of before have it: which gates were checked is not known.
  store().record(R"({"event": "audit", "version": 1, "verdict": "pass", "metrics": {}})");
  EXPECT_EQ(lacks(policy, version_states(store()).at(1)).size(), 2u);
  EXPECT_FALSE(has_what_it_needs(policy, version_states(store()).at(1)));
  EXPECT_TRUE(has_what_it_needs(policy_of("audit"), version_states(store()).at(1)));
  // A policy that names limits takes audits that were judged by them alone.
  set_policy_part(policy, "audit_limits=" + kLimits);
  write_policy(opened, policy);
  EXPECT_EQ(read_policy(store()), policy);
  EXPECT_TRUE(audited(both, kLimits));
  EXPECT_FALSE(audited(both, kLooseLimits));
  EXPECT_TRUE(audited(both, kLimits));
  EXPECT_FALSE(audited(both, "")) << "limits that are not recorded";
  EXPECT_TRUE(audited(both, kLimits));
  // A verdict of fail is one whatever the gates say.
  record_audit(opened, 1, false, {{}, both, kLimits, ""});
  EXPECT_EQ(lacks(policy, version_states(store()).at(1)),
            std::vector<std::string>{"an audit that passes"});
  EXPECT_TRUE(tags_behind(store()).empty());
}

TEST_F(DecisionsTest, AnAuditOfOtherInputsCountsForNothing) {
  add_version(path(), 1);
  add_version(path(), 2);
  Store opened = store();
  set_policy("audit");
  const Gates swapped = {{"inputs.unchanged", "warn"}, {"leak.positives", "pass"}};
  record_audit(opened, 1, true, {{}, swapped, kLimits, ""});
  EXPECT_EQ(lacks(policy_of("audit"), version_states(store()).at(1)),
            std::vector<std::string>{"an audit of the inputs that the version records"});
  EXPECT_EQ(tag_of(store(), "latest"), 2u);
  EXPECT_TRUE(lacks(policy_of("approval"), version_states(store()).at(1)).size() == 1);
  record_audit(opened, 1, true, {{}, {{"inputs.unchanged", "pass"}}, kLimits, ""});
  EXPECT_EQ(tag_of(store(), "latest"), 1u);
  record_audit(opened, 1, true, {{}, {{"inputs.unchanged", "fail"}}, kLimits, ""});
  EXPECT_EQ(tag_of(store(), "latest"), std::nullopt) << "the newest audit counts";
}

TEST_F(DecisionsTest, AnySequenceOfAuditsEndsWhereTheNewestSays) {
  const std::vector<std::string> ids = {"leak.positives", "leak.time", "fill.slots"};
  for (std::uint32_t seed = 0; seed < 6; ++seed) {
    std::mt19937 random(seed);
    std::filesystem::remove_all(path());
    Store::create(path());
    Store opened = store();
    Policy policy = policy_of("audit");
    std::vector<std::string> wanted;
    for (const std::string& id : ids) {
      if (random() % 2 == 0) wanted.push_back(id);
    }
    policy.audit_gates = wanted;
    write_policy(opened, policy);
    std::map<std::uint64_t, bool> counts;  // by version: its newest audit holds all
    for (std::uint32_t version = 1; version <= 3; ++version) add_version(path(), version);
    for (int step = 0; step < 20; ++step) {
      const std::uint64_t version = 1 + random() % 3;
      Gates gates;
      std::size_t held = 0;
      bool passed = true;
      for (const std::string& id : ids) {
        const auto status = random() % 5;
        if (status == 0) continue;  // not checked
        gates.emplace_back(id, status == 1 ? "fail" : status == 2 ? "warn" : "pass");
        passed = passed && status != 1;
        const bool named = std::find(wanted.begin(), wanted.end(), id) != wanted.end();
        held += named && status != 1 ? 1 : 0;
      }
      record_audit(opened, version, passed, {{}, gates, "", ""});
      counts[version] = passed && held == wanted.size();
      std::optional<std::uint64_t> newest;
      for (const auto& [number, good] : counts) {
        if (good) newest = number;
      }
      if (newest || counts.contains(3)) {  // before, latest is of before any audit
        ASSERT_EQ(tag_of(store(), "latest"), newest) << "seed " << seed << " step " << step;
      }
    }
  }
}

TEST_F(DecisionsTest, AnEndBetweenTwoStepsIsMadeGoodByTheNextDecision) {
  int ends = 0, behind = 0;
  for (int at = 1;; ++at) {
    std::filesystem::remove_all(path());
    for (std::uint32_t seed = 1; seed <= 2; ++seed) add_version(path(), seed);
    set_policy("approval");
    decide(1, true);
    Ends observer(at);
    observe_files(&observer);
    bool ended = false;
    try {
      decide(2, true);
    } catch (const IoError&) {
      ended = true;
    }
    observe_files(nullptr);
    if (!ended) break;
    ++ends;
    ASSERT_TRUE(store().verify({}).empty()) << "step " << at;
    behind += tags_behind(store()).empty() ? 0 : 1;
    const auto states = version_states(store());
    const bool logged = states.contains(2) && states.at(2).decision.has_value();
    if (!logged) {
      EXPECT_EQ(tag_of(store(), "approved"), 1u) << "step " << at;
    }
    audit(1, true);  // any decision
    EXPECT_EQ(tag_of(store(), "approved"), logged ? 2u : 1u) << "step " << at;
    EXPECT_EQ(tag_of(store(), "latest"), logged ? 2u : 1u) << "step " << at;
    EXPECT_TRUE(tags_behind(store()).empty());
  }
  EXPECT_GT(ends, 8);
  EXPECT_GT(behind, 2) << "some ends leave tags behind the log, and it is said";
}

TEST_F(DecisionsTest, ALogThatWasChangedIsRefused) {
  add_version(path(), 1);
  decide(1, false);
  decide(1, true);
  Store opened = store();
  record_kpis(opened, 1, {{"recall@20", 0.222}});
  const std::string log = read_bytes(path() + "/log");
  const std::size_t at = log.find("\"reject\"");
  ASSERT_NE(at, std::string::npos);
  std::string forged = log;
  forged.replace(at, 8, "\"accept\"");
  std::ofstream(path() + "/log", std::ios::binary) << forged;
  EXPECT_THROW(version_states(store()), InputError);
  EXPECT_THROW(decide(1, true), InputError);
  EXPECT_THROW(set_policy("approval"), InputError);
  EXPECT_THROW(record_kpis(opened, 1, {{"recall@20", 0.5}}), InputError);
  EXPECT_EQ(read_bytes(path() + "/log"), forged) << "nothing was added";
  ASSERT_FALSE(store().verify({}).empty());
  EXPECT_NE(store().verify({}).front().find("log: line"), std::string::npos);
  // Lines that are taken off its end leave a tag that the log does not know.
  const std::size_t approval = log.find("\"approve\"");
  const std::size_t line = log.rfind('\n', approval) + 1;
  std::ofstream(path() + "/log", std::ios::binary | std::ios::trunc) << log.substr(0, line);
  ASSERT_EQ(tags_behind(store()).size(), 1u);
  EXPECT_NE(tags_behind(store()).front().find("by the log it is none"), std::string::npos);
}

TEST_F(DecisionsTest, ThePolicysFileIsReadStrictly) {
  add_version(path(), 1);
  const auto refuses = [&](const std::string& text, const std::string& words) {
    std::ofstream(path() + "/policy.toml") << text;
    testing::expect_error<InputError>([&] { read_policy(store()); }, {"policy.toml:", words});
  };
  refuses("latest_needs = [\"aproval\"]\n", "aproval");
  refuses("latest_needs = \"approval\"\n", "must be a list");
  refuses("latest_needs = [1]\n", "1");
  refuses("newest_needs = [\"audit\"]\n", "there is no key 'newest_needs'");
  refuses("latest_needs = [\n", "policy.toml:");
  refuses("latest_needs = [\"audit\"]\naudit_gates = \"leak.time\"\n", "must be a list");
  refuses("latest_needs = [\"audit\"]\naudit_gates = [\"leak\"]\n", "policy.toml:2: audit_gates");
  refuses("latest_needs = [\"audit\"]\naudit_gates = [\"a.b\", \"a.b\"]\n", "twice");
  refuses("latest_needs = [\"audit\"]\naudit_gates = [1]\n", "holds 1");
  refuses("latest_needs = [\"audit\"]\naudit_limits = \"default\"\n", "no hash of limits");
  refuses("latest_needs = [\"audit\"]\naudit_limits = 3\n", "text of 32 digits");
  refuses("latest_needs = [\"approval\"]\naudit_gates = [\"a.b\"]\n", "add audit to latest_needs");
  refuses("audit_limits = \"" + kLimits + "\"\n", "add audit to latest_needs");
  // A run ends before its version is there, and nothing is lost: once the file is right it goes on.
  EXPECT_THROW(add_version(path(), 2), InputError);
  EXPECT_EQ(store().versions().size(), 1u);
  std::ofstream(path() + "/policy.toml") << "# by hand\nlatest_needs = [ 'audit' ]\n";
  EXPECT_EQ(read_policy(store()), policy_of("audit"));
  EXPECT_EQ(add_version(path(), 2), 2u);
  EXPECT_EQ(tag_of(store(), "latest"), 1u);
}

TEST_F(DecisionsTest, PartsOfAPolicyAreSetOneByOne) {
  Policy policy;
  for (const char* setting : {"audit_gates=leak.time,fill.slots", "latest_needs=audit"})
    set_policy_part(policy, setting);
  EXPECT_EQ(policy.audit_gates, (std::vector<std::string>{"leak.time", "fill.slots"}));
  EXPECT_EQ(words_of(policy), "audit (leak.time, fill.slots)");
  set_policy_part(policy, "audit_limits=" + kLimits);
  set_policy_part(policy, "latest_needs=approval,audit");
  EXPECT_EQ(words_of(policy), "approval, audit (leak.time, fill.slots; limits " + kLimits + ")");
  for (const char* wrong :
       {"audit_gates=leak", "audit_gates=leak.time,", "audit_gates=Leak.time", "audit_gates=.x",
        "audit_gates=a.b,a.b", "audit_limits=xyz", "audit_gates", "gates=a.b", "latest_needs=luck"})
    EXPECT_THROW(set_policy_part(policy, wrong), ConfigError) << wrong;
  add_version(path(), 1);
  Store opened = store();
  set_policy_part(policy, "latest_needs=nothing");
  EXPECT_THROW(write_policy(opened, policy), ConfigError) << "gates of an audit that none needs";
  set_policy_part(policy, "audit_gates=nothing");
  EXPECT_THROW(write_policy(opened, policy), ConfigError);
  set_policy_part(policy, "audit_limits=");
  EXPECT_EQ(policy, Policy{});
  write_policy(opened, policy);
  EXPECT_EQ(read_policy(store()), Policy{});
}

TEST_F(DecisionsTest, FeedbackIsALineOfTheLogAndMovesNothing) {
  add_version(path(), 1);
  Store opened = store();
  record_model_feedback(opened, 1, {"aa", "bb", 3, 2, 11});
  record_model_feedback(opened, 1, {"ab", "", 3, 0, 12});
  const VersionState state = version_states(opened).at(1);
  EXPECT_FALSE(state.decision.has_value() || state.audit_passed.has_value());
  ASSERT_TRUE(state.model_feedback.has_value());
  EXPECT_EQ(state.model_feedback->outputs_hash, "ab") << "the newest";
  EXPECT_EQ(state.model_feedback->recipe_hash, "");
  EXPECT_EQ(state.model_feedback->segments, 3u);
  EXPECT_EQ(state.model_feedback->changed, 0u);
  EXPECT_EQ(state.model_feedback->negatives, 12u);
  EXPECT_NE(opened.events().back().find("\"recipe_xxh3_128\":null"), std::string::npos);
  EXPECT_EQ(tag_of(opened, "latest"), 1u);
  EXPECT_THROW(record_model_feedback(opened, 2, {}), InputError);
  EXPECT_TRUE(opened.verify({}).empty());
}

TEST_F(DecisionsTest, FiguresAreKeptByNameAndTheNewestCounts) {
  add_version(path(), 1);
  Store opened = store();
  record_kpis(opened, 1, {parse_kpi("recall@20=0.222"), parse_kpi("loss/train=-1.5e-3")});
  record_kpis(opened, 1, {parse_kpi("recall@20=0.25")});
  const auto states = version_states(opened);
  ASSERT_EQ(states.at(1).kpis.size(), 2u);
  EXPECT_EQ(states.at(1).kpis[0], (std::pair<std::string, double>("recall@20", 0.25)));
  EXPECT_EQ(states.at(1).kpis[1], (std::pair<std::string, double>("loss/train", -0.0015)));
  EXPECT_FALSE(states.at(1).decision.has_value());
  for (const char* wrong :
       {"recall@20", "=1", "recall=", "recall=0.2x", "recall=nan", "recall=inf", "recall=1e999",
        "re call=1", "recall\n=1", "\"=1", "@20=1", "recall= 1", "recall=0x10"})
    EXPECT_THROW(parse_kpi(wrong), ConfigError) << wrong;
  EXPECT_THROW(parse_kpi(std::string(65, 'a') + "=1"), ConfigError);
  EXPECT_THROW(record_kpis(opened, 2, {{"a", 1}}), InputError);
}

TEST_F(DecisionsTest, WhoDecidesMustSaySoAndWhy) {
  add_version(path(), 1);
  Store opened = store();
  EXPECT_THROW(record_decision(opened, 1, true, "", "why"), ConfigError);
  EXPECT_THROW(record_decision(opened, 1, true, "ada", "  "), ConfigError);
  EXPECT_THROW(record_decision(opened, 1, true, "ada\x1b[2J", "why"), ConfigError);
  EXPECT_THROW(record_decision(opened, 1, true, "ada", std::string(1001, 'x')), ConfigError);
  EXPECT_THROW(record_decision(opened, 2, true, "ada", "why"), InputError);
  EXPECT_TRUE(version_states(opened).empty());
  EXPECT_THROW(check_free_tag(opened, "approved"), ConfigError);
  EXPECT_NO_THROW(check_free_tag(opened, "latest"));
  write_policy(opened, policy_of("audit"));
  EXPECT_THROW(check_free_tag(opened, "latest"), ConfigError);
}

}  // namespace
}  // namespace quarry
