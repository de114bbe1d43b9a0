// The scale of a chart's axis, linear or logarithmic: where values lie and where its ticks are.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quarry::report {

class Axis {
 public:
  /// Holds all from `low` to `high` (above 0 where it is logarithmic), which lie from `begin` to
  /// `end` on the page, between at most about `most_ticks` ticks. Ends go out to round numbers with
  /// `rounded`.
  Axis(double low, double high, double begin, double end, int most_ticks, bool rounded);
  static Axis logarithmic(double low, double high, double begin, double end, int most_ticks);

  /// On the page.
  double at(double value) const;
  /// Ascending, all on the axis.
  const std::vector<double>& ticks() const { return ticks_; }

 private:
  Axis() = default;
  long double place(double value) const;
  // Wide enough for the distance of any two doubles.
  long double low_ = 0, high_ = 1;
  double begin_ = 0, end_ = 1;
  bool log_ = false;
  std::vector<double> ticks_;
};

/// A place on the page: "12.5".
std::string px(double value);

}  // namespace quarry::report
