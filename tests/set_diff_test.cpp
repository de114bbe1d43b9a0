// Two sets compared, against maps and loops over the rows that they were made of; diffs of texts,
// applied by hand.
#include "host/store/set_diff.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <random>
#include <set>

#include "host/store/text_diff.h"
#include "kernels/core/ids.h"
#include "tests/support/files.h"
#include "tests/support/scale.h"

namespace quarry {
namespace {

/// Sets and stores are synced file by file; in memory that takes no time.
[[maybe_unused]] const bool kInMemory =
    ::access("/dev/shm", W_OK) == 0 && ::setenv("TMPDIR", "/dev/shm", 0) == 0;

struct Slot {
  std::uint32_t item = 0;
  float score = 0;
  std::string branch, stratum;
};
struct TestRow {
  std::uint64_t key = 0;
  std::uint32_t user = 0;
  std::vector<Slot> slots;
  std::string short_stratum;  ///< of the empty slots
};
struct TestSet {
  std::uint32_t k = 0;
  std::vector<std::string> branches, strata;
  std::vector<TestRow> rows;
};

std::uint32_t place_of(const std::vector<std::string>& names, const std::string& name) {
  return static_cast<std::uint32_t>(std::find(names.begin(), names.end(), name) - names.begin());
}

void write_set(const std::string& path, const TestSet& from, std::uint64_t rows_per_shard) {
  SetSchema schema;
  schema.k = from.k;
  schema.branches = from.branches;
  schema.strata = from.strata;
  schema.num_items = 40;
  NegativeBatch b;
  b.num_rows = static_cast<std::uint32_t>(from.rows.size());
  b.k = from.k;
  b.num_branches = static_cast<std::uint32_t>(from.branches.size());
  std::vector<std::uint64_t> keys;
  std::vector<std::uint32_t> users;
  for (const TestRow& row : from.rows) {
    keys.push_back(row.key);
    users.push_back(row.user);
    b.count.push_back(static_cast<std::uint16_t>(row.slots.size()));
    b.positive_min.push_back(5.0f);
    b.certified.push_back(1);
    b.kappa.insert(b.kappa.end(), b.num_branches, 0.25f);
    for (std::uint32_t j = 0; j < from.k; ++j) {
      const bool filled = j < row.slots.size();
      const Slot slot = filled ? row.slots[j] : Slot{kNoItem, NAN, "", row.short_stratum};
      b.item.push_back(slot.item);
      b.score.push_back(slot.score);
      b.branch.push_back(filled ? static_cast<std::uint8_t>(place_of(from.branches, slot.branch))
                                : 255);
      b.stratum.push_back(place_of(from.strata, slot.stratum));
      b.raw_rank.push_back(filled ? slot.item + 1 : 0);
      b.survivor_rank.push_back(filled ? slot.item + 1 : 0);
      b.logq.push_back(NAN);
      b.fill.push_back(filled ? 0 : 4);
    }
  }
  SetWriter writer(path, schema, rows_per_shard);
  writer.append(b, {keys.data(), users.data()});
  writer.finish("{}");
}

/// The answer by maps over the rows.
struct Expected {
  std::uint64_t common = 0, moved = 0, equal = 0, same = 0, reordered = 0, changed = 0;
  std::uint64_t kept = 0, dropped = 0, gained = 0, scored = 0;
  double overlap_sum = 0, change_sum = 0, largest = 0;
  std::vector<double> overlaps;
  std::map<std::string, std::vector<double>> branch_overlaps;
  std::map<std::uint32_t, std::pair<std::uint64_t, std::uint64_t>> items;
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> branches, strata;
};

double jaccard(std::multiset<std::uint32_t> a, std::multiset<std::uint32_t> b,
               std::uint64_t* both) {
  std::uint64_t kept = 0;
  const double all = static_cast<double>(a.size() + b.size());
  for (const std::uint32_t item : a) {
    const auto found = b.find(item);
    if (found == b.end()) continue;
    b.erase(found);
    ++kept;
  }
  if (both != nullptr) *both = kept;
  return all == 0 ? 1.0 : static_cast<double>(kept) / (all - static_cast<double>(kept));
}

std::multiset<std::uint32_t> items_of(const TestRow& row, const std::string& branch = "") {
  std::multiset<std::uint32_t> items;
  for (const Slot& slot : row.slots) {
    if (branch.empty() || slot.branch == branch) items.insert(slot.item);
  }
  return items;
}

bool equal_rows(const TestSet& a, const TestRow& x, const TestSet& b, const TestRow& y) {
  if (a.k != b.k || x.user != y.user || x.slots.size() != y.slots.size()) return false;
  if (std::set<std::string>(a.branches.begin(), a.branches.end()) !=
      std::set<std::string>(b.branches.begin(), b.branches.end()))
    return false;  // kappa is per branch
  for (std::size_t j = 0; j < x.slots.size(); ++j) {
    const Slot &p = x.slots[j], &q = y.slots[j];
    if (p.item != q.item || p.score != q.score || p.branch != q.branch || p.stratum != q.stratum)
      return false;
  }
  return x.slots.size() == a.k || x.short_stratum == y.short_stratum;
}

Expected expected_of(const TestSet& a, const TestSet& b) {
  Expected e;
  std::map<std::uint64_t, std::size_t> by_key;
  for (std::size_t r = 0; r < b.rows.size(); ++r) by_key[b.rows[r].key] = r;
  for (const TestRow& row : a.rows) {
    for (const Slot& slot : row.slots) {
      ++e.items[slot.item].first, ++e.branches[slot.branch].first, ++e.strata[slot.stratum].first;
    }
  }
  for (const TestRow& row : b.rows) {
    for (const Slot& slot : row.slots) {
      ++e.items[slot.item].second, ++e.branches[slot.branch].second;
      ++e.strata[slot.stratum].second;
    }
  }
  for (std::size_t r = 0; r < a.rows.size(); ++r) {
    const TestRow& x = a.rows[r];
    const auto found = by_key.find(x.key);
    if (found == by_key.end()) continue;
    const TestRow& y = b.rows[found->second];
    ++e.common;
    e.moved += found->second != r ? 1 : 0;
    std::uint64_t kept = 0;
    const double overlap = jaccard(items_of(x), items_of(y), &kept);
    e.overlaps.push_back(overlap);
    e.overlap_sum += overlap;
    e.kept += kept;
    e.dropped += x.slots.size() - kept;
    e.gained += y.slots.size() - kept;
    std::set<std::string> named;
    for (const Slot& slot : x.slots) named.insert(slot.branch);
    for (const Slot& slot : y.slots) named.insert(slot.branch);
    for (const std::string& name : named)
      e.branch_overlaps[name].push_back(jaccard(items_of(x, name), items_of(y, name), nullptr));
    for (const Slot& p : x.slots) {
      for (const Slot& q : y.slots) {
        if (p.item != q.item) continue;  // rows here have no repeats
        ++e.scored;
        const double change = std::fabs(double{q.score} - double{p.score});
        e.change_sum += change;
        e.largest = std::max(e.largest, change);
      }
    }
    const bool same_set = kept == x.slots.size() && kept == y.slots.size();
    bool in_order = same_set;
    for (std::size_t j = 0; j < x.slots.size() && in_order; ++j)
      in_order = x.slots[j].item == y.slots[j].item;
    if (equal_rows(a, x, b, y)) {
      ++e.equal;
    } else if (in_order) {
      ++e.same;
    } else if (same_set) {
      ++e.reordered;
    } else {
      ++e.changed;
    }
  }
  return e;
}

/// The least value that `tenths` tenths of them do not exceed.
double decile(std::vector<double> values, std::size_t tenths) {
  std::sort(values.begin(), values.end());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if ((i + 1) * 10 >= values.size() * tenths) return values[i];
  }
  return values.back();
}

std::vector<Slot> random_slots(std::mt19937& random, const TestSet& set) {
  std::vector<Slot> slots;
  const std::uint32_t count = static_cast<std::uint32_t>(random() % (set.k + 1));
  std::set<std::uint32_t> used;
  while (slots.size() < count) {
    // Items beyond the table, which grew since, too.
    const auto item = static_cast<std::uint32_t>(random() % 12 + (random() % 5 == 0 ? 36 : 0));
    if (!used.insert(item).second) continue;
    slots.push_back({item, static_cast<float>(random() % 8) / 4.0f,
                     set.branches[random() % set.branches.size()],
                     set.strata[random() % set.strata.size()]});
  }
  return slots;
}

TestSet random_set(std::mt19937& random) {
  TestSet set;
  set.k = 1 + static_cast<std::uint32_t>(random() % 6);
  set.branches = {"hard", "random"};
  set.strata = {"tail", "head"};
  const std::uint64_t rows = 1 + random() % 40;
  for (std::uint64_t r = 0; r < rows; ++r) {
    TestRow row;
    row.key = r * 0x9E3779B97F4A7C15u;
    row.user = static_cast<std::uint32_t>(r / 2);
    row.slots = random_slots(random, set);
    row.short_stratum = set.strata[random() % 2];
    set.rows.push_back(std::move(row));
  }
  return set;
}

/// A set that another run could have given: rows go, come, move and change in the ways that diff
/// tells apart.
TestSet changed_set(std::mt19937& random, const TestSet& from) {
  TestSet to = from;
  const auto chance = [&](std::uint32_t one_in) { return random() % one_in == 0; };
  if (chance(4)) to.k = 1 + static_cast<std::uint32_t>(random() % 6);
  if (chance(3)) std::swap(to.branches[0], to.branches[1]);
  if (chance(3)) std::swap(to.strata[0], to.strata[1]);
  if (chance(3)) to.branches.emplace_back("near");
  if (chance(5)) to.strata.emplace_back("body");
  for (TestRow& row : to.rows) {
    if (chance(3)) std::shuffle(row.slots.begin(), row.slots.end(), random);
    if (chance(4)) row.slots = random_slots(random, to);
    if (chance(6) && !row.slots.empty()) row.slots.front().score += 0.5f;
    if (chance(6) && !row.slots.empty()) row.slots.back().branch = to.branches.back();
    if (chance(9)) row.user += 100;
    if (chance(9)) row.short_stratum = to.strata[0];
    if (row.slots.size() > to.k) row.slots.resize(to.k);
  }
  if (chance(3)) std::shuffle(to.rows.begin(), to.rows.end(), random);
  while (chance(2) && to.rows.size() > 1)
    to.rows.erase(to.rows.begin() + static_cast<std::ptrdiff_t>(random() % to.rows.size()));
  for (std::uint64_t n = 0; chance(2); ++n)
    to.rows.push_back({900 + n, 7, random_slots(random, to), to.strata[0]});
  return to;
}

std::uint64_t slots_of(const std::vector<SlotCount>& counts, const std::string& name, bool of_a) {
  for (const SlotCount& count : counts) {
    if (count.name == name) return of_a ? count.a : count.b;
  }
  return 0;
}

void compare_with_loops(const TestSet& a, const TestSet& b, const SetDiff& d) {
  const Expected e = expected_of(a, b);
  EXPECT_EQ(d.common, e.common);
  EXPECT_EQ(d.only_a, a.rows.size() - e.common);
  EXPECT_EQ(d.only_b, b.rows.size() - e.common);
  EXPECT_EQ(d.moved, e.moved);
  EXPECT_EQ(d.equal, e.equal);
  EXPECT_EQ(d.same_negatives, e.same);
  EXPECT_EQ(d.reordered, e.reordered);
  EXPECT_EQ(d.changed, e.changed);
  EXPECT_EQ(d.scored, e.scored);
  EXPECT_DOUBLE_EQ(d.largest_change, e.largest);
  if (e.scored > 0) {
    EXPECT_NEAR(d.mean_change, e.change_sum / static_cast<double>(e.scored), 1e-12);
  }
  ASSERT_EQ(d.overlap.has_value(), e.common > 0);
  if (e.common > 0) {
    EXPECT_EQ(d.overlap->kept, e.kept);
    EXPECT_EQ(d.overlap->dropped, e.dropped);
    EXPECT_EQ(d.overlap->gained, e.gained);
    EXPECT_NEAR(d.overlap->mean, e.overlap_sum / static_cast<double>(e.common), 1e-12);
    for (std::size_t t = 1; t <= 9; ++t)
      EXPECT_DOUBLE_EQ(d.overlap->deciles[t - 1], decile(e.overlaps, t)) << t;
  }
  ASSERT_EQ(d.by_branch.size(), e.branch_overlaps.size());
  for (const auto& [name, overlap] : d.by_branch) {
    const std::vector<double>& wanted = e.branch_overlaps.at(name);
    double sum = 0;
    for (const double value : wanted) sum += value;
    EXPECT_EQ(overlap.rows, wanted.size()) << name;
    EXPECT_NEAR(overlap.mean, sum / static_cast<double>(wanted.size()), 1e-12) << name;
  }
  for (const auto& [name, counts] : e.branches) {
    EXPECT_EQ(slots_of(d.branches, name, true), counts.first) << name;
    EXPECT_EQ(slots_of(d.branches, name, false), counts.second) << name;
  }
  for (const auto& [name, counts] : e.strata) {
    EXPECT_EQ(slots_of(d.strata, name, true), counts.first) << name;
    EXPECT_EQ(slots_of(d.strata, name, false), counts.second) << name;
  }
  std::vector<std::pair<std::int64_t, std::uint32_t>>
      gains;  // negated, so that the smaller is first
  for (const auto& [item, counts] : e.items) {
    const auto gain =
        static_cast<std::int64_t>(counts.second) - static_cast<std::int64_t>(counts.first);
    if (gain > 0) gains.emplace_back(-gain, item);
  }
  std::sort(gains.begin(), gains.end());
  ASSERT_EQ(d.gained.size(), std::min<std::size_t>(gains.size(), 3));
  for (std::size_t i = 0; i < d.gained.size(); ++i) EXPECT_EQ(d.gained[i].item, gains[i].second);
}

TEST(SetDiff, IsWhatLoopsOverTheRowsSay) {
  const testing::TempDir folder;
  const int rounds = 60 * test::test_scale();
  int moved = 0, without_common = 0;
  for (int round = 0; round < rounds; ++round) {
    std::mt19937 random(static_cast<std::uint32_t>(round));
    const TestSet a = random_set(random);
    TestSet b = changed_set(random, a);
    if (round % 20 == 0) {
      for (TestRow& row : b.rows) row.key += 12345;
    }
    const std::string path_a = folder.path_of("a" + std::to_string(round));
    const std::string path_b = folder.path_of("b" + std::to_string(round));
    write_set(path_a, a, 7);
    write_set(path_b, b, 5);
    DiffOptions options;
    options.items = 3;
    options.rows = 2;
    const SetDiff d =
        diff_sets(NegativeSet::open(path_a, false), NegativeSet::open(path_b, false), options);
    SCOPED_TRACE("round " + std::to_string(round));
    compare_with_loops(a, b, d);
    if (::testing::Test::HasFailure()) return;
    moved += d.moved > 0 ? 1 : 0;
    without_common += d.common == 0 ? 1 : 0;
    for (std::size_t i = 1; i < d.rows.size(); ++i)
      EXPECT_LE(d.rows[i - 1].overlap, d.rows[i].overlap);
  }
  EXPECT_GT(moved, rounds / 10);
  EXPECT_GT(without_common, 0);
}

TEST(SetDiff, ASetIsIdenticalToItselfAndToNothingElse) {
  const testing::TempDir folder;
  std::mt19937 random(3);
  TestSet set = random_set(random);
  while (set.rows.size() < 3 || set.rows[1].slots.empty()) set = random_set(random);
  write_set(folder.path_of("a"), set, 7);
  write_set(folder.path_of("b"), set, 2);  // other shards, the same rows
  const NegativeSet a = NegativeSet::open(folder.path_of("a"), false);
  EXPECT_TRUE(diff_sets(a, NegativeSet::open(folder.path_of("b"), false)).identical);
  std::swap(set.rows[0], set.rows[2]);
  write_set(folder.path_of("c"), set, 7);
  const SetDiff moved = diff_sets(a, NegativeSet::open(folder.path_of("c"), false));
  EXPECT_FALSE(moved.identical) << "rows stand at other places";
  EXPECT_EQ(moved.equal, set.rows.size());
  EXPECT_EQ(moved.moved, 2u);
  std::swap(set.rows[0], set.rows[2]);
  set.rows[1].slots[0].score += 1.0f;
  write_set(folder.path_of("d"), set, 7);
  const SetDiff scored = diff_sets(a, NegativeSet::open(folder.path_of("d"), false));
  EXPECT_FALSE(scored.identical);
  EXPECT_EQ(scored.same_negatives, 1u);
  ASSERT_EQ(scored.columns.size(), 2u) << "score, and the gap that follows from it";
  EXPECT_EQ(scored.columns[0].first, "score");
  EXPECT_EQ(scored.columns[1].first, "gap");
  EXPECT_DOUBLE_EQ(scored.largest_change, 1.0);
}

TEST(SetDiff, RepeatedKeysAreJoinedInOrderAndCounted) {
  const testing::TempDir folder;
  TestSet set;
  set.k = 1;
  set.branches = {"hard"};
  set.strata = {"all"};
  for (const std::uint32_t item : {1u, 2u, 3u})
    set.rows.push_back({77, 0, {{item, 1.0f, "hard", "all"}}, "all"});
  write_set(folder.path_of("a"), set, 7);
  set.rows.pop_back();
  write_set(folder.path_of("b"), set, 7);
  const SetDiff d = diff_sets(NegativeSet::open(folder.path_of("a"), false),
                              NegativeSet::open(folder.path_of("b"), false));
  EXPECT_EQ(d.common, 2u);
  EXPECT_EQ(d.equal, 2u);
  EXPECT_EQ(d.only_a, 1u);
  EXPECT_EQ(d.only_b, 0u);
  EXPECT_EQ(d.repeated_keys, 3u);
}

/// Rows in reverse: every one has to be found by its key. With QUARRY_TEST_SCALE of 10 a million.
TEST(SetDiff, ManyRowsInAnotherOrder) {
  const testing::TempDir folder;
  const std::uint32_t rows = test::test_scale() >= 10 ? 1000000 : 20000;
  constexpr std::uint32_t kK = 10;
  const auto write = [&](const std::string& path, bool reversed) {
    SetSchema schema;
    schema.k = kK;
    schema.branches = {"hard"};
    schema.strata = {"all"};
    schema.num_items = 100000;
    SetWriter writer(path, schema);
    NegativeBatch b;
    b.k = kK;
    b.num_branches = 1;
    constexpr std::uint32_t kBlock = 20000;
    for (std::uint32_t first = 0; first < rows; first += kBlock) {
      NegativeBatch block = b;
      block.first_row = first;
      block.num_rows = kBlock;
      std::vector<std::uint64_t> keys;
      for (std::uint32_t r = first; r < first + kBlock; ++r) {
        const std::uint32_t row = reversed ? rows - 1 - r : r;
        keys.push_back(row * 0x9E3779B97F4A7C15u);
        block.count.push_back(kK);
        block.positive_min.push_back(2.0f);
        block.certified.push_back(1);
        block.kappa.push_back(0.5f);
        for (std::uint32_t j = 0; j < kK; ++j) {
          // One negative of each row is another in the second set.
          block.item.push_back((row * 31 + j + (reversed && j == 9 ? 1 : 0)) % 100000);
          block.score.push_back(1.0f);
          block.branch.push_back(0);
          block.raw_rank.push_back(j + 1);
          block.survivor_rank.push_back(j + 1);
          block.stratum.push_back(0);
          block.logq.push_back(-1.0f);
          block.fill.push_back(0);
        }
      }
      writer.append(block, {keys.data()});
    }
    writer.finish("{}");
  };
  write(folder.path_of("a"), false);
  write(folder.path_of("b"), true);
  const NegativeSet a = NegativeSet::open(folder.path_of("a"), false);
  const NegativeSet b = NegativeSet::open(folder.path_of("b"), false);
  const std::clock_t start = std::clock();
  const SetDiff d = diff_sets(a, b);
  std::printf("%u rows: %.2f s of processor time\n", rows,
              static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  EXPECT_EQ(d.common, rows);
  EXPECT_EQ(d.changed, rows);
  EXPECT_EQ(d.overlap->kept, std::uint64_t{rows} * 9);
  EXPECT_NEAR(d.overlap->mean, 9.0 / 11.0, 1e-9);
  EXPECT_NEAR(d.overlap->deciles[4], 9.0 / 11.0, 1e-9);
}

/// Applies a unified diff strictly: every line of context and every removed line must stand there.
std::string applied(const std::string& a, const std::string& diff) {
  const auto split = [](const std::string& text) {
    std::vector<std::string> lines;
    std::size_t at = 0;
    while (at < text.size()) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      lines.push_back(text.substr(at, end - at + (end < text.size() ? 1 : 0)));
      at = end + 1;
    }
    return lines;
  };
  const std::vector<std::string> from = split(a);
  std::vector<std::string> lines = split(diff);
  std::string out;
  std::size_t at = 0;
  for (std::size_t i = 2; i < lines.size(); ++i) {
    std::string line = lines[i];
    if (line.rfind("@@ -", 0) == 0) {
      unsigned long first = 0, count = 1;
      if (std::sscanf(line.c_str(), "@@ -%lu,%lu", &first, &count) < 2) count = 1;
      const std::size_t begin = count == 0 ? first : first - 1;
      while (at < begin) out += from.at(at++);
      continue;
    }
    if (line[0] == '\\') continue;
    const bool cut = i + 1 < lines.size() && lines[i + 1][0] == '\\';
    std::string text = line.substr(1);
    if (cut) text.pop_back();
    if (line[0] != '+') {
      EXPECT_EQ(from.at(at), text);
      ++at;
    }
    if (line[0] != '-') out += text;
  }
  while (at < from.size()) out += from[at++];
  return out;
}

TEST(TextDiff, AppliedToOneTextGivesTheOther) {
  for (std::uint32_t seed = 0; seed < 400; ++seed) {
    std::mt19937 random(seed);
    const auto text = [&](std::string from) {
      std::string out;
      const std::size_t lines = random() % 30;
      if (from.empty()) {
        for (std::size_t i = 0; i < lines; ++i) out += std::string(1, 'a' + random() % 4) + "\n";
      } else {
        for (std::size_t i = 0; i < from.size(); ++i) {
          if (from[i] == '\n' && random() % 8 == 0) out += "\nx";
          if (from[i] != '\n' && random() % 8 == 0) continue;
          out += from[i];
        }
      }
      if (random() % 3 == 0 && !out.empty()) out.pop_back();  // no line feed at the end
      return out;
    };
    const std::string a = text("");
    const std::string b = text(a);
    const std::string diff = unified_diff(a, b, "a", "b", seed % 4);
    if (a == b) {
      EXPECT_EQ(diff, "");
      continue;
    }
    ASSERT_EQ(applied(a, diff), b) << "seed " << seed << "\n" << diff;
  }
}

TEST(TextDiff, ReadsAsDiffsDo) {
  EXPECT_EQ(unified_diff("k = 8\nname = \"x\"\nseed\n", "k = 4\nname = \"x\"\nseed\n", "A", "B", 1),
            "--- A\n+++ B\n@@ -1,2 +1,2 @@\n-k = 8\n+k = 4\n name = \"x\"\n");
  EXPECT_EQ(unified_diff("", "one", "A", "B"),
            "--- A\n+++ B\n@@ -0,0 +1 @@\n+one\n\\ No newline at end of file\n");
}

}  // namespace
}  // namespace quarry
