// Filters of [safety] and of branches: one reader per kind.
#include <algorithm>
#include <cmath>
#include <limits>

#include "host/recipe/parts.h"

namespace quarry::recipe_text {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

void read_nothing(Section&, FilterSpec&) {}

void read_exposed(Section& s, FilterSpec& f) {
  f.classes = read_classes(s, {ExposureClass::kPositive, ExposureClass::kAversion,
                               ExposureClass::kDisinterest, ExposureClass::kAmbiguous});
  f.max_age = s.duration("max_age");
}

void read_column_name(Section& s, FilterSpec& f) {
  f.column = s.text("column", Need::kRequired).value_or("");
}

void read_near_duplicate(Section& s, FilterSpec& f) {
  f.bound = s.number("cosine", {0.0, 1.0, true}, Need::kRequired).value_or(1.0);
  f.table = s.text("table").value_or("");
}

void read_similarity(Section& s, FilterSpec& f) {
  f.bound = s.number("max", {-1.0, 1.0}, Need::kRequired).value_or(1.0);
  f.table = s.text("table").value_or("");
}

void read_overlap(Section& s, FilterSpec& f) {
  constexpr std::size_t kMostColumns = 64;  // a bit each in Filter::column_mask
  const Node* columns = s.node().find("columns");
  for (auto& [column, at] : s.texts("columns", Need::kRequired)) f.columns.push_back(column);
  if (f.columns.size() > kMostColumns) {
    s.reader().problems.add(columns->at, "columns of " + s.what() + " names " +
                                             std::to_string(f.columns.size()) +
                                             " columns; allowed up to 64");
  }
  const auto most = static_cast<std::int64_t>(std::max<std::size_t>(1, f.columns.size()));
  f.min_equal =
      static_cast<std::uint32_t>(s.integer("min_equal", 1, most, Need::kRequired).value_or(1));
}

void read_universal(Section& s, FilterSpec& f) {
  f.bound = s.number("share", {0.0, 1.0, true, true}, Need::kRequired).value_or(0.5);
}

void read_allow_list(Section& s, FilterSpec& f) {
  f.table = s.text("list", Need::kRequired).value_or("");
}

void read_score(Section& s, FilterSpec& f) {
  f.lo = s.number("lo", kAnyNumber).value_or(-kInfinity);
  f.hi = s.number("hi", kAnyNumber).value_or(kInfinity);
  if (s.node().find("lo") == nullptr && s.node().find("hi") == nullptr) {
    s.reader().problems.add(s.at(), s.what() + " has neither lo nor hi; give at least one");
  } else if (f.lo > f.hi) {
    s.reader().problems.add(s.node().find("lo")->at,
                            "lo of " + s.what() + " is " + number_text(f.lo) + ", above hi = " +
                                number_text(f.hi) + "; no score passes; swap them");
  }
}

void read_absolute_margin(Section& s, FilterSpec& f) {
  f.bound = s.number("margin", kNotNegative, Need::kRequired).value_or(0.0);
  f.against = read_against(s, "against").value_or(PositiveScore::kMin);
}

void read_relative_margin(Section& s, FilterSpec& f) {
  f.bound = s.number("ratio", {0.0, 1.0, true}, Need::kRequired).value_or(1.0);
  f.against = read_against(s, "against").value_or(PositiveScore::kMin);
}

/// [lo, hi] of a window; problems are reported at the element that is wrong.
void read_rank(Section& s, FilterSpec& f) {
  constexpr std::int64_t kLastRank = 0xFFFFFFFE;
  Problems& problems = s.reader().problems;
  f.window.survivors = s.choice<bool>("of", {{"survivors", true}, {"raw", false}}).value_or(true);
  const Node* window = s.find("window");
  const Node* quantile = s.find("quantile");
  if ((window == nullptr) == (quantile == nullptr)) {
    problems.add(s.at(), s.what() +
                             (window == nullptr ? " has neither window nor quantile"
                                                : " has both window and quantile") +
                             "; give one, e.g. window = [1, 400] or quantile = [0.0, 0.12]");
    return;
  }
  f.window.quantile = quantile != nullptr;
  const Node& pair = quantile != nullptr ? *quantile : *window;
  const std::string what = s.name(quantile != nullptr ? "quantile" : "window");
  if (pair.kind != Node::Kind::kArray || pair.elements.size() != 2) {
    problems.add(pair.at, what + " is " + describe(pair) + "; expected [lo, hi], e.g. " +
                              (quantile != nullptr ? "[0.0, 0.12]" : "[1, 400]"));
    return;
  }
  if (quantile != nullptr) {
    const auto lo = s.reader().number(pair.elements[0], "lo of " + what, {0.0, 1.0});
    const auto hi = s.reader().number(pair.elements[1], "hi of " + what, {0.0, 1.0});
    if (!lo || !hi) return;
    f.window.lo = static_cast<std::uint64_t>(std::llround(*lo * 1e6));
    f.window.hi = static_cast<std::uint64_t>(std::llround(*hi * 1e6));
    if (f.window.lo >= f.window.hi) {
      problems.add(pair.at, what + " is (" + number_text(*lo) + ", " + number_text(*hi) +
                                "], which holds no rank; lo must be below hi by at least 0.000001");
    }
    return;
  }
  const auto lo = s.reader().integer(pair.elements[0], "lo of " + what, 1, kLastRank);
  const auto hi = s.reader().integer(pair.elements[1], "hi of " + what, 1, kLastRank);
  if (!lo || !hi) return;
  f.window.lo = static_cast<std::uint64_t>(*lo);
  f.window.hi = static_cast<std::uint64_t>(*hi);
  if (*lo > *hi) {
    problems.add(pair.at, what + " is [" + std::to_string(*lo) + ", " + std::to_string(*hi) +
                              "], which holds no rank; ranks start at 1 and both ends count; swap "
                              "lo and hi");
  }
}

void read_column(Section& s, FilterSpec& f) {
  f.table = s.text("table", Need::kRequired).value_or("");
  const auto most = s.number("max", kAnyNumber);
  const auto ratio = s.number("relative", kPositiveNumber);
  const bool has_most = s.node().find("max") != nullptr;
  const bool has_ratio = s.node().find("relative") != nullptr;
  if (has_most == has_ratio) {
    s.reader().problems.add(
        s.at(), s.what() +
                    (has_most ? " has both max and relative" : " has neither max nor relative") +
                    "; give one, e.g. max = 0.1");
  }
  f.relative = has_ratio;
  f.bound = has_ratio ? ratio.value_or(1.0) : most.value_or(0.0);
  f.reject_missing = s.choice<bool>("missing", {{"keep", false}, {"reject", true}}).value_or(false);
}

struct FilterKindRow {
  std::string_view kind;
  FilterType type;
  void (*read)(Section&, FilterSpec&);
};
constexpr FilterKindRow kFilterKinds[] = {
    {"positives", FilterType::kPositives, read_nothing},
    {"exposed", FilterType::kExposed, read_exposed},
    {"group", FilterType::kGroup, read_column_name},
    {"near_duplicate", FilterType::kNearDuplicate, read_near_duplicate},
    {"similarity", FilterType::kSimilarity, read_similarity},
    {"overlap", FilterType::kOverlap, read_overlap},
    {"time", FilterType::kTime, read_nothing},
    {"universal", FilterType::kUniversal, read_universal},
    {"allow_list", FilterType::kAllowList, read_allow_list},
    {"segment", FilterType::kSegment, read_column_name},
    {"score", FilterType::kScore, read_score},
    {"absolute_margin", FilterType::kAbsoluteMargin, read_absolute_margin},
    {"relative_margin", FilterType::kRelativeMargin, read_relative_margin},
    {"rank", FilterType::kRank, read_rank},
    {"column", FilterType::kColumn, read_column},
};

}  // namespace

std::optional<PositiveScore> read_against(Section& section, std::string_view key) {
  // Clearing every positive is clearing the lowest one.
  return section.choice<PositiveScore>(key, {{"min", PositiveScore::kMin},
                                             {"each", PositiveScore::kMin},
                                             {"max", PositiveScore::kMax},
                                             {"mean", PositiveScore::kMean},
                                             {"random", PositiveScore::kRandom}});
}

std::vector<ReadFilter> read_filters(Reader& reader, const Node& node, const std::string& owner) {
  std::vector<ReadFilter> out;
  if (node.kind != Node::Kind::kArray) {
    reader.problems.add(node.at, "filters of " + owner + " is " + describe(node) +
                                     "; expected a list; try [{ kind = \"positives\" }]");
    return out;
  }
  std::vector<std::string> known;
  for (const FilterKindRow& row : kFilterKinds) known.emplace_back(row.kind);
  for (const Node& element : node.elements) {
    const auto table = with_kind(reader, element, "a filter of " + owner);
    if (!table) continue;
    const Node* kind = table->find("kind");
    const auto row =
        std::find_if(std::begin(kFilterKinds), std::end(kFilterKinds), [&](const auto& r) {
          return kind != nullptr && kind->kind == Node::Kind::kString && kind->text == r.kind;
        });
    if (row == std::end(kFilterKinds)) {
      if (kind == nullptr) {
        reader.problems.add(element.at,
                            "a filter of " + owner + " has no kind; allowed: " + joined(known));
      } else {
        reader.problems.add(kind->at, "filter kind " + describe(*kind) + " of " + owner +
                                          "; allowed: " + joined(known) +
                                          did_you_mean(kind->text, known));
      }
      continue;
    }
    ReadFilter filter;
    filter.at = element.at;
    filter.spec.type = row->type;
    filter.spec.kind_text = std::string(row->kind);
    filter.spec.line = static_cast<int>(element.at.line);
    Section section(reader, *table, "filter " + filter.spec.kind_text + " of " + owner);
    section.find("kind");
    row->read(section, filter.spec);
    section.finish();
    out.push_back(std::move(filter));
  }
  return out;
}

}  // namespace quarry::recipe_text

namespace quarry {

std::string filter_name(const FilterSpec& filter) {
  std::string name = filter.kind_text;
  if (filter.classes != 0) {
    std::string classes;
    for (std::uint32_t c = 0; c < kNumExposureClasses; ++c) {
      if ((filter.classes >> c & 1u) == 0) continue;
      classes += (classes.empty() ? "" : "+") +
                 std::string(recipe_text::class_name(static_cast<ExposureClass>(c)));
    }
    name += ":" + classes;
  }
  if (!filter.column.empty()) name += ":" + filter.column;
  for (std::size_t i = 0; i < filter.columns.size(); ++i)
    name += (i == 0 ? ":" : "+") + filter.columns[i];
  if (!filter.table.empty()) name += ":" + filter.table;
  if (filter.type == FilterType::kRank) name += filter.window.survivors ? ":survivors" : ":raw";
  return name;
}

}  // namespace quarry
