// Events to exposure classes, judged by hand-made logs and by a brute-force reading of the rules.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <sstream>

#include "host/data/tables.h"
#include "kernels/core/errors.h"
#include "tests/support/files.h"

namespace quarry {
namespace {

using testing::expect_error;
using testing::TempDir;
using Op = ExposureTerm::Op;

constexpr float kNone = std::numeric_limits<float>::quiet_NaN();

ExposureRule rule(ExposureClass c, std::vector<ExposureTerm> terms) {
  return {c, std::move(terms)};
}

std::vector<int> classes_of(const Exposure& e) { return {e.classes.begin(), e.classes.end()}; }

/// Positive: like, or click and dwell >= 30. Aversion: dislike. Disinterest: skip, or view and
/// dwell < 3.
ExposureRules shop_rules() {
  ExposureRules rules;
  rules.rules = {
      rule(ExposureClass::kPositive, {{"like", Op::kExists, 0}}),
      rule(ExposureClass::kPositive, {{"click", Op::kExists, 0}, {"dwell", Op::kGreaterEqual, 30}}),
      rule(ExposureClass::kAversion, {{"dislike", Op::kExists, 0}}),
      rule(ExposureClass::kDisinterest, {{"skip", Op::kExists, 0}}),
      rule(ExposureClass::kDisinterest, {{"view", Op::kExists, 0}, {"dwell", Op::kLess, 3}}),
  };
  return rules;
}

TEST(ReadExposure, HandMadeLog) {
  const TempDir dir;
  const IdMap users = IdMap::from_ids({"ann", "bob", "cid"}, "users");
  const IdMap items = IdMap::from_ids({"i0", "i1", "i2", "i3", "i4"}, "items");
  const std::string path = dir.write("events.csv",
                                     "time,user,item,kind,value\n"
                                     "100,ann,i0,click,\n"
                                     "150,ann,i0,dwell,31\n"  // positive over two events
                                     "100,ann,i1,click,\n"
                                     "110,ann,i1,dwell,29.5\n"  // clicked, short: ambiguous
                                     "100,ann,i3,view,\n"
                                     "101,ann,i3,dwell,2\n"  // disinterest over two events
                                     "120,bob,i2,dislike,\n"
                                     "130,bob,i2,like,\n"    // the first rule wins: positive
                                     "90,bob,i4,hover,\n"    // a kind that no rule names: ambiguous
                                     "500,bob,i0,like,\n");  // after as_of
  const Exposure e = read_exposure(path, {}, shop_rules(), users, items, 200, UnknownIds::kReject);
  EXPECT_EQ(e.offsets, (std::vector<std::uint64_t>{0, 3, 5, 5}));
  EXPECT_EQ(e.items, (std::vector<std::uint32_t>{0, 1, 3, 2, 4}));
  EXPECT_EQ(classes_of(e), (std::vector<int>{1, 4, 3, 1, 4}));
  EXPECT_EQ(e.last_time, (std::vector<std::int64_t>{150, 110, 101, 130, 90}));
  EXPECT_EQ(e.positive_time,
            (std::vector<std::int64_t>{150, INT64_MIN, INT64_MIN, 130, INT64_MIN}));
  EXPECT_FALSE(e.no_values);
  EXPECT_EQ(e.item_count, (std::vector<std::uint32_t>{1, 0, 1, 0, 0}));
  EXPECT_EQ(e.as_of, 200);
  EXPECT_EQ(e.latest_event, 150);
  EXPECT_EQ(e.events, 10u);
  EXPECT_EQ(e.events_after_as_of, 1u);
}

TEST(ReadExposure, WindowExpiresAllButPositives) {
  ExposureRules rules = shop_rules();
  rules.window = 50;
  const std::vector<std::string> kinds = {"like", "click", "dwell", "dislike", "skip", "view"};
  const std::vector<Event> events = {
      {0, 0, 10, 0, kNone},   // an old like stays
      {0, 1, 149, 3, kNone},  // dislike, one second too old: as if never exposed
      {0, 2, 150, 3, kNone},  // dislike at the edge counts
      {0, 3, 10, 3, kNone},
      {0, 3, 199, 5, kNone},  // old dislike, fresh view: only the view counts
      {0, 4, 10, 1, kNone},
      {0, 4, 190, 2, 40.0f},  // positive over an old click and a fresh dwell
      {0, 5, 10, 5, kNone},
      {0, 5, 190, 2, 1.0f},   // disinterest would need the old view
      {0, 6, 200, 4, kNone},  // at as_of itself
      {0, 7, 201, 0, kNone},  // later
  };
  const Exposure e = classify_events(events, kinds, rules, 1, 8, 200);
  EXPECT_EQ(e.items, (std::vector<std::uint32_t>{0, 2, 3, 4, 5, 6}));
  EXPECT_EQ(classes_of(e), (std::vector<int>{1, 2, 4, 1, 4, 3}));
  EXPECT_EQ(e.last_time, (std::vector<std::int64_t>{10, 150, 199, 190, 190, 200}));
  EXPECT_EQ(e.latest_event, 200);
  EXPECT_EQ(e.events_after_as_of, 1u);
  // Without as_of the log's own end is taken.
  EXPECT_EQ(classify_events(events, kinds, rules, 1, 8, std::nullopt).as_of, 201);
  // A window longer than time itself reaches everything.
  rules.window = INT64_MAX;
  EXPECT_EQ(classify_events(events, kinds, rules, 1, 8, 0).items.size(), 0u);
  EXPECT_EQ(classify_events(events, kinds, rules, 1, 8, 300).items.size(), 8u);
}

TEST(ReadExposure, FixedKindAndMappedColumns) {
  const TempDir dir;
  const std::string path = dir.write(
      "ml.inter",
      "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
      "0\t0\t5\t881250949\n0\t1\t2\t891717742\n1\t0\t3\t878887116\n1\t1\t3.5\t878887117\n");
  ExposureRules rules;
  rules.rules = {rule(ExposureClass::kPositive, {{"rating", Op::kGreaterEqual, 4}}),
                 rule(ExposureClass::kAversion, {{"rating", Op::kLessEqual, 2}}),
                 rule(ExposureClass::kDisinterest, {{"rating", Op::kEqual, 3}})};
  EventColumns columns{.user = "user_id",
                       .item = "item_id",
                       .time = "timestamp",
                       .value = "rating",
                       .fixed_kind = "rating"};
  const Exposure e = read_exposure(path, columns, rules, IdMap::identity(2), IdMap::identity(2), {},
                                   UnknownIds::kReject);
  EXPECT_EQ(classes_of(e), (std::vector<int>{1, 2, 3, 4}));
  EXPECT_EQ(e.as_of, 891717742);
}

TEST(ReadExposure, AFixedKindDoesNotHideAColumnOfKinds) {
  const TempDir dir;
  const std::string path = dir.write("e.csv", "user,item,time,kind,value\n0,1,100,dislike,\n");
  const IdMap two = IdMap::identity(2);
  EventColumns columns;
  columns.fixed_kind = "like";
  for (const char* kind : {"kind", "knid"}) {
    columns.kind = kind;
    EXPECT_THROW(read_exposure(path, columns, shop_rules(), two, two, {}, UnknownIds::kReject),
                 ConfigError);
  }
}

TEST(ReadExposure, APositiveIsOneFromTheMomentThatARuleHolds) {
  const std::vector<std::string> kinds = {"like", "click", "dwell", "view"};
  const std::vector<Event> events = {
      {0, 0, 10, 0, kNone}, {0, 0, 50, 3, kNone},  // viewed again after the like
      {0, 1, 20, 0, kNone}, {0, 1, 40, 0, kNone},  // liked twice
      {0, 2, 10, 1, kNone}, {0, 2, 11, 2, 40.0f},  // click, then dwell
      {0, 2, 60, 2, 1.0f},  {0, 3, 5, 2, 40.0f},   // dwell, then click
      {0, 3, 70, 1, kNone}, {0, 3, 80, 1, kNone},  // and clicked once more
      {0, 4, 10, 0, kNone}, {0, 4, 5, 1, kNone},   // by two rules
      {0, 4, 6, 2, 30.0f},  {0, 4, 90, 2, 31.0f}};
  ExposureRules rules = shop_rules();
  for (int order = 0; order < 2; ++order) {
    const Exposure e = classify_events(events, kinds, rules, 1, 5, 100);
    EXPECT_EQ(e.positive_time, (std::vector<std::int64_t>{10, 20, 11, 70, 6}));
    EXPECT_EQ(e.last_time, (std::vector<std::int64_t>{50, 40, 60, 80, 90}));
    const RowTable rows =
        rows_from_exposure(e, RowsFrom::kPositives, IdMap::identity(1), IdMap::identity(5));
    EXPECT_EQ(rows.time, e.positive_time);
    std::swap(rules.rules[0], rules.rules[1]);
  }
}

TEST(ReadExposure, ALogWithoutValuesSatisfiesNoComparison) {
  const TempDir dir;
  const IdMap two = IdMap::identity(2);
  const std::string path =
      dir.write("plain.csv", "user,item,time,kind\n0,0,5,like\n1,0,6,dwell\n1,0,6,click\n");
  const Exposure e = read_exposure(path, {}, shop_rules(), two, two, {}, UnknownIds::kReject);
  EXPECT_EQ(classes_of(e), (std::vector<int>{1, 4}));
  EXPECT_TRUE(e.no_values);
  // A column that was asked for by name has to be there.
  EventColumns ratings;
  ratings.value = "rating";
  expect_error<InputError>(
      [&] { read_exposure(path, ratings, shop_rules(), two, two, {}, UnknownIds::kReject); },
      {"plain.csv", "rating"});
  ExposureRules likes;
  likes.rules = {rule(ExposureClass::kPositive, {{"like", Op::kExists, 0}})};
  EXPECT_FALSE(read_exposure(path, {}, likes, two, two, {}, UnknownIds::kReject).no_values);
  // Also where nobody compares, and under the default name.
  EventColumns named;
  named.value_required = true;
  for (const EventColumns& columns : {ratings, named}) {
    EXPECT_THROW(read_exposure(path, columns, likes, two, two, {}, UnknownIds::kReject),
                 InputError);
  }
}

/// What is read of a file, or why it is not.
std::string answer_of(const std::string& path, UnknownIds unknown, int threads) {
  Exec exec;
  exec.threads = threads;
  const IdMap users = IdMap::identity(500), items = IdMap::identity(900);
  try {
    const Exposure e = read_exposure(path, {}, shop_rules(), users, items, {}, unknown, exec);
    std::ostringstream text;
    const auto put = [&text](const auto& values) {
      for (const auto value : values) text << +value << ' ';
      text << '\n';
    };
    put(e.offsets), put(e.items), put(e.classes), put(e.last_time), put(e.positive_time);
    put(e.item_count);
    text << e.as_of << ' ' << e.latest_event << ' ' << e.events << ' ' << e.unknown_users << ' '
         << e.unknown_items << ' ' << e.no_values;
    for (const auto& [kind, times] : e.unnamed_kinds) text << ' ' << kind << ' ' << times;
    return text.str();
  } catch (const InputError& error) {
    return error.what();
  }
}

/// A file of several times 4 MiB is read in parts.
TEST(ReadExposure, ALargeLogIsTheSameForAnyNumberOfThreads) {
  const TempDir dir;
  std::mt19937 random(11);
  constexpr std::size_t kLines = 420000;
  const std::vector<std::string> kinds = {"like", "click", "dwell", "hover", "zoom", "dislike"};
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < kLines; ++i) {
    const std::string& kind = kinds[random() % kinds.size()];
    lines.push_back(std::to_string(random() % 500) + "," + std::to_string(random() % 900) + "," +
                    std::to_string(1600000000 + random() % 1000000) + "," + kind + "," +
                    (kind == "dwell" ? std::to_string(random() % 60) : ""));
  }
  const auto answers_alike = [&](const char* what, std::size_t at, const std::string& line,
                                 UnknownIds unknown) {
    const std::string before = lines[at];
    if (!line.empty()) lines[at] = line;
    std::string text = "user,item,time,kind,value,note\n";
    for (const std::string& l : lines) text += l + ",0123456789\n";
    EXPECT_GT(text.size(), std::size_t{3} * 4 << 20);
    const std::string path = dir.write("large.csv", text);
    const std::string alone = answer_of(path, unknown, 1);
    for (const int threads : {2, 3, 7})
      EXPECT_TRUE(answer_of(path, unknown, threads) == alone) << what;
    lines[at] = before;
    return alone;
  };
  EXPECT_NE(answers_alike("plain", 0, "", UnknownIds::kReject).find(" 420000 0 0 0 "),
            std::string::npos);
  EXPECT_NE(answers_alike("unknown", kLines - 9, "500,0,1600000001,like,", UnknownIds::kDrop)
                .find(" 420000 1 0 0 "),
            std::string::npos);
  EXPECT_NE(answers_alike("unknown", kLines - 9, "500,0,1600000001,like,", UnknownIds::kReject)
                .find("large.csv: 1 id has no embedding: a user (line 419993)"),
            std::string::npos);
  EXPECT_NE(answers_alike("wrong", kLines - 9, "1,0,now,like,", UnknownIds::kReject)
                .find("large.csv:419993"),
            std::string::npos);
  // Lines that are no records, of which a part may begin with any.
  std::string quoted = "1,0,1600000001,\"like";
  for (int i = 0; i < 200000; ++i) quoted += "\n1,0,1600000001,like,";
  EXPECT_NE(answers_alike("quoted", kLines / 3, quoted + "\",", UnknownIds::kReject)
                .find(" 420000 0 0 0 "),
            std::string::npos);
}

TEST(ReadExposure, EmptyLogAndUnknownIds) {
  const TempDir dir;
  const IdMap two = IdMap::identity(2);
  const Exposure none = read_exposure(dir.write("e.csv", "user,item,time,kind,value\n"), {},
                                      shop_rules(), two, two, {}, UnknownIds::kReject);
  EXPECT_EQ(none.offsets, (std::vector<std::uint64_t>{0, 0, 0}));
  EXPECT_EQ(none.item_count, (std::vector<std::uint32_t>{0, 0}));
  EXPECT_EQ(none.as_of, INT64_MAX);
  EXPECT_EQ(none.latest_event, INT64_MIN);

  const std::string path = dir.write(
      "u.csv", "user,item,time,kind,value\n0,0,5,like,\nx,0,6,like,\n0,y,7,like,\nx,y,9,like,\n");
  const Exposure e = read_exposure(path, {}, shop_rules(), two, two, {}, UnknownIds::kDrop);
  EXPECT_EQ(e.items.size(), 1u);
  EXPECT_EQ(e.events, 4u);
  EXPECT_EQ(e.unknown_users, 2u);
  EXPECT_EQ(e.unknown_items, 2u);
  EXPECT_EQ(e.as_of, 9) << "the log ends with its last row, whoever it is of";
  EXPECT_EQ(e.latest_event, 5);
  expect_error<InputError>(
      [&] { read_exposure(path, {}, shop_rules(), two, two, {}, UnknownIds::kReject); },
      {"u.csv", "4 ids", "a user (line 3)", "item 'y' (line 4)", "--unknown-ids drop"});
}

TEST(ReadExposure, ComparesInSinglePrecision) {
  ExposureRules rules;
  rules.rules = {rule(ExposureClass::kPositive, {{"r", Op::kEqual, 0.1}}),
                 rule(ExposureClass::kAversion, {{"r", Op::kGreater, 0.1}})};
  const Exposure e = classify_events(
      {{0, 0, 1, 0, 0.1f}, {0, 1, 1, 0, std::nextafter(0.1f, 1.0f)}, {0, 2, 1, 0, kNone}}, {"r"},
      rules, 1, 3, std::nullopt);
  EXPECT_EQ(classes_of(e), (std::vector<int>{1, 2, 4}));
}

TEST(ClassifyEvents, RefusesIndicesOutOfRange) {
  const ExposureRules rules = shop_rules();
  for (const Event& bad :
       {Event{2, 0, 1, 0, kNone}, Event{0, 3, 1, 0, kNone}, Event{0, 0, -1, 0, kNone},
        Event{0, 0, INT64_MAX, 0, kNone}, Event{0, 0, 1, 1, kNone}}) {
    expect_error<InputError>(
        [&] {
          classify_events({{0, 0, 1, 0, kNone}, bad}, {"like"}, rules, 2, 3, std::nullopt);
        },
        {"event 1", "below 2", "below 3"});
  }
  expect_error<InputError>(
      [&] {
        classify_events({}, {"like", "like"}, rules, 1, 1, std::nullopt);
      },
      {"'like'", "twice"});
  ExposureRules empty;
  empty.rules.emplace_back();
  expect_error<ConfigError>([&] { classify_events({}, {}, empty, 1, 1, std::nullopt); },
                            {"no terms"});
}

/// One pair by the words of the rules: collects facts, then walks the rules.
struct Verdict {
  int exposure_class = 0;
  std::int64_t last = 0;
  std::int64_t positive = INT64_MIN;  ///< first time at which a positive rule held
};
/// Facts by kind: those from `from` on, up to `to`.
std::multimap<std::string, double> facts_of(const std::vector<Event>& log, std::uint32_t user,
                                            std::uint32_t item,
                                            const std::vector<std::string>& kinds,
                                            std::int64_t from, std::int64_t to) {
  std::multimap<std::string, double> facts;
  for (const Event& e : log) {
    if (e.user == user && e.item == item && from <= e.time && e.time <= to)
      facts.emplace(kinds[e.kind], e.value);
  }
  return facts;
}

bool holds(const ExposureRule& rule, const std::multimap<std::string, double>& facts) {
  std::size_t held = 0;
  for (const ExposureTerm& t : rule.terms) {
    bool found = false;
    for (auto [it, end] = facts.equal_range(t.kind); it != end; ++it) {
      const double v = it->second, n = t.number;
      found |= t.op == Op::kExists || (t.op == Op::kLess && v < n) ||
               (t.op == Op::kLessEqual && v <= n) || (t.op == Op::kEqual && v == n) ||
               (t.op == Op::kGreaterEqual && v >= n) || (t.op == Op::kGreater && v > n);
    }
    held += found ? 1 : 0;
  }
  return held == rule.terms.size();
}

std::optional<Verdict> judge(const std::vector<Event>& log, std::uint32_t user, std::uint32_t item,
                             const std::vector<std::string>& kinds, const ExposureRules& rules,
                             std::int64_t as_of) {
  const auto between = [&](std::int64_t from, std::int64_t to) {
    return facts_of(log, user, item, kinds, from, to);
  };
  const auto ever = between(INT64_MIN, as_of);
  // Times begin at 0, as-of may lie before all of them.
  const bool bounded = rules.window && as_of >= 0;
  const auto lately = between(bounded ? as_of - *rules.window : INT64_MIN, as_of);
  Verdict verdict{static_cast<int>(ExposureClass::kAmbiguous), INT64_MIN, INT64_MIN};
  for (const Event& e : log) {
    if (e.user == user && e.item == item && e.time <= as_of)
      verdict.last = std::max(verdict.last, e.time);
  }
  for (const ExposureRule& r : rules.rules) {
    const bool positive = r.exposure_class == ExposureClass::kPositive;
    if (!holds(r, positive ? ever : lately)) continue;
    verdict.exposure_class = static_cast<int>(r.exposure_class);
    if (!positive) return verdict;
    // Time goes by until one of the positive rules holds.
    for (verdict.positive = 0;; ++verdict.positive) {
      const auto known = between(INT64_MIN, verdict.positive);
      for (const ExposureRule& any : rules.rules) {
        if (any.exposure_class == ExposureClass::kPositive && holds(any, known)) return verdict;
      }
    }
  }
  if (lately.empty()) return std::nullopt;
  return verdict;
}

TEST(ReadExposure, EqualsBruteForceInAnyFileOrder) {
  const TempDir dir;
  const std::vector<std::string> kinds = {"a", "b", "c", "d", "strange"};
  std::set<int> seen_classes;
  std::uint64_t vanished = 0, moved = 0;
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
    const std::uint32_t num_users = 1 + below(4), num_items = 1 + below(6);
    ExposureRules rules;
    for (std::uint32_t r = below(6); r > 0; --r) {
      ExposureRule& out = rules.rules.emplace_back();
      out.exposure_class = static_cast<ExposureClass>(1 + below(4));
      for (std::uint32_t t = 1 + below(2); t > 0; --t) {
        out.terms.push_back(
            {kinds[below(4)], static_cast<Op>(below(6)), static_cast<double>(below(5))});
      }
    }
    if (below(3) != 0) rules.window = below(60);
    std::vector<Event> log;
    for (std::uint32_t n = below(80); n > 0; --n) {
      const float value = below(3) == 0 ? kNone : static_cast<float>(below(5));
      log.push_back({below(num_users), below(num_items), below(100),
                     static_cast<std::uint16_t>(below(5)), value});
    }
    std::optional<std::int64_t> as_of;
    if (below(2)) as_of = below(110);
    std::int64_t horizon = as_of.value_or(INT64_MIN);
    if (!as_of) {
      for (const Event& e : log) horizon = std::max(horizon, e.time);
    }

    Exposure first;
    for (int order = 0; order < 3; ++order) {
      std::shuffle(log.begin(), log.end(), random);
      std::string text = "kind,value,user,time,item\n";
      for (const Event& e : log) {
        text += kinds[e.kind] + "," + (std::isnan(e.value) ? "" : std::to_string(e.value)) + "," +
                std::to_string(e.user) + "," + std::to_string(e.time) + "," +
                std::to_string(e.item) + "\n";
      }
      const Exposure e =
          read_exposure(dir.write("log.csv", text), {}, rules, IdMap::identity(num_users),
                        IdMap::identity(num_items), as_of, UnknownIds::kReject);
      if (order == 0) {
        first = e;
        continue;
      }
      ASSERT_EQ(e.offsets, first.offsets);
      ASSERT_EQ(e.items, first.items);
      ASSERT_EQ(e.classes, first.classes);
      ASSERT_EQ(e.last_time, first.last_time);
      ASSERT_EQ(e.positive_time, first.positive_time);
    }
    const Exposure memory = classify_events(log, kinds, rules, num_users, num_items, as_of);
    ASSERT_EQ(memory.items, first.items);
    ASSERT_EQ(memory.classes, first.classes);

    std::vector<std::uint32_t> counts(num_items, 0);
    ASSERT_EQ(first.offsets.size(), num_users + 1u);
    for (std::uint32_t u = 0; u < num_users; ++u) {
      std::uint64_t at = first.offsets[u];
      for (std::uint32_t i = 0; i < num_items; ++i) {
        const bool listed = at < first.offsets[u + 1] && first.items[at] == i;
        const std::optional<Verdict> expected = judge(log, u, i, kinds, rules, horizon);
        ASSERT_EQ(listed, expected.has_value())
            << "seed " << seed << " user " << u << " item " << i;
        if (!expected) {
          vanished += std::any_of(log.begin(), log.end(),
                                  [&](const Event& e) { return e.user == u && e.item == i; });
          continue;
        }
        ASSERT_EQ(static_cast<int>(first.classes[at]), expected->exposure_class) << "seed " << seed;
        ASSERT_EQ(first.last_time[at], expected->last);
        ASSERT_EQ(first.positive_time[at], expected->positive) << "seed " << seed;
        moved += expected->exposure_class == 1 && expected->positive != expected->last ? 1 : 0;
        counts[i] += expected->exposure_class == 1 ? 1 : 0;
        seen_classes.insert(expected->exposure_class);
        ++at;
      }
      ASSERT_EQ(at, first.offsets[u + 1]);
    }
    ASSERT_EQ(first.item_count, counts);
  }
  EXPECT_EQ(seen_classes, (std::set<int>{1, 2, 3, 4}));
  EXPECT_GT(vanished, 100u) << "no pair ever expired";
  EXPECT_GT(moved, 100u) << "no positive was looked at again later";
}

TEST(Exposure, ThreadsChangeNothing) {
  constexpr std::uint32_t kUsers = 3000, kItems = 400;  // more users than a thread takes at once
  std::uint32_t state = 7;
  const auto below = [&state](std::uint32_t n) {
    state = state * 1664525u + 1013904223u;
    return static_cast<std::uint32_t>(std::uint64_t{state} * n >> 32);
  };
  std::vector<Event> log;
  for (int i = 0; i < 60000; ++i) {
    log.push_back({below(kUsers), below(kItems) / (1 + below(20)), below(1000),
                   static_cast<std::uint16_t>(below(2)), static_cast<float>(below(3))});
  }
  ExposureRules rules;
  rules.window = 500;
  rules.rules = {{ExposureClass::kPositive, {{"buy", ExposureTerm::Op::kExists, 0.0}}},
                 {ExposureClass::kAversion, {{"view", ExposureTerm::Op::kLess, 1.0}}}};
  const auto classified = [&](int threads) {
    Exec exec;
    exec.threads = threads;
    return classify_events(log, {"buy", "view"}, rules, kUsers, kItems, 900, exec);
  };
  const Exposure one = classified(1);
  ASSERT_GT(one.items.size(), 10000u);
  for (const int threads : {2, 5}) {
    const Exposure many = classified(threads);
    EXPECT_EQ(many.offsets, one.offsets);
    EXPECT_EQ(many.items, one.items);
    EXPECT_EQ(many.classes, one.classes);
    EXPECT_EQ(many.last_time, one.last_time);
    EXPECT_EQ(many.positive_time, one.positive_time);
    EXPECT_EQ(many.item_count, one.item_count);
    EXPECT_EQ(many.latest_event, one.latest_event);
  }
}

}  // namespace
}  // namespace quarry
