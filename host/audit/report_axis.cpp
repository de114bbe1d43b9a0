// The scale of a chart's axis.
#include "host/audit/report_axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace quarry::report {
namespace {

/// 1, 2 or 5 times a power of ten, not below `least`.
long double round_step(long double least) {
  const long double power = std::pow(10.0L, std::floor(std::log10(least)));
  for (const long double factor : {1.0L, 2.0L, 5.0L}) {
    if (factor * power >= least * (1 - 1e-12L)) return factor * power;
  }
  return 10 * power;
}

}  // namespace

Axis::Axis(double low, double high, double begin, double end, int most_ticks, bool rounded)
    : low_(low), high_(high), begin_(begin), end_(end) {
  if (!(low_ < high_)) {
    const long double room = low == 0 ? 1 : std::fabs(static_cast<long double>(low)) / 10;
    low_ -= low == 0 ? 0 : room;
    high_ += room;
    rounded = true;
  }
  const long double step = round_step((high_ - low_) / std::max(most_ticks, 1));
  const auto first = std::floor(low_ / step + 1e-9L), last = std::ceil(high_ / step - 1e-9L);
  if (rounded) {
    low_ = std::min(low_, first * step);
    high_ = std::max(high_, last * step);
  }
  const long double slack = (high_ - low_) * 1e-9L;
  for (long double n = first; n <= last; ++n) {
    const long double value = n * step;
    constexpr long double kMost = std::numeric_limits<double>::max();
    if (value >= low_ - slack && value <= high_ + slack && std::fabs(value) <= kMost)
      ticks_.push_back(static_cast<double>(value));
  }
}

Axis Axis::logarithmic(double low, double high, double begin, double end, int most_ticks) {
  Axis axis;
  axis.log_ = true;
  axis.begin_ = begin, axis.end_ = end;
  axis.low_ = std::log10(static_cast<long double>(low));
  axis.high_ = std::log10(static_cast<long double>(high));
  if (axis.high_ - axis.low_ < 0.5L) axis.low_ -= 0.25L, axis.high_ += 0.25L;
  const int first = static_cast<int>(std::floor(axis.low_));
  const int last = static_cast<int>(std::ceil(axis.high_));
  const int every = std::max(1, (last - first + most_ticks - 1) / std::max(most_ticks, 1));
  const bool few = last - first <= 2;
  for (int power = first; power <= last; power += every) {
    for (const int factor : {1, 2, 5}) {
      if (factor != 1 && !few) break;
      const double value = factor * std::pow(10.0, power);
      const long double place = std::log10(static_cast<long double>(value));
      if (value > 0 && std::isfinite(value) && place >= axis.low_ - 1e-9L &&
          place <= axis.high_ + 1e-9L)
        axis.ticks_.push_back(value);
    }
  }
  return axis;
}

long double Axis::place(double value) const {
  return log_ ? std::log10(static_cast<long double>(value)) : static_cast<long double>(value);
}

double Axis::at(double value) const {
  const long double share = (place(value) - low_) / (high_ - low_);
  return static_cast<double>(begin_ + share * (static_cast<long double>(end_) - begin_));
}

std::string px(double value) {
  std::string text = fmt::format("{:.2f}", value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text == "-0" ? "0" : text;
}

}  // namespace quarry::report
