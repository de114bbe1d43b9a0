// What a chart draws, and the parts that all kinds of charts share.
#include "host/audit/report_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "host/audit/report_chart.h"
#include "host/audit/report_text.h"

namespace quarry::report {
namespace {

/// The first other column of texts, if rows of `x` do not differ by themselves.
std::optional<std::size_t> group_column(const Table& table, std::size_t x) {
  std::set<std::string_view> seen;
  const bool repeats = std::any_of(table.rows.begin(), table.rows.end(), [&](const auto& row) {
    return !seen.insert(row[x].text).second;
  });
  if (!repeats) return {};
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    if (c != x && !table.columns[c].number) return c;
  }
  return {};
}

Series series_of(const Table& table, std::size_t column, bool alone) {
  const std::string& id = table.columns[column].id;
  Series series = {column, table.number_column(id + "_low"), table.number_column(id + "_high")};
  if (alone && !series.low && !series.high) {
    series.low = table.number_column("low");
    series.high = table.number_column("high");
  }
  if (!series.low || !series.high) series.low = series.high = {};
  return series;
}

}  // namespace

Plot plot_of(const Table& table, const Chart& chart) {
  Plot plot{table, chart, {}, {}, {}, false, {}};
  std::vector<std::size_t> columns = chart.y;
  const std::optional<std::size_t> limit = table.number_column("limit");
  const bool bars = chart.kind == ChartKind::kBar || chart.kind == ChartKind::kGroupedBar;
  const bool others = std::any_of(columns.begin(), columns.end(),
                                  [&](std::size_t column) { return limit && column != *limit; });
  if (limit && bars && others) {  // a chart of limits alone draws them as what it shows
    plot.limit = limit;
    std::erase(columns, *limit);
  }
  if (columns.size() > kNumStyles) {
    plot.notes.push_back(
        fmt::format("{} more columns are in the table only", columns.size() - kNumStyles));
    columns.resize(kNumStyles);
  }
  for (const std::size_t column : columns)
    plot.series.push_back(series_of(table, column, columns.size() == 1));
  if (!table.columns[chart.x].number) plot.group = group_column(table, chart.x);
  plot.diagonal = table.id == "calibration.bins" && chart.kind == ChartKind::kLine;
  return plot;
}

std::string Plot::x_words(std::size_t row) const {
  return datum_words(cell(row, chart.x), table.columns[chart.x].unit);
}

std::string Plot::title_of(std::size_t row, const Series& s) const {
  const Column& column = table.columns[s.column];
  std::string words = group ? datum_words(cell(row, *group), "") + ", " : "";
  words += fmt::format("{}, {}: {}", x_words(row), column.name,
                       datum_words(cell(row, s.column), column.unit));
  if (s.low && cell(row, *s.low).is_number() && cell(row, *s.high).is_number()) {
    words += fmt::format(" ({} to {})", datum_words(cell(row, *s.low), column.unit),
                         datum_words(cell(row, *s.high), column.unit));
  }
  return words;
}

std::string Plot::data_of(std::size_t row, const Series& s) const {
  return fmt::format(" data-value=\"{}\" data-row=\"{}\" data-col=\"{}\"",
                     escaped(cell(row, s.column).text), row, escaped(table.columns[s.column].id));
}

std::string words_of_rows(std::size_t count) {
  return fmt::format("{} row{}", count, count == 1 ? "" : "s");
}

void Extent::add(double value) {
  low = any ? std::min(low, value) : value;
  high = any ? std::max(high, value) : value;
  any = true;
}

std::string svg_text(const std::string& text, double x, double y, double width,
                     const TextStyle& style) {
  const std::string whole = visible(text);
  const std::string cut = elided(whole, width, style.size);
  return fmt::format(R"(<text class="{}" x="{}" y="{}" text-anchor="{}">{}{}</text>)",
                     style.classes, px(x), px(y), style.anchor,
                     cut == whole ? "" : "<title>" + escaped(text) + "</title>", escaped(cut));
}

std::string svg_legend(const std::vector<LegendEntry>& entries, double* bottom) {
  constexpr double kLine = 18, kSwatch = 22, kGap = 16;
  std::string svg;
  double x = 0, y = kLine - 4;
  for (const LegendEntry& entry : entries) {
    const double width = std::min(kSwatch + text_width(entry.name, kLabelSize), kPlotWidth);
    if (x > 0 && x + width > kPlotWidth) x = 0, y += kLine;
    svg += fmt::format(R"svg(<g transform="translate({} {})">{}</g>)svg", px(x), px(y - 4),
                       entry.swatch);
    svg +=
        svg_text(entry.name, x + kSwatch, y, kPlotWidth - x - kSwatch, {"l", "start", kLabelSize});
    x += width + kGap;
  }
  *bottom = entries.empty() ? 4 : y + 8;
  return svg;
}

std::string svg_ticks_below(const Axis& axis, const std::string& unit, double top, double bottom,
                            bool lines) {
  constexpr double kBetween = 8;
  std::string svg;
  double used = -1e9;
  for (const double tick : axis.ticks()) {
    const double x = axis.at(tick);
    const std::string words = number_words(tick, unit);
    const double half = text_width(words, kTickSize) / 2;
    svg += fmt::format(
        R"(<line class="{}" data-axis="x" data-tick="{:.12g}" x1="{}" x2="{}" y1="{}" y2="{}"/>)",
        lines ? "g" : "t", tick, px(x), px(x), px(lines ? top : bottom), px(bottom + 4));
    if (x - half < used + kBetween || x + half > kPlotWidth + 2) continue;
    svg += svg_text(words, x, bottom + 17, kPlotWidth, {"k", "middle", kTickSize});
    used = x + half;
  }
  return svg;
}

std::string svg_of(const Plot& plot, const std::string& body, double height) {
  return fmt::format(
      R"(<svg viewBox="0 0 {} {}" role="img" aria-label="Chart: {}. The table holds its numbers.">{}</svg>)",
      px(kPlotWidth), px(height), escaped(plot.table.title), body);
}

std::string chart_figure(const Table& table) {
  if (!table.chart) return "";
  Plot plot = plot_of(table, *table.chart);
  const bool lies_on_a_scale = table.columns[plot.chart.x].number && plot.series.size() == 1;
  const bool plane = plot.chart.kind == ChartKind::kLine ||
                     (plot.chart.kind == ChartKind::kBar && lies_on_a_scale && !plot.limit);
  const std::string svg = plane ? draw_plane(plot) : draw_bars(plot);
  std::string caption;
  for (const std::string& note : plot.notes) caption += (caption.empty() ? "" : "; ") + note;
  if (svg.empty()) caption = "nothing to draw: no row has a number";
  if (!caption.empty()) caption = "<figcaption>" + escaped(caption) + "</figcaption>";
  return "<figure class=\"chart\">" + svg + caption + "</figure>\n";
}

}  // namespace quarry::report
