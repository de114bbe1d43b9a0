// What a chart draws, chosen from its table, and the parts that all kinds of charts share. Private
// to the report.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "host/audit/report_axis.h"
#include "host/audit/report_model.h"

namespace quarry::report {

constexpr double kPlotWidth = 400;  ///< of every chart; phones show it a little smaller
constexpr double kLabelSize = 12, kTickSize = 11;
constexpr std::size_t kNumStyles = 6;  ///< of series: classes s0 to s5

struct Series {
  std::size_t column;
  std::optional<std::size_t> low, high;
};

/// Columns and rows to draw.
struct Plot {
  const Table& table;
  const Chart& chart;
  std::vector<Series> series;
  std::optional<std::size_t> limit;  ///< column
  std::optional<std::size_t> group;  ///< column of texts that tells apart rows of the same x
  bool diagonal = false;             ///< where y equals x
  std::vector<std::string> notes;    ///< for the caption

  const Datum& cell(std::size_t row, std::size_t column) const { return table.rows[row][column]; }
  const std::string& unit() const { return table.columns[series[0].column].unit; }
  std::string x_words(std::size_t row) const;
  /// "x, column: value" of a mark.
  std::string title_of(std::size_t row, const Series& series) const;
  /// data-value, data-row, data-col and those of the interval.
  std::string data_of(std::size_t row, const Series& series) const;
};

Plot plot_of(const Table& table, const Chart& chart);

/// "1 row", "2 rows".
std::string words_of_rows(std::size_t count);

/// Lowest and highest of numbers.
struct Extent {
  double low = 0, high = 0;
  bool any = false;
  void add(double value);
  void add(const Datum& datum) {
    if (datum.is_number()) add(datum.value);
  }
};

struct TextStyle {
  const char* classes;
  const char* anchor;  ///< start, middle or end
  double size;
};
/// Cut to `width`; then the whole is its title.
std::string svg_text(const std::string& text, double x, double y, double width,
                     const TextStyle& style);

struct LegendEntry {
  std::string name, swatch;  ///< SVG around (0, 0), 16 wide
};
/// Rows of entries from the top on; `bottom` is where they end.
std::string svg_legend(const std::vector<LegendEntry>& entries, double* bottom);

/// Lines and numbers of a horizontal axis below a plot. Numbers that would touch are left out.
std::string svg_ticks_below(const Axis& axis, const std::string& unit, double top, double bottom,
                            bool lines);

/// The drawing alone. Both say in `plot.notes` what they leave out; "" where there is nothing.
std::string draw_bars(Plot& plot);
std::string draw_plane(Plot& plot);
std::string svg_of(const Plot& plot, const std::string& body, double height);

}  // namespace quarry::report
