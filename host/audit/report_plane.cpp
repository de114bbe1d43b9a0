// Lines and standing bars over a scale.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "host/audit/report_plot.h"
#include "host/audit/report_text.h"

namespace quarry::report {
namespace {

constexpr double kHeight = 180;

/// Where things lie.
struct Frame {
  double left = 0, right = kPlotWidth - 10, top = 0, bottom = 0;
  bool ordinal = false;  ///< x are texts, one beside the other
  bool bars = false;
  std::vector<std::size_t> rows;
};

double x_value(const Plot& plot, const Frame& frame, std::size_t at) {
  return frame.ordinal ? static_cast<double>(at) : plot.cell(frame.rows[at], plot.chart.x).value;
}

/// Rows that have a place on the scale of x, by x.
std::vector<std::size_t> rows_of(Plot& plot, bool ordinal) {
  std::vector<std::size_t> rows;
  std::size_t without = 0, not_above = 0;
  for (std::size_t row = 0; row < plot.table.rows.size(); ++row) {
    const Datum& x = plot.cell(row, plot.chart.x);
    if (!ordinal && !x.is_number()) {
      ++without;
    } else if (!ordinal && plot.chart.log_x && x.value <= 0) {
      ++not_above;
    } else {
      rows.push_back(row);
    }
  }
  if (!ordinal) {
    std::stable_sort(rows.begin(), rows.end(), [&](std::size_t a, std::size_t b) {
      return plot.cell(a, plot.chart.x).value < plot.cell(b, plot.chart.x).value;
    });
  }
  const std::string& name = plot.table.columns[plot.chart.x].name;
  if (without > 0)
    plot.notes.push_back(fmt::format("{} without {} left out", words_of_rows(without), name));
  if (not_above > 0) {
    plot.notes.push_back(
        fmt::format("{} with {} at or below 0 left out, which a logarithmic scale has not",
                    words_of_rows(not_above), name));
  }
  return rows;
}

Extent y_extent(const Plot& plot, const Frame& frame) {
  Extent extent;
  for (const std::size_t row : frame.rows) {
    for (const Series& s : plot.series) {
      extent.add(plot.cell(row, s.column));
      if (s.low && plot.cell(row, s.column).is_number())
        extent.add(plot.cell(row, *s.low)), extent.add(plot.cell(row, *s.high));
    }
  }
  // From 0 where that costs little of the height; bars always.
  if (extent.any && (frame.bars || (extent.low > 0 && extent.low < 0.6 * extent.high)))
    extent.add(0);
  return extent;
}

Axis x_axis(const Plot& plot, const Frame& frame) {
  Extent extent;
  for (std::size_t i = 0; i < frame.rows.size(); ++i) extent.add(x_value(plot, frame, i));
  const double slot = (frame.right - frame.left) / static_cast<double>(frame.rows.size());
  const double room = frame.bars || frame.ordinal ? std::max(slot / 2, 4.0) : 8;
  const double begin = frame.left + room, end = frame.right - room;
  if (plot.chart.log_x && !frame.ordinal)
    return Axis::logarithmic(extent.low, extent.high, begin, end, 6);
  return {extent.low, extent.high, begin, end, 6, false};
}

std::string y_ticks(const Axis& axis, const Plot& plot, const Frame& frame) {
  std::string svg;
  for (const double tick : axis.ticks()) {
    const double y = axis.at(tick);
    svg += fmt::format(
        R"(<line class="g" data-axis="y" data-tick="{:.12g}" x1="{}" x2="{}" y1="{}" y2="{}"/>)",
        tick, px(frame.left), px(frame.right), px(y), px(y));
    svg += svg_text(number_words(tick, plot.unit()), frame.left - 6, y + 4, frame.left,
                    {"k", "end", kTickSize});
  }
  return svg;
}

/// Names below their places, as many as have room.
std::string x_names(const Plot& plot, const Frame& frame, const Axis& axis) {
  constexpr double kLeastRoom = 56;
  const double slot = (frame.right - frame.left) / static_cast<double>(frame.rows.size());
  const auto every = std::max<std::size_t>(1, static_cast<std::size_t>(kLeastRoom / slot + 0.999));
  std::string svg;
  for (std::size_t i = 0; i < frame.rows.size(); i += every) {
    svg += svg_text(plot.x_words(frame.rows[i]), axis.at(static_cast<double>(i)), frame.bottom + 17,
                    slot * static_cast<double>(every) - 6, {"k", "middle", kTickSize});
  }
  return svg;
}

double bar_width(const Plot& plot, const Frame& frame, const Axis& x) {
  double least = 60;
  for (std::size_t i = 1; i < frame.rows.size(); ++i) {
    const double gap = x.at(x_value(plot, frame, i)) - x.at(x_value(plot, frame, i - 1));
    if (gap > 0) least = std::min(least, gap);
  }
  return std::clamp(least * 0.86, 1.0, 44.0);
}

std::string whisker(const Plot& plot, std::size_t row, const Series& s, double x,
                    const Axis& axis) {
  if (!s.low || !plot.cell(row, *s.low).is_number() || !plot.cell(row, *s.high).is_number())
    return "";
  const Datum& low = plot.cell(row, *s.low);
  const Datum& high = plot.cell(row, *s.high);
  const double y0 = axis.at(low.value), y1 = axis.at(high.value);
  return fmt::format(
      R"(<path class="w" data-low="{}" data-high="{}" data-row="{}" d="M{} {}V{}M{} {}H{}M{} {}H{}"/>)",
      low.text, high.text, row, px(x), px(y0), px(y1), px(x - 4), px(y0), px(x + 4), px(x - 4),
      px(y1), px(x + 4));
}

/// data-x: where the mark stands, as the file has it.
std::string data_of(const Plot& plot, const Frame& frame, std::size_t row, const Series& s) {
  std::string data = plot.data_of(row, s);
  if (!frame.ordinal) data += " data-x=\"" + plot.cell(row, plot.chart.x).text + "\"";
  return data;
}

/// One column as a line, or as bars.
std::string draw_series(const Plot& plot, const Frame& frame, std::size_t series,
                        const Axis& x_axis, const Axis& y_axis) {
  const Series& s = plot.series[series];
  std::string line, marks;
  bool joined = false;
  const double width = frame.bars ? bar_width(plot, frame, x_axis) : 0;
  for (std::size_t i = 0; i < frame.rows.size(); ++i) {
    const std::size_t row = frame.rows[i];
    const Datum& value = plot.cell(row, s.column);
    if (!value.is_number()) {
      joined = false;
      continue;
    }
    const double x = x_axis.at(x_value(plot, frame, i)), y = y_axis.at(value.value);
    const std::string title = "<title>" + escaped(plot.title_of(row, s)) + "</title>";
    const std::string data = data_of(plot, frame, row, s);
    if (frame.bars) {
      const double zero = y_axis.at(0);
      marks += fmt::format(R"(<rect class="s{}"{} x="{}" y="{}" width="{}" height="{}">{}</rect>)",
                           series, data, px(x - width / 2), px(std::min(y, zero)), px(width),
                           px(std::max(y, zero) - std::min(y, zero)), title);
    } else {
      line += fmt::format("{}{} {}", joined ? "L" : "M", px(x), px(y));
      marks += fmt::format(R"(<circle class="p s{}"{} cx="{}" cy="{}" r="3.5">{}</circle>)", series,
                           data, px(x), px(y), title);
      joined = true;
    }
    marks += whisker(plot, row, s, x, y_axis);
  }
  if (!line.empty()) line = fmt::format(R"(<path class="line s{}" d="{}"/>)", series, line);
  return line + marks;
}

std::vector<LegendEntry> legend_of(const Plot& plot, const Frame& frame) {
  std::vector<LegendEntry> entries;
  for (std::size_t i = 0; i < plot.series.size() && plot.series.size() > 1; ++i) {
    entries.push_back(
        {plot.table.columns[plot.series[i].column].name,
         fmt::format(
             R"(<path class="line s{}" d="M0 0H16"/><circle class="p s{}" cx="8" cy="0" r="3.5"/>)",
             i, i)});
  }
  if (plot.series[0].low)
    entries.push_back({"95 % interval", R"(<path class="w" d="M8 -6V6M4 -6H12M4 6H12"/>)"});
  if (plot.diagonal && !frame.ordinal)
    entries.push_back({"as predicted", R"(<line class="ideal" x1="0" x2="16" y1="4" y2="-4"/>)"});
  return entries;
}

/// Where y equals x, as far as both axes go.
std::string diagonal(const Axis& x, const Axis& y, const Extent& x_extent, const Extent& y_extent) {
  const double low = std::max(x_extent.low, std::min(y_extent.low, y.ticks().front()));
  const double high = std::min(x_extent.high, std::max(y_extent.high, y.ticks().back()));
  if (low >= high) return "";
  return fmt::format(R"(<line class="ideal" x1="{}" y1="{}" x2="{}" y2="{}"/>)", px(x.at(low)),
                     px(y.at(low)), px(x.at(high)), px(y.at(high)));
}

}  // namespace

std::string draw_plane(Plot& plot) {
  Frame frame;
  frame.ordinal = !plot.table.columns[plot.chart.x].number;
  frame.bars = plot.chart.kind != ChartKind::kLine;
  frame.rows = rows_of(plot, frame.ordinal);
  const Extent extent = y_extent(plot, frame);
  if (!extent.any) return "";
  std::string svg = svg_legend(legend_of(plot, frame), &frame.top);
  if (plot.series.size() == 1)
    svg += svg_text(plot.table.columns[plot.series[0].column].name, 0, frame.top += 12, kPlotWidth,
                    {"k", "start", kTickSize});
  frame.top += 10;
  frame.bottom = frame.top + kHeight;
  const Axis y(extent.low, extent.high, frame.bottom, frame.top, 5, true);
  for (const double tick : y.ticks())
    frame.left = std::max(frame.left, text_width(number_words(tick, plot.unit()), kTickSize) + 10);
  frame.left = std::min(frame.left, 120.0);
  const Axis x = x_axis(plot, frame);
  const Column& column = plot.table.columns[plot.chart.x];
  svg += y_ticks(y, plot, frame);
  svg += frame.ordinal ? x_names(plot, frame, x)
                       : svg_ticks_below(x, column.unit, frame.top, frame.bottom, false);
  if (plot.diagonal && !frame.ordinal) {
    Extent across;
    for (std::size_t i = 0; i < frame.rows.size(); ++i) across.add(x_value(plot, frame, i));
    svg += diagonal(x, y, across, extent);
  }
  for (std::size_t i = 0; i < plot.series.size(); ++i) svg += draw_series(plot, frame, i, x, y);
  const double base = extent.low <= 0 && extent.high >= 0 ? y.at(0) : frame.bottom;
  svg += fmt::format(R"(<line class="a" x1="{}" x2="{}" y1="{}" y2="{}"/>)", px(frame.left),
                     px(frame.right), px(base), px(base));
  svg += svg_text(column.name + (plot.chart.log_x && !frame.ordinal ? " (logarithmic)" : ""),
                  (frame.left + frame.right) / 2, frame.bottom + 33, kPlotWidth - frame.left,
                  {"k", "middle", kTickSize});
  return svg_of(plot, svg, frame.bottom + 38);
}

}  // namespace quarry::report
