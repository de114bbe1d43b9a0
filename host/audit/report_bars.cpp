// Bars that lie: one row of the page per row of the table, so that names have room on a phone.
#include <fmt/format.h>

#include <algorithm>

#include "host/audit/report_plot.h"
#include "host/audit/report_text.h"

namespace quarry::report {
namespace {

constexpr std::size_t kMostBars = 120;

/// Sizes that do not depend on the values.
struct Look {
  bool stacked = false, values = false;
  bool dots = false;  ///< a logarithmic scale has no 0 from which a bar could be long
  double bar = 14, between = 8, heading = 22;
  double left = 0, right = 0;  ///< of the plot
  double top = 0;
};

bool has_number(const Plot& plot, std::size_t row) {
  return std::any_of(plot.series.begin(), plot.series.end(),
                     [&](const Series& s) { return plot.cell(row, s.column).is_number(); });
}

/// Rows with a number, as many as fit.
std::vector<std::size_t> rows_of(Plot& plot, bool stacked) {
  std::vector<std::size_t> rows;
  std::size_t without = 0, negative = 0;
  for (std::size_t row = 0; row < plot.table.rows.size(); ++row) {
    const bool below =
        stacked && std::any_of(plot.series.begin(), plot.series.end(), [&](const Series& s) {
          return plot.cell(row, s.column).is_number() && plot.cell(row, s.column).value < 0;
        });
    if (below) {
      ++negative;
    } else if (has_number(plot, row)) {
      rows.push_back(row);
    } else {
      ++without;
    }
  }
  if (without > 0 && !rows.empty())
    plot.notes.push_back(words_of_rows(without) + " without a number left out");
  if (negative > 0)
    plot.notes.push_back(words_of_rows(negative) +
                         " with a number below 0 left out, which cannot be stacked");
  const std::size_t most =
      std::max<std::size_t>(kMostBars / (stacked ? 3 : 3 * plot.series.size()), 10);
  if (rows.size() > most) {
    plot.notes.push_back(
        fmt::format("the first {} of {} rows; the table has all", most, rows.size()));
    rows.resize(most);
  }
  return rows;
}

bool has_dots(const Plot& plot) {
  return plot.chart.log_x && plot.chart.kind != ChartKind::kStackedBar &&
         !plot.table.columns[plot.chart.x].number;
}

/// Of what lies on a logarithmic scale; counts what does not.
Extent extent_of_dots(Plot& plot, const std::vector<std::size_t>& rows) {
  Extent extent;
  std::size_t not_above = 0;
  const auto add = [&](const Datum& datum) {
    if (datum.is_number() && datum.value > 0) extent.add(datum.value);
  };
  for (const std::size_t row : rows) {
    for (const Series& s : plot.series) {
      const Datum& value = plot.cell(row, s.column);
      if (value.is_number() && value.value <= 0) ++not_above;
      add(value);
      if (s.low) add(plot.cell(row, *s.low)), add(plot.cell(row, *s.high));
    }
    if (plot.limit) add(plot.cell(row, *plot.limit));
  }
  if (not_above > 0)
    plot.notes.push_back(
        fmt::format("{} number{} at or below 0 left out, which a logarithmic scale has not",
                    not_above, not_above == 1 ? "" : "s"));
  return extent;
}

Extent extent_of(const Plot& plot, const std::vector<std::size_t>& rows, bool stacked) {
  Extent extent;
  extent.add(0);
  for (const std::size_t row : rows) {
    double sum = 0;
    for (const Series& s : plot.series) {
      const Datum& value = plot.cell(row, s.column);
      sum += value.is_number() ? value.value : 0;
      if (stacked) continue;
      extent.add(value);
      if (s.low) extent.add(plot.cell(row, *s.low)), extent.add(plot.cell(row, *s.high));
    }
    if (stacked) extent.add(std::min(sum, 1.7e308));
    if (plot.limit) extent.add(plot.cell(row, *plot.limit));
  }
  return extent;
}

Look look_of(const Plot& plot, const std::vector<std::size_t>& rows) {
  constexpr double kMostName = 150, kLeastMargin = 26;
  Look look;
  look.stacked = plot.chart.kind == ChartKind::kStackedBar;
  look.dots = has_dots(plot);
  look.values = !look.stacked && plot.series.size() <= 3;
  if (!look.stacked && plot.series.size() > 1) look.bar = plot.series.size() <= 3 ? 13 : 8;
  double name = 0, value = 0;
  for (const std::size_t row : rows) {
    name = std::max(name, text_width(plot.x_words(row), kLabelSize));
    for (const Series& s : plot.series)
      value = std::max(value, text_width(datum_words(plot.cell(row, s.column),
                                                     plot.table.columns[s.column].unit),
                                         kTickSize));
  }
  look.left = std::min(name, kMostName) + 10;
  look.right =
      kPlotWidth - (look.values ? std::clamp(value + 10, kLeastMargin, 110.0) : kLeastMargin);
  return look;
}

std::vector<LegendEntry> legend_of(const Plot& plot) {
  std::vector<LegendEntry> entries;
  for (std::size_t i = 0; i < plot.series.size() && plot.series.size() > 1; ++i) {
    const std::string bar =
        fmt::format(R"(<rect class="s{}" x="0" y="-6" width="16" height="11"/>)", i);
    const std::string dot = fmt::format(R"(<circle class="p s{}" cx="8" cy="0" r="4.5"/>)", i);
    entries.push_back({plot.table.columns[plot.series[i].column].name, has_dots(plot) ? dot : bar});
  }
  if (plot.series[0].low)
    entries.push_back({"95 % interval", R"(<path class="w" d="M0 0H16M0 -4V4M16 -4V4"/>)"});
  if (plot.limit) {
    entries.push_back({plot.table.columns[*plot.limit].name,
                       R"(<line class="limit" x1="8" x2="8" y1="-7" y2="6"/>)"});
  }
  return entries;
}

std::string whisker(const Plot& plot, std::size_t row, const Series& s, const Axis& axis,
                    double y) {
  const Datum& low = plot.cell(row, *s.low);
  const Datum& high = plot.cell(row, *s.high);
  if (!low.is_number() || !high.is_number() || (has_dots(plot) && low.value <= 0)) return "";
  return fmt::format(
      R"(<path class="w" data-low="{}" data-high="{}" data-row="{}" d="M{} {}H{}M{} {}V{}M{} {}V{}"/>)",
      low.text, high.text, row, px(axis.at(low.value)), px(y), px(axis.at(high.value)),
      px(axis.at(low.value)), px(y - 4), px(y + 4), px(axis.at(high.value)), px(y - 4), px(y + 4));
}

std::string dot(const Plot& plot, std::size_t row, std::size_t series, const Axis& axis,
                double left, double y) {
  const Series& s = plot.series[series];
  const Datum& value = plot.cell(row, s.column);
  if (!value.is_number() || value.value <= 0) return "";
  const double x = axis.at(value.value);
  const std::string guide = fmt::format(R"(<line class="g" x1="{}" x2="{}" y1="{}" y2="{}"/>)",
                                        px(left), px(x), px(y), px(y));
  return guide +
         fmt::format(
             R"(<circle class="p s{}"{} cx="{}" cy="{}" r="4.5"><title>{}</title></circle>)",
             series, plot.data_of(row, s), px(x), px(y), escaped(plot.title_of(row, s)));
}

std::string bar(const Plot& plot, std::size_t row, std::size_t series, const Axis& axis,
                double from, double to, double y, double height) {
  const Series& s = plot.series[series];
  const double x0 = axis.at(std::min(from, to)), x1 = axis.at(std::max(from, to));
  return fmt::format(
      R"(<rect class="s{}"{} x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>)",
      series, plot.data_of(row, s), px(x0), px(y), px(x1 - x0), px(height),
      escaped(plot.title_of(row, s)));
}

/// All bars of a row from `y` down.
std::string row_of_bars(const Plot& plot, std::size_t row, const Axis& axis, const Look& look,
                        double y) {
  std::string svg;
  double sum = 0;
  const double begin = y;
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    const Series& s = plot.series[i];
    const Datum& value = plot.cell(row, s.column);
    if (look.dots) {
      svg += dot(plot, row, i, axis, look.left, y + look.bar / 2 - 0.5);
    } else if (value.is_number()) {
      svg += bar(plot, row, i, axis, sum, sum + value.value, y, look.bar - 1);
    }
    if (look.stacked) {
      sum += value.is_number() ? value.value : 0;
      continue;
    }
    if (s.low) svg += whisker(plot, row, s, axis, y + look.bar / 2 - 0.5);
    if (look.values) {
      svg += svg_text(datum_words(value, plot.table.columns[s.column].unit), kPlotWidth,
                      y + look.bar - 2.5, kPlotWidth - look.right - 4, {"k", "end", kTickSize});
    }
    y += look.bar;
  }
  if (plot.limit && plot.cell(row, *plot.limit).is_number() &&
      !(look.dots && plot.cell(row, *plot.limit).value <= 0)) {
    const Datum& limit = plot.cell(row, *plot.limit);
    const std::string& unit = plot.table.columns[*plot.limit].unit;
    svg += fmt::format(
        R"(<line class="limit" data-limit="{}" data-row="{}" x1="{}" x2="{}" y1="{}" y2="{}"><title>{}: {}</title></line>)",
        limit.text, row, px(axis.at(limit.value)), px(axis.at(limit.value)), px(begin - 3),
        px((look.stacked ? begin + look.bar : y) + 2),
        escaped(plot.table.columns[*plot.limit].name), escaped(datum_words(limit, unit)));
  }
  return svg;
}

}  // namespace

std::string draw_bars(Plot& plot) {
  const bool stacked = plot.chart.kind == ChartKind::kStackedBar;
  const std::vector<std::size_t> rows = rows_of(plot, stacked);
  if (rows.empty()) return "";
  Look look = look_of(plot, rows);
  const Extent extent = look.dots ? extent_of_dots(plot, rows) : extent_of(plot, rows, stacked);
  if (!extent.any) return "";
  const Axis axis = look.dots
                        ? Axis::logarithmic(extent.low, extent.high, look.left + 6, look.right, 4)
                        : Axis(extent.low, extent.high, look.left, look.right, 4, true);
  std::string svg = svg_legend(legend_of(plot), &look.top);
  std::string bars;
  double y = look.top + 4;
  const std::string* group = nullptr;
  for (const std::size_t row : rows) {
    if (plot.group) {
      const std::string& name = plot.cell(row, *plot.group).text;
      if (group == nullptr || *group != name) {
        bars += svg_text(datum_words(plot.cell(row, *plot.group), ""), 0, y + 13, kPlotWidth,
                         {"h", "start", kLabelSize});
        y += look.heading;
      }
      group = &name;
    }
    const double height = look.bar * static_cast<double>(look.stacked ? 1 : plot.series.size());
    bars += svg_text(plot.x_words(row), look.left - 6, y + height / 2 + 4, look.left - 6,
                     {"l", "end", kLabelSize});
    bars += row_of_bars(plot, row, axis, look, y);
    y += height + look.between;
  }
  const double zero = look.dots ? look.left : axis.at(0);
  svg += svg_ticks_below(axis, plot.unit(), look.top, y, true) + bars;
  svg += fmt::format(R"(<line class="a" x1="{}" x2="{}" y1="{}" y2="{}"/>)", px(zero), px(zero),
                     px(look.top), px(y));
  std::string scale = plot.series.size() == 1 ? plot.table.columns[plot.series[0].column].name : "";
  if (look.dots) scale += scale.empty() ? "logarithmic" : " (logarithmic)";
  if (!scale.empty())
    svg += svg_text(scale, (look.left + look.right) / 2, y + 33, kPlotWidth - look.left,
                    {"k", "middle", kTickSize});
  return svg_of(plot, svg, y + (scale.empty() ? 22 : 38));
}

}  // namespace quarry::report
