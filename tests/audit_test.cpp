// quarry audit finds planted defects: for each gate a set with the defect fails or warns there (and
// where that cannot be helped), and the clean set passes.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "host/data/tables.h"
#include "kernels/core/exact_score.h"
#include "kernels/core/ids.h"
#include "tests/support/audit_world.h"

namespace quarry {
namespace {

using namespace test;
using Gates = std::set<std::string>;

/// A clean set of a shop, with what is needed to plant things in it.
class AuditTest : public AuditWorldTest {
 protected:
  void SetUp() override {
    AuditWorldTest::SetUp();
    mine_clean_set();
    load_tables();
  }

  Args held_out(const Args& more = {}) const {
    Args args = {"--held-out", shop("heldout.csv")};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  /// Writes the set with the edit as `edited` and audits it, picks' probabilities left out: what is
  /// planted has those of another item (audit_odds_test is about them).
  Audited with(const std::function<void(EditableSet&)>& edit, const Args& more = {}) {
    EditableSet set(path("set"));
    edit(set);
    fs::remove_all(path("edited"));
    set.write(path("edited"));
    write_file("gates.toml", "[fill.logq]\nseverity = \"off\"\n[fill.kappa]\nseverity = \"off\"\n");
    Args args = {"--gates", path("gates.toml")};
    args.insert(args.end(), more.begin(), more.end());
    return audit("edited", args);
  }

  float score(std::uint32_t user, std::uint32_t item) const {
    return exact_dot_portable(vector(users_, user), vector(items_, item), kShopDim);
  }
  static int class_of(const Exposure& e, std::uint32_t user, std::uint32_t item) {
    for (auto i = e.offsets[user]; i < e.offsets[user + 1]; ++i) {
      if (e.items[i] == item) return e.classes[i];
    }
    return 0;
  }
  std::uint32_t code(const char* column, std::uint32_t item) const {
    return catalogue_.find(column)->codes[item];
  }
  bool is_group_mate(const EditableSet& s, std::uint64_t row, std::uint32_t item) const {
    for (std::uint32_t other = 0; other < kShopItems; ++other) {
      const bool positive = class_of(exposure_, s.user[row], other) == 1;
      if (positive && code("group", other) == code("group", item)) return true;
    }
    return false;
  }
  bool is_near_positive(const EditableSet& s, std::uint64_t row, std::uint32_t item) const {
    for (auto p = s.offsets[row]; p < s.offsets[row + 1]; ++p) {
      if (cosine(item, s.positives[p]) > 0.9799) return true;
    }
    return false;
  }
  bool is_there(const EditableSet& s, std::uint64_t row, std::uint32_t item) const {
    return catalogue_.first_seen[item] <= s.time[row] && catalogue_.retired[item] > s.time[row];
  }
  bool in_row(const EditableSet& s, std::uint64_t row, std::uint32_t item) const {
    for (std::uint32_t j = 0; j < s.batch.k; ++j) {
      if (s.batch.item[s.slot(row, j)] == item) return true;
    }
    return false;
  }
  /// Allowed in every way but the one that a test is about.
  bool is_clean(const EditableSet& s, std::uint64_t row, std::uint32_t item) const {
    return class_of(exposure_, s.user[row], item) == 0 && !is_group_mate(s, row, item) &&
           !is_near_positive(s, row, item) && is_there(s, row, item) && !in_row(s, row, item) &&
           !breaks_cap(s, row, item);
  }
  bool breaks_cap(const EditableSet& s, std::uint64_t row, std::uint32_t item) const {
    int same = 0;
    for (std::uint32_t j = 0; j < s.batch.count[row]; ++j)
      same += code("seller", s.batch.item[s.slot(row, j)]) == code("seller", item);
    return same >= 4;
  }
  /// The stratum of an item, by one of its slots somewhere; -1: it has none.
  static int stratum_of(const EditableSet& s, std::uint32_t item) {
    for (std::size_t i = 0; i < s.batch.item.size(); ++i) {
      if (s.batch.item[i] == item) return static_cast<int>(s.batch.stratum[i]);
    }
    return -1;
  }
  /// Puts the item with its score into the first slot of the branch and of the item's stratum.
  bool put(EditableSet& s, std::uint64_t row, std::uint32_t item, std::uint8_t branch) const {
    const int stratum = stratum_of(s, item);
    for (std::uint32_t j = 0; j < s.batch.count[row]; ++j) {
      const std::size_t at = s.slot(row, j);
      if (s.batch.branch[at] != branch || static_cast<int>(s.batch.stratum[at]) != stratum)
        continue;
      s.batch.item[at] = item;
      s.batch.score[at] = score(s.user[row], item);
      return true;
    }
    return false;
  }
  /// Puts an item that `fits` into a random slot of up to `most` rows; how many it got.
  int plant(EditableSet& s, int most, std::uint8_t branch,
            const std::function<bool(std::uint64_t, std::uint32_t)>& fits) const {
    int planted = 0;
    for (std::uint64_t row = 0; row < s.rows() && planted < most; ++row) {
      for (std::uint32_t item = 0; item < kShopItems; ++item) {
        if (!fits(row, item) || in_row(s, row, item) || !put(s, row, item, branch)) continue;
        ++planted;
        break;
      }
    }
    return planted;
  }

  /// A held-out positive of the user of which nothing was known before.
  std::uint32_t first_fresh(std::uint32_t user) const {
    for (auto i = later_.offsets[user]; i < later_.offsets[user + 1]; ++i) {
      if (later_.classes[i] == 1 && class_of(exposure_, user, later_.items[i]) == 0)
        return later_.items[i];
    }
    ADD_FAILURE() << "user " << user << " has none";
    return 0;
  }
};

TEST_F(AuditTest, TheCleanSetPassesEveryGate) {
  const Audited a = audit("set", held_out());
  EXPECT_EQ(a.raised, Gates{}) << a.err;
  EXPECT_EQ(a.status("leak.future_mask"), "pass") << a.err;
  EXPECT_EQ(a.json["format"], "quarry.audit");
  EXPECT_NE(a.err.find("PASS: "), std::string::npos);
  EXPECT_EQ(audit("set", held_out({"--threads", "2"})).out, a.out) << "threads change bytes";
  const Result words = run({"audit", path("set")});
  EXPECT_EQ(words.code, 0);
  EXPECT_EQ(words.out, "");
  EXPECT_NE(words.err.find("--held-out FILE makes it checkable"), std::string::npos);
}

TEST_F(AuditTest, EveryKindOfLeakFailsItsGate) {
  int planted = 0;
  const auto check =
      [&](const char* what, std::uint8_t branch, const Gates& expected,
          const std::function<bool(const EditableSet&, std::uint64_t, std::uint32_t)>& fits) {
        const Audited a = with([&](EditableSet& s) {
          planted = plant(s, 1, branch, [&](std::uint64_t r, std::uint32_t i) {
            return !breaks_cap(s, r, i) && fits(s, r, i);
          });
        });
        EXPECT_EQ(planted, 1) << what << ": nowhere to plant it";
        EXPECT_EQ(a.raised, expected) << what << "\n" << a.err;
      };
  const auto seen = [&](const EditableSet& s, std::uint64_t r, std::uint32_t i) {
    return class_of(exposure_, s.user[r], i);
  };
  // A positive is a mate of its own group.
  check("positive", 1, {"leak.positives", "leak.group"},
        [&](const EditableSet& s, std::uint64_t r, std::uint32_t i) {
          return seen(s, r, i) == 1 && !is_near_positive(s, r, i) && is_there(s, r, i);
        });
  check("ambiguous", 1, {"leak.exposed"},
        [&](const EditableSet& s, std::uint64_t r, std::uint32_t i) {
          return seen(s, r, i) == 4 && !is_group_mate(s, r, i) && !is_near_positive(s, r, i) &&
                 is_there(s, r, i);
        });
  check("group mate", 1, {"leak.group"},
        [&](const EditableSet& s, std::uint64_t r, std::uint32_t i) {
          return seen(s, r, i) == 0 && is_group_mate(s, r, i) && !is_near_positive(s, r, i) &&
                 is_there(s, r, i);
        });
  check("near-duplicate", 1, {"leak.near_duplicate"},
        [&](const EditableSet& s, std::uint64_t r, std::uint32_t i) {
          return seen(s, r, i) == 0 && !is_group_mate(s, r, i) && is_near_positive(s, r, i) &&
                 cosine(i, s.positives[s.offsets[r]]) > 0.9801 && is_there(s, r, i);
        });
  check("retired", 1, {"leak.time"}, [&](const EditableSet& s, std::uint64_t r, std::uint32_t i) {
    return seen(s, r, i) == 0 && !is_group_mate(s, r, i) && !is_near_positive(s, r, i) &&
           catalogue_.retired[i] <= s.time[r];
  });
  check("not yet there", 1, {"leak.time"},
        [&](const EditableSet& s, std::uint64_t r, std::uint32_t i) {
          return seen(s, r, i) == 0 && !is_group_mate(s, r, i) && !is_near_positive(s, r, i) &&
                 catalogue_.first_seen[i] > s.time[r];
        });
  check("above its positive", 0, {"leak.filters", "hardness.margin"},
        [&](const EditableSet& s, std::uint64_t r, std::uint32_t i) {
          return is_clean(s, r, i) && score(s.user[r], i) > s.batch.positive_min[r];
        });
  const Audited window = with([](EditableSet& s) {
    for (std::size_t i = 0; i < s.batch.item.size(); ++i) {
      if (s.batch.branch[i] != 0) continue;
      s.batch.raw_rank[i] = 400;
      s.batch.survivor_rank[i] = 301;
      return;
    }
  });
  EXPECT_EQ(window.raised, Gates{"leak.filters"});
}

TEST_F(AuditTest, DamagedColumnsFailTheirGates) {
  const auto check = [&](const char* what, const Gates& expected,
                         const std::function<void(EditableSet&)>& edit) {
    const Audited a = with(edit);
    EXPECT_EQ(a.raised, expected) << what << "\n" << a.err;
  };
  const auto random_slot = [](const EditableSet& s) {
    std::size_t at = 0;
    while (s.batch.branch[at] != 1) ++at;
    return at;
  };
  check("counter", {"fill.accounting"}, [](EditableSet& s) {
    s.run["branches"][1]["picked"] = s.run["branches"][1]["picked"].get<std::uint64_t>() + 1;
  });
  check("missing counter", {"fill.accounting"}, [](EditableSet& s) {
    s.run["fill"]["missing"]["cap"] = s.run["fill"]["missing"]["cap"].get<std::uint64_t>() + 1;
  });
  check("filled slot of no branch", {"fill.slot_order", "fill.accounting"},
        [](EditableSet& s) { s.batch.branch[0] = 0xFF; });
  check("outside the table", {"fill.item_range"},
        [&](EditableSet& s) { s.batch.item[random_slot(s)] = kShopItems + 5; });
  check("no user", {"fill.users"}, [](EditableSet& s) { s.user[3] = kNoItem; });
  check("repeated key", {"fill.row_keys"}, [&](EditableSet& s) { s.key[11] = s.key[10]; });
  const auto ranked_slot = [](const EditableSet& s) {
    std::size_t at = 0;
    while (s.batch.branch[at] != 0 || s.batch.raw_rank[at] > 290) ++at;
    return at;
  };
  check("survivor before it was looked at", {"fill.ranks"}, [&](EditableSet& s) {
    const std::size_t at = ranked_slot(s);
    s.batch.survivor_rank[at] = s.batch.raw_rank[at] + 1;
  });
  check("rank beyond the items", {"fill.ranks"},
        [&](EditableSet& s) { s.batch.raw_rank[ranked_slot(s)] = kShopItems + 1; });
  check("infinite score", {"fill.finite_scores", "fill.exact_scores"},
        [&](EditableSet& s) { s.batch.score[random_slot(s)] = INFINITY; });
  check("one bit of a score", {"fill.exact_scores"}, [&](EditableSet& s) {
    float& score = s.batch.score[random_slot(s)];
    score = std::nextafter(score, 0.0f);
  });
  check("least positive score", {"fill.exact_scores"}, [](EditableSet& s) {
    s.batch.positive_min[3] = std::nextafter(s.batch.positive_min[3], 9.0f);
  });
  check("not certified", {"search.certified"}, [](EditableSet& s) { s.batch.certified[7] = 0; });
  check("repeat", {"fill.repeats"}, [&](EditableSet& s) {
    for (std::uint64_t r = 0; r < s.rows(); ++r) {
      for (std::uint32_t j = 1; j < s.batch.count[r]; ++j) {
        const std::size_t at = s.slot(r, j), to = s.slot(r, 0);
        if (s.batch.branch[at] != s.batch.branch[to] ||
            s.batch.stratum[at] != s.batch.stratum[to] || breaks_cap(s, r, s.batch.item[at]))
          continue;
        s.batch.item[to] = s.batch.item[at];
        s.batch.score[to] = s.batch.score[at];
        return;
      }
    }
    FAIL() << "no row to plant a repeat in";
  });
  // The counters of strata come from the slots too.
  check("stratum", {"strata.items", "fill.accounting"}, [&](EditableSet& s) {
    const std::size_t at = random_slot(s);
    s.batch.stratum[at] = (s.batch.stratum[at] + 1) % 3;
  });
}

TEST_F(AuditTest, ARecipeThatTheSetDoesNotFollowFailsItsGates) {
  const auto with_recipe = [&](const std::string& from, const std::string& to) {
    return with([&](EditableSet& s) {
      std::string text = s.run["recipe"]["text"];
      const auto at = text.find(from);
      ASSERT_NE(at, std::string::npos);
      s.run["recipe"]["text"] = text.replace(at, from.size(), to);
    });
  };
  EXPECT_EQ(with_recipe("per_row = 4", "per_row = 1").raised, Gates{"strata.caps"});
  EXPECT_EQ(with_recipe("head = 0.4, torso = 0.35", "head = 0.55, torso = 0.2").raised,
            (Gates{"strata.quota", "strata.filled"}));
  const Audited shares = with([](EditableSet& s) {
    std::string text = s.run["recipe"]["text"];
    text.replace(text.find("share = 0.5"), 11, "share = 0.6");
    s.run["recipe"]["text"] = text.replace(text.find("share = 0.5"), 11, "share = 0.4");
  });
  EXPECT_EQ(shares.raised, Gates{"fill.branches"}) << shares.err;
  EXPECT_EQ(with_recipe("ratio = 0.95", "ratio = 0.6").raised, Gates{"leak.filters"});
}

TEST_F(AuditTest, MasksThatKnewTheFutureFail) {
  // By columns: every held-out positive gives way to an item beside it.
  int replaced = 0;
  const Audited masked = with(
      [&](EditableSet& s) {
        for (std::uint64_t r = 0; r < s.rows(); ++r) {
          for (std::uint32_t j = 0; j < s.batch.count[r]; ++j) {
            const std::size_t at = s.slot(r, j);
            if (class_of(later_, s.user[r], s.batch.item[at]) != 1) continue;
            float best = INFINITY;
            std::uint32_t beside = kNoItem;
            for (std::uint32_t i = 0; i < kShopItems; ++i) {
              const float off = std::fabs(score(s.user[r], i) - s.batch.score[at]);
              const bool margin =
                  s.batch.branch[at] != 0 || score(s.user[r], i) < 0.95f * s.batch.positive_min[r];
              if (off < best && margin && is_clean(s, r, i) &&
                  class_of(later_, s.user[r], i) != 1 &&
                  stratum_of(s, i) == static_cast<int>(s.batch.stratum[at])) {
                best = off;
                beside = i;
              }
            }
            if (beside == kNoItem) continue;
            s.batch.item[at] = beside;
            s.batch.score[at] = score(s.user[r], beside);
            ++replaced;
          }
        }
      },
      held_out());
  EXPECT_GT(replaced, 50);
  EXPECT_EQ(masked.raised, Gates{"leak.future_mask"}) << masked.err;
  std::printf("%d held-out negatives masked; %s\n", replaced,
              masked.gate("leak.future_mask")["why"].get<std::string>().c_str());
}

TEST_F(AuditTest, SetsMinedWithHeldOutEventsFail) {
  std::string later = read_file("shop/heldout.csv");
  later.erase(0, later.find('\n') + 1);
  write_file("shop/all.csv", read_file("shop/events.csv") + later);
  // Nothing tells the miner where to stop: masks and rows know the future.
  Args args = mine_shop("leaky", "");
  std::replace(args.begin(), args.end(), shop("events.csv"), shop("all.csv"));
  ASSERT_EQ(run(args).code, 0);
  const Audited a = audit("leaky", held_out());
  for (const char* gate : {"leak.held_out_events", "leak.held_out_rows", "leak.future_mask"})
    EXPECT_EQ(a.status(gate), "fail") << gate << a.err;
  // Honest rows, masks that know more: told even where the honest events are put in their place.
  std::string rows = "user,item,time\n";
  for (std::uint32_t u = 0; u < kShopUsers; ++u) {
    for (auto i = exposure_.offsets[u]; i < exposure_.offsets[u + 1]; ++i) {
      if (exposure_.classes[i] == 1)
        rows += std::to_string(u) + "," + std::to_string(exposure_.items[i]) + "," +
                std::to_string(exposure_.positive_time[i]) + "\n";
    }
  }
  write_file("rows.csv", rows);
  for (const char* events : {"all.csv", "events.csv"}) {
    Args mine = mine_shop(std::string("by-") + events, "", {"--rows", path("rows.csv")});
    std::replace(mine.begin(), mine.end(), shop("events.csv"), shop(events));
    ASSERT_EQ(run(mine).code, 0);
  }
  const Audited mask = audit("by-all.csv", held_out());
  EXPECT_EQ(mask.failed, (Gates{"leak.held_out_events", "leak.future_mask"})) << mask.err;
  const Audited swapped = audit("by-all.csv", held_out({"--events", shop("events.csv")}));
  EXPECT_EQ(swapped.status("leak.future_mask"), "fail") << swapped.err;
  EXPECT_EQ(swapped.status("inputs.unchanged"), "warn");
  EXPECT_EQ(audit("by-events.csv", held_out()).failed, Gates{});
  // A row that trains on what is to be predicted.
  const std::string test = "0," + std::to_string(first_fresh(0)) + "," + as_of_ + "\n";
  write_file("rows.csv", rows + test);
  ASSERT_EQ(run(mine_shop("trained", as_of_, {"--rows", path("rows.csv")})).code, 0);
  EXPECT_EQ(audit("trained", held_out()).failed, Gates{"leak.held_out_rows"});
}

/// A line of the shop's events with the time cut down to a multiple of `unit`.
std::string coarser(const std::string& csv, std::int64_t unit) {
  std::istringstream lines(csv);
  std::string out, line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    const auto a = line.find(',', line.find(',') + 1) + 1, b = line.find(',', a);
    const std::int64_t time = std::stoll(line.substr(a, b - a));
    out += line.substr(0, a) + std::to_string(time / unit * unit) + line.substr(b) + "\n";
  }
  return out;
}

TEST_F(AuditTest, HeldOutEventsWithCoarserTimesAreFound) {
  constexpr std::int64_t kDay = 86400;
  write_file("shop/all.csv",
             read_file("shop/events.csv") + coarser(read_file("shop/heldout.csv"), kDay));
  Args args = mine_shop("coarse", "");
  std::replace(args.begin(), args.end(), shop("events.csv"), shop("all.csv"));
  ASSERT_EQ(run(args).code, 0);
  const Audited a = audit("coarse", held_out());
  for (const char* gate : {"leak.held_out_events", "leak.held_out_rows", "leak.future_mask"})
    EXPECT_EQ(a.status(gate), "fail") << gate << a.err;
  // So coarse that everything lies before the split: nothing can be compared, and that is said.
  write_file("shop/all.csv",
             read_file("shop/events.csv") + coarser(read_file("shop/heldout.csv"), 1000 * kDay));
  fs::remove_all(path("coarse"));
  ASSERT_EQ(run(args).code, 0);
  const Audited years = audit("coarse", held_out());
  EXPECT_EQ(years.status("leak.future_mask"), "warn") << years.err;
  EXPECT_NE(years.err.find("More than half"), std::string::npos) << years.err;
}

TEST_F(AuditTest, AColumnFilterThatKnowsTheFutureWarns) {
  std::string knows = "user,item,score\n", honest = knows;
  for (std::uint32_t u = 0; u < kShopUsers; ++u) {
    for (auto i = later_.offsets[u]; i < later_.offsets[u + 1]; ++i)
      knows += std::to_string(u) + "," + std::to_string(later_.items[i]) + ",1\n";
    for (std::uint32_t i = u % 10; i < kShopItems; i += 10)
      honest += std::to_string(u) + "," + std::to_string(i) + ",1\n";
  }
  write_file("knows.csv", knows);
  write_file("honest.csv", honest);
  std::string recipe = kAuditRecipe;
  const std::string time = "  { kind = \"time\" },\n";
  recipe.insert(recipe.find(time) + time.size(),
                "  { kind = \"column\", table = \"taught\", max = 0.5 },\n");
  write_file("audited.toml", recipe);
  for (const char* file : {"knows", "honest"}) {
    const Result mined = run(mine_shop(
        file, as_of_, {"--pairs", std::string("taught=") + path(std::string(file) + ".csv")}));
    ASSERT_EQ(mined.code, 0) << mined.err;
  }
  const Audited a = audit("knows", held_out());
  EXPECT_EQ(a.status("leak.future_mask"), "warn") << a.err;
  EXPECT_NE(a.err.find("column filter on 'taught'"), std::string::npos) << a.err;
  const Audited b = audit("honest", held_out());
  EXPECT_EQ(b.status("leak.future_mask"), "pass") << b.err;
  EXPECT_NE(b.err.find("column filter on 'taught'"), std::string::npos) << b.err;
}

}  // namespace
}  // namespace quarry
