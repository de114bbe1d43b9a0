// Reports part by part: escaping, rounding, cutting, scales, charts, and the history of a store
// whose log holds KPIs and audits.
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "host/audit/compare_audits.h"
#include "host/audit/report_axis.h"
#include "host/audit/report_chart.h"
#include "host/audit/report_history.h"
#include "host/audit/report_html.h"
#include "host/audit/report_parts.h"
#include "host/audit/report_text.h"
#include "host/store/store.h"
#include "tests/support/cli.h"

namespace quarry {
namespace {

using namespace report;
using Json = nlohmann::ordered_json;

Datum number(const std::string& text) { return {Datum::Kind::kNumber, std::stod(text), text}; }

std::string read(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Json sample() {
  return Json::parse(read(std::string(QUARRY_SOURCE_DIR) + "/tests/audits/rich.json"));
}

TEST(ReportText, NothingThatATextHoldsIsMarkup) {
  EXPECT_EQ(escaped("<a href=\"x\" title='y'>&amp;"),
            "&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;&amp;amp;");
  EXPECT_EQ(escaped("a\u202Eb\u2066c\u0085d"), "a[U+202E]b[U+2066]c[U+0085]d");
  EXPECT_EQ(escaped(std::string("\0\x1b\x7f\t\n", 5)), "␀␛␡\t\n");
  EXPECT_EQ(escaped("caf\xC3\xA9 \xF0\x9F\x91\xA9"), "café 👩");
  // Truncated, overlong, surrogate, out of range, lone tail: none is UTF-8.
  for (const char* bad : {"\xC3", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\x80", "\xFF"}) {
    const std::string shown = escaped(bad);
    EXPECT_NE(shown.find("\uFFFD"), std::string::npos);
    EXPECT_EQ(std::regex_replace(shown, std::regex("\uFFFD"), ""), "");
  }
}

TEST(ReportText, NumbersAreRoundedForPeople) {
  const auto words = [](double value, const char* unit) { return number_words(value, unit); };
  EXPECT_EQ(words(0.22212, "share"), "22.2 %");
  EXPECT_EQ(words(1, "share"), "100 %");
  EXPECT_EQ(words(0.99996, "share"), "99.996 %");  // never all
  EXPECT_EQ(words(0.99999999, "share"), "99.999999 %");
  EXPECT_EQ(words(5e-7, "share"), "5×10⁻⁵ %");  // never nothing
  EXPECT_EQ(words(-0.031, "share"), "−3.1 %");
  EXPECT_EQ(words(0, "share"), "0 %");
  EXPECT_EQ(words(1234567, "count"), "1,234,567");
  EXPECT_EQ(words(123, "count"), "123");
  EXPECT_EQ(words(9.9996, "count"), "9.9996");
  EXPECT_EQ(words(12.3456, "ratio"), "12.35");
  EXPECT_EQ(words(-0.0, "ratio"), "0");
  EXPECT_EQ(words(2.25, "bits"), "2.25 bits");
  EXPECT_EQ(words(5025.5, "seconds"), "83.8 min");
  EXPECT_EQ(words(1, "days"), "1 day");
  EXPECT_EQ(words(1.7976931348623157e308, "ratio"), "1.798×10³⁰⁸");
  EXPECT_EQ(words(4.9e-324, "ratio"), "4.941×10⁻³²⁴");
  EXPECT_EQ(datum_words({}, "share"), "–");
  EXPECT_EQ(datum_words(number("18446744073709551615"), "exact"), "18446744073709551615");
  EXPECT_EQ(date_words(1714566600), "2024-05-01 12:30 UTC");
  EXPECT_EQ(date_words(1e300), "1×10³⁰⁰");
}

TEST(ReportText, ValuesThatDifferLookDifferent) {
  const Datum value = number("0.02004"), limit = number("0.02"), equal = number("2e-2");
  EXPECT_EQ(datum_words(value, "share"), datum_words(limit, "share"));
  const int digits = digits_apart({&value, &limit}, "share");
  EXPECT_EQ(datum_words(value, "share", digits), "2.004 %");
  EXPECT_EQ(digits_apart({&limit, &equal}, "share"), 0);
}

TEST(ReportText, CutsBetweenCharactersAndWithinTheWidth) {
  const std::string family = "ab 👩‍👩‍👧‍👦 e\u0301\u0301 xyz and more";
  const std::string whole = family + "…";
  std::set<std::string> cuts;
  for (double width = 10; width < 200; width += 0.5) {
    const std::string cut = elided(family, width, 12);
    EXPECT_EQ(escaped(cut).find("\uFFFD"), std::string::npos) << cut;
    if (cut == family) continue;
    cuts.insert(cut);
    ASSERT_TRUE(cut.ends_with("…"));
    const std::string kept = cut.substr(0, cut.size() - std::string("…").size());
    EXPECT_TRUE(family.starts_with(kept)) << cut;
    const std::string rest = family.substr(kept.size());
    EXPECT_FALSE(rest.starts_with("\u0301")) << cut;
    EXPECT_FALSE(rest.starts_with("\u200D") || kept.ends_with("\u200D")) << cut;
    EXPECT_TRUE(kept.empty() || text_width(cut, 12) <= std::max(width, 15.0)) << cut;
  }
  EXPECT_GT(cuts.size(), 8u);
}

TEST(ReportAxis, TicksAreRoundEvenAndWithin) {
  const double most = std::numeric_limits<double>::max();
  const std::pair<double, double> ranges[] = {
      {0, 1},        {0, 0.0317}, {-3, 17},      {0, 0},           {5, 5},     {-2, -2},
      {0, 4.9e-324}, {0, most},   {-most, most}, {1e15, 1e15 + 1}, {0.1, 0.3}, {-1e-300, 1e300}};
  for (const auto& [low, high] : ranges) {
    const Axis axis(low, high, 10, 110, 5, true);
    EXPECT_LE(axis.ticks().size(), 9u) << low << " " << high;
    EXPECT_GE(axis.ticks().size(), 1u) << low << " " << high;
    for (const double value : {low, high}) {
      EXPECT_GE(axis.at(value), 10 - 1e-6) << low << " " << high;
      EXPECT_LE(axis.at(value), 110 + 1e-6) << low << " " << high;
    }
    for (const double tick : axis.ticks()) {
      EXPECT_TRUE(std::isfinite(tick));
      EXPECT_GE(axis.at(tick), 10 - 1e-6);
      EXPECT_LE(axis.at(tick), 110 + 1e-6);
    }
  }
  const Axis axis(0, 8, 0, 80, 5, true);
  EXPECT_EQ(axis.ticks(), (std::vector<double>{0, 2, 4, 6, 8}));
  EXPECT_DOUBLE_EQ(axis.at(5), 50);
  const Axis log = Axis::logarithmic(1, 10000, 0, 100, 6);
  EXPECT_EQ(log.ticks(), (std::vector<double>{1, 10, 100, 1000, 10000}));
  EXPECT_NEAR(log.at(100), 50, 1e-9);
}

/// Values of one attribute in the order of the page.
std::vector<std::string> all_of(const std::string& html, const std::string& attribute) {
  std::vector<std::string> values;
  const std::regex pattern(" " + attribute + "=\"([^\"]*)\"");
  for (std::sregex_iterator at(html.begin(), html.end(), pattern), end; at != end; ++at)
    values.push_back((*at)[1]);
  return values;
}

Table bars_of(const std::vector<std::string>& values, ChartKind kind) {
  Table table;
  table.id = table.title = "bars";
  table.columns = {{"name", "name", "", false},
                   {"v", "value", "count", true},
                   {"limit", "limit", "count", true}};
  table.rows.reserve(values.size());
  for (const std::string& value : values) {
    table.rows.push_back({{Datum::Kind::kText, 0, "row " + value}, number(value), number("3")});
  }
  table.chart = Chart{kind, 0, {1}, false};
  return table;
}

/// (value, begin, length) of the bars of a drawing.
std::vector<std::array<double, 3>> bars_in(const std::string& svg) {
  std::vector<std::array<double, 3>> bars;
  const std::regex bar(
      "<rect class=\"s0\" data-value=\"([-0-9]+)\"[^>]* x=\"([-0-9.]+)\"[^>]* "
      "width=\"([-0-9.]+)\"");
  for (std::sregex_iterator at(svg.begin(), svg.end(), bar), end; at != end; ++at)
    bars.push_back({std::stod((*at)[1]), std::stod((*at)[2]), std::stod((*at)[3])});
  return bars;
}

TEST(ReportChart, BarsAreAsLongAsTheirValues) {
  for (const std::vector<std::string>& values :
       {std::vector<std::string>{"1", "2", "4", "0"}, {"5", "7", "6"}}) {
    const std::string svg = chart_figure(bars_of(values, ChartKind::kBar));
    const auto bars = bars_in(svg);
    ASSERT_EQ(bars.size(), values.size());
    double most = 0;
    for (const auto& bar : bars) most = std::max(most, bar[0]);
    for (std::size_t i = 0; i < bars.size(); ++i) {
      EXPECT_EQ(bars[i][0], std::stod(values[i]));
      EXPECT_EQ(bars[i][1], bars[0][1]);  // all begin at 0
      EXPECT_GE(bars[i][1], 0);
      EXPECT_NEAR(bars[i][2],
                  bars[i][0] / most *
                      std::max_element(bars.begin(), bars.end(),
                                       [](const auto& a, const auto& b) { return a[2] < b[2]; })
                          ->at(2),
                  0.05);
      EXPECT_LE(bars[i][1] + bars[i][2], 400);
    }
    EXPECT_EQ(all_of(svg, "data-limit"), std::vector<std::string>(values.size(), "3"));
  }
}

TEST(ReportChart, SaysWhatItLeavesOut) {
  std::vector<std::string> many;
  many.reserve(200);
  for (int i = 0; i < 200; ++i) many.push_back(std::to_string(i));
  const Table table = bars_of(many, ChartKind::kBar);
  EXPECT_NE(chart_figure(table).find("the first 40 of 200 rows"), std::string::npos);
  Table none = bars_of({"1"}, ChartKind::kLine);
  none.rows[0][1] = {};
  EXPECT_NE(chart_figure(none).find("nothing to draw"), std::string::npos);
  EXPECT_NE(chart_figure(bars_of({"-1", "2"}, ChartKind::kStackedBar)).find("cannot be stacked"),
            std::string::npos);
  none.chart.reset();
  EXPECT_EQ(chart_figure(none), "");
}

TEST(ReportParts, CellsHoldTheDigitsOfTheFile) {
  EXPECT_EQ(cell_html(number("0.10"), {"a", "a", "share", true}),
            "<td class=\"n\" data-value=\"0.10\" title=\"0.10\">10 %</td>");
  EXPECT_EQ(cell_html({}, {"a", "a", "share", true}), "<td class=\"n none\">–</td>");
}

TEST(ReportModel, ComparisonsReadTheSameAudit) {
  Json later = sample();
  later["sections"][0]["metrics"][0]["direction"] = "higher";
  const Json earlier =
      Json::parse(read(std::string(QUARRY_SOURCE_DIR) + "/tests/audits/earlier.json"));
  const AuditComparison both =
      compare_audits({audit_document(parse_audit(later.dump(), "a.json"), "a"),
                      audit_document(parse_audit(earlier.dump(), "b.json"), "b")});
  ASSERT_EQ(both.gates.size(), later["gates"].size());
  const std::map<std::string, Direction> better = {{"<=", Direction::kLowerIsBetter},
                                                   {">=", Direction::kHigherIsBetter},
                                                   {"in", Direction::kNone}};
  std::size_t best = 0;
  for (std::size_t g = 0; g < both.gates.size(); ++g) {
    const Json& gate = later["gates"][g];
    EXPECT_EQ(both.gates[g].id, gate["id"]);
    EXPECT_EQ(both.gates[g].direction, better.at(gate["op"]));
    EXPECT_EQ(both.gates[g].statuses[0], gate["status"]);
    EXPECT_EQ(both.gates[g].values[0].has_value(), gate["value"].is_number());
    best += both.gates[g].best[0] ? 1 : 0;
  }
  EXPECT_EQ(both.gates[0].best, (std::vector<bool>{false, true})) << "no leak is better than three";
  EXPECT_EQ(both.metrics[0].best, (std::vector<bool>{true, false})) << "said to be higher";
  EXPECT_EQ(both.metrics[0].lows[0], later["sections"][0]["metrics"][0]["low"].get<double>());
  EXPECT_EQ(both.metrics[1].best, (std::vector<bool>{false, false})) << "nothing is said";
  EXPECT_LT(best, both.gates.size());
  later["sections"][0]["metrics"][0]["direction"] = "up";
  EXPECT_THROW(parse_audit(later.dump(), "a.json"), InputError);
}

TEST(ReportModel, EveryKeyOfTheFormatIsNeeded) {
  const Json good = sample();
  EXPECT_NO_THROW(parse_audit(good.dump(), "a.json"));
  // Each object of the format, without each of its keys in turn.
  const std::vector<Json::json_pointer> objects = {Json::json_pointer(""),
                                                   Json::json_pointer("/set"),
                                                   Json::json_pointer("/gates/0"),
                                                   Json::json_pointer("/sections/0"),
                                                   Json::json_pointer("/sections/0/metrics/0"),
                                                   Json::json_pointer("/sections/0/tables/0"),
                                                   Json::json_pointer("/lists/0")};
  std::size_t tried = 0;
  for (const auto& object : objects) {
    for (const auto& [key, unused] : good[object].items()) {
      if (key == "chart") continue;
      Json bad = good;
      bad[object].erase(key);
      try {
        parse_audit(bad.dump(), "a.json");
        ADD_FAILURE() << object.to_string() << " is read without " << key;
      } catch (const InputError& error) {
        EXPECT_NE(std::string(error.what()).find("a.json: "), std::string::npos);
        EXPECT_NE(std::string(error.what()).find("has no key '" + key + "'"), std::string::npos)
            << error.what();
      }
      ++tried;
    }
  }
  EXPECT_GT(tried, 50u);
}

TEST(ReportPublic, NamesOfFiguresAreTold) {
  for (const char* name :
       {"recall", "recall@20", "Recall@1000", "ndcg@10_new", "hit@5%", "hit@5%_new-users", "mrr",
        "auc.head", "p99.9", "f1", "eval.auc_2024", "a%", "not_interested", "top-5_acc"})
    EXPECT_TRUE(is_public_name(name)) << name;
  const std::string longest(64, 'a');
  EXPECT_TRUE(is_public_name(longest));
  EXPECT_FALSE(is_public_name(longest + "a"));
  for (const char* name : {"",
                           "/",
                           "runs/recall",
                           "recall/user_7",
                           "C:\\recall",
                           "~recall",
                           ".recall",
                           "20@recall",
                           "-recall",
                           "recall 20",
                           "recall:20",
                           "ada@example.com",
                           "ada@163.com",
                           "recall@",
                           "@20",
                           "recall@20.example",
                           "recall@20@ada",
                           "user_12345",
                           "eval_20241104",
                           "r1234-1234-1",
                           "f47ac10b-58cc-4372-a567-0e02b2c3d479",
                           "recall<b>",
                           "recall\n",
                           "ｒecall",
                           "größe",
                           "recall=1",
                           "recall,mrr"})
    EXPECT_FALSE(is_public_name(name)) << name;
}

class ReportHistory : public test::CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    if (HasFatalFailure()) return;
    for (const char* seed : {"1", "2", "3"}) {
      auto args = without(mine_args("unused"), "--out");
      args.insert(args.end(), {"--store", path("store"), "--seed", seed, "--model",
                               "m<" + std::string(seed), "--note", "a & b"});
      ASSERT_EQ(run(args).code, 0);
    }
    Store store = Store::open(path("store"));
    const StoreLock lock(store.path());
    const auto kpi = [&](int version, const char* name, double value) {
      store.record(
          Json{{"event", "kpi"}, {"version", version}, {"name", name}, {"value", value}}.dump());
    };
    kpi(1, "recall@20", 0.5);
    kpi(1, "recall@20", 0.222);  // measured again
    kpi(2, "recall@20", 0.251);
    kpi(3, "ndcg<script>", 0.125);
    kpi(9, "recall@20", 0.75);  // a version that was pruned
    store.record(Json{{"event", "audit"},
                      {"version", 1},
                      {"verdict", "fail"},
                      {"metrics", {{"drift.max_psi", 0.375}, {"fill.full_rows", nullptr}}}}
                     .dump());
    store.record(Json{{"event", "audit"},
                      {"version", 2},
                      {"verdict", "pass"},
                      {"metrics", {{"drift.max_psi", 0.0625}}}}
                     .dump());
    store.record(Json{{"event", "kpi"}, {"version", "two"}, {"name", "x"}, {"value", 1}}.dump());
    store.tag("good", 2);
  }
  static void decide(Store& store, int version, const char* event, const char* by,
                     const char* reason) {
    store.record(
        Json{{"event", event}, {"version", version}, {"by", by}, {"reason", reason}}.dump());
  }
  std::string audit_of(int version) const {
    Json audit = sample();
    audit["set"]["content_hash"] =
        Store::open(path("store")).read(static_cast<std::uint64_t>(version), false).content_hash();
    write_file("audit.json", audit.dump());
    return path("audit.json");
  }
};

TEST_F(ReportHistory, ShowsVersionsWithTheirValues) {
  const auto result = run(
      {"report", "--store", path("store"), "--out", path("h.html"), "--audit", "3=" + audit_of(3)});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.err.find("version: is a text ('two')"), std::string::npos) << result.err;
  const std::string html = read_file("h.html");
  const std::vector<std::string> list = all_of(html, "data-value");
  const std::set<std::string> values(list.begin(), list.end());
  for (const char* there :
       {"1", "2", "3", "9", "0.222", "0.251", "0.125", "0.75", "0.375", "0.0625", "0.317", "80"})
    EXPECT_TRUE(values.contains(there)) << there;
  EXPECT_FALSE(values.contains("0.5"));  // an older value of the same KPI
  EXPECT_EQ(html.find("ndcg<script>"), std::string::npos);
  EXPECT_NE(html.find("ndcg&lt;script&gt;"), std::string::npos);
  EXPECT_NE(html.find("m&lt;3"), std::string::npos);
  EXPECT_NE(html.find(">pruned<"), std::string::npos);
  // Lines: recall over versions 1, 2, 9; drift over 1, 2, 3; nothing that has one value.
  EXPECT_NE(html.find("Chart: recall@20."), std::string::npos);
  EXPECT_NE(html.find("Chart: Largest PSI."), std::string::npos);
  EXPECT_EQ(html.find("Chart: ndcg"), std::string::npos);
  run({"report", "--store", path("store"), "--out", path("again.html"), "--audit",
       "3=" + path("audit.json")});
  EXPECT_EQ(read_file("again.html"), html);
}

TEST_F(ReportHistory, TheNewestValueOfAKpiCounts) {
  std::vector<std::string> notes;
  const History history = read_history(Store::open(path("store")), {}, &notes);
  ASSERT_EQ(history.versions.size(), 4u);
  EXPECT_EQ(history.versions[0].kpis.at("recall@20").text, "0.222");
  EXPECT_EQ(history.versions[1].kpis.at("recall@20").text, "0.251");
  EXPECT_EQ(history.kpis, (std::vector<std::string>{"recall@20", "ndcg<script>"}));
  EXPECT_EQ(history.versions[0].verdict, "fail");
  EXPECT_FALSE(history.versions[0].metrics.at("fill.full_rows").value.is_number());
  EXPECT_EQ(history.versions[3].state, HistoryVersion::State::kPruned);
  EXPECT_EQ(history.versions[1].tags, "good");
  EXPECT_EQ(notes.size(), 1u);
}

TEST_F(ReportHistory, ShowsDecisionsAndRecordedAudits) {
  {
    Store store = Store::open(path("store"));
    const StoreLock lock(store.path());
    decide(store, 2, "approve", "Ada <b>", "gates pass & recall rose");
    decide(store, 1, "reject", "Bo", "leaks");
    store.record(
        Json{{"event", "audit"},
             {"version", 2},
             {"verdict", "pass"},
             {"gates", {{"leak.positives", "pass"}, {"fill.slots", "warn"}, {"leak.time", "pass"}}},
             {"limits_xxh3_128", "0123456789abcdef0123456789abcdef"},
             {"metrics", {{"drift.max_psi", 0.0625}}}}
            .dump());
    store.tag("approved", 2);
  }
  ASSERT_EQ(run({"report", "--store", path("store"), "--out", path("h.html")}).code, 0);
  const std::string html = read_file("h.html");
  for (const char* there : {"Ada &lt;b&gt;", "gates pass &amp; recall rose", ">Bo<", ">leaks<",
                            ">approved<", ">rejected<", ">fill.slots<", ">0123456789ab<", "m&lt;3",
                            ">a &amp; b<", ">approved, good<"})
    EXPECT_NE(html.find(there), std::string::npos) << there;
  std::vector<std::string> notes;
  const History history = read_history(Store::open(path("store")), {}, &notes);
  ASSERT_EQ(history.decisions.size(), 2u);
  EXPECT_EQ(history.decisions[0].version, 2u);
  EXPECT_TRUE(history.decisions[0].approved);
  EXPECT_GT(history.decisions[0].time.value, 1.6e9);
  EXPECT_EQ(history.decisions[1].reason, "leaks");
  ASSERT_EQ(history.audits.size(), 3u);
  EXPECT_FALSE(history.audits[0].has_gates) << "of before gates were recorded";
  EXPECT_EQ(history.audits[2].num_checked, 3u);
  EXPECT_EQ(history.audits[2].warned, "fill.slots");
  EXPECT_EQ(history.versions[0].decision, "rejected");
  EXPECT_EQ(history.versions[2].decision, "");
}

TEST_F(ReportHistory, ThePublicPageHoldsNoNameNoNoteAndNoReason) {
  {
    Store store = Store::open(path("store"));
    const StoreLock lock(store.path());
    decide(store, 2, "approve", "Ada Lovelace", "agreed with Shop-17");
    store.tag("approved", 2);
  }
  ASSERT_EQ(run({"report", "--store", path("store"), "--public", "--out", path("p.html")}).code, 0);
  std::vector<std::string> notes;
  const std::string html =
      public_history_html(read_history(Store::open(path("store")), {}, &notes));
  EXPECT_EQ(read_file("p.html"), html);
  ASSERT_EQ(run({"report", "--store", path("store"), "--out", path("own.html")}).code, 0);
  const std::string own = read_file("own.html");
  for (const char* secret :
       {"Ada", "Lovelace", "Shop-17", "agreed", "a &amp; b", "m&lt;", "good"}) {
    EXPECT_EQ(html.find(secret), std::string::npos) << secret;
    EXPECT_NE(own.find(secret), std::string::npos) << secret << ": else the test sees nothing";
  }
  EXPECT_EQ(html.find(path("")), std::string::npos);
  EXPECT_EQ(html.find(">recipe<"), std::string::npos);
  const std::vector<std::string> list = all_of(html, "data-value");
  const std::set<std::string> values(list.begin(), list.end());
  for (const char* there : {"1", "2", "3", "9", "0.222", "0.251", "0.75", "0.375", "0.0625", "80"})
    EXPECT_TRUE(values.contains(there)) << there;
  EXPECT_FALSE(values.contains("0.125")) << "of a KPI whose name is no figure's";
  for (const char* there :
       {">approved<", ">latest<", ">fail<", ">pass<", ">pruned<", "1 KPI of which the name"})
    EXPECT_NE(html.find(there), std::string::npos) << there;
  EXPECT_NE(html.find("Public excerpt"), std::string::npos);
}

TEST_F(ReportHistory, ReviewsOfOlderLogsShowWhatTheyHave) {
  const Json older = {{"event", "review"},
                      {"version", 2},
                      {"files", {"a"}},
                      {"events", "b"},
                      {"false_negatives", 3},
                      {"confirmed", 37},
                      {"unsure", 4},
                      {"not_judged", 5},
                      {"reviewers", 6},
                      {"share", 0.0725},
                      {"standard_error", 0.03125},
                      {"agreement", nullptr},
                      {"alpha", nullptr}};
  Json wrong = older;
  wrong["confirmed"] = "many";
  {
    Store store = Store::open(path("store"));
    const StoreLock lock(store.path());
    store.record(older.dump());
    store.record(wrong.dump());
  }
  std::vector<std::string> notes;
  const History history = read_history(Store::open(path("store")), {}, &notes);
  ASSERT_EQ(history.reviews.size(), 1u);
  EXPECT_FALSE(history.reviews[0].low.is_number());
  EXPECT_FALSE(history.reviews[0].covered.is_number());
  EXPECT_EQ(history.reviews[0].share.text, "0.0725");
  ASSERT_EQ(notes.size(), 2u);
  EXPECT_NE(notes[1].find("confirmed: is a text ('many')"), std::string::npos) << notes[1];
  const std::string html = history_html(history);
  const std::string cell = html.substr(html.find("data-value=\"0.0725\""));
  EXPECT_EQ(cell.substr(0, cell.find("</td>")).find("95 %"), std::string::npos);
  EXPECT_NE(cell.substr(0, cell.find("</td>")).find("data-value=\"0.03125\""), std::string::npos);
}

TEST_F(ReportHistory, AnAuditOfAnotherSetIsRefused) {
  const std::string audit = audit_of(2);
  expect({"report", "--store", path("store"), "--out", path("h.html"), "--audit", "3=" + audit}, 3,
         "is of another set");
  expect({"report", "--store", path("store"), "--out", path("h.html"), "--audit", "7=" + audit}, 3,
         "has no version 7");
  expect({"report", "--store", path("store"), "--out", path("h.html"), "--audit", "latest"}, 2,
         "VERSION=FILE");
  expect({"report", "--store", path("store"), "--out", path("h.html"), "--audit", "2=" + audit,
          "--audit", "v2=" + audit},
         2, "twice");
  expect({"report", "--store", path("nowhere"), "--out", path("h.html")}, 3, "no store");
}

}  // namespace
}  // namespace quarry
