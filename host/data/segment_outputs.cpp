// Reading what a model made of its negatives.
#include "host/data/segment_outputs.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "host/data/field.h"
#include "host/data/message.h"
#include "host/data/table_scan.h"

namespace quarry {
namespace {

constexpr const char* kShape =
    "name the columns so: by, segment, negatives and one or more of loss, confusions, and "
    "predicted with observed";

[[noreturn]] void fail_field(TableScan& scan, const char* column, std::size_t slot,
                             const char* allowed) {
  throw_input_error(scan.where(), ": ", column, " is ", shown(scan.field(slot)), "; ", allowed);
}

/// In double precision: losses differ by little.
std::optional<double> number_at(TableScan& scan, std::size_t slot, const char* column, double most,
                                const char* allowed) {
  if (scan.blank(slot)) return std::nullopt;
  const std::string_view text = trim(scan.field(slot));
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || !std::isfinite(value) || value < 0 || value > most)
    fail_field(scan, column, slot, allowed);
  return value;
}

std::uint64_t count_at(TableScan& scan, std::size_t slot, const char* column, const char* allowed) {
  const std::string_view text = trim(scan.field(slot));
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  // Beyond 2^53 a share of it could not be told from its neighbour's.
  if (text.empty() || error != std::errc() || stop != end || value > (std::uint64_t{1} << 53))
    fail_field(scan, column, slot, allowed);
  return value;
}

}  // namespace

SegmentOutputs read_segment_outputs(const std::string& path) {
  const std::unique_ptr<TableReader> table = open_table(path);
  TableScan scan(*table);
  const std::size_t by = scan.add("by", kShape);
  const std::size_t segment = scan.add("segment", kShape);
  const std::size_t negatives = scan.add("negatives", kShape);
  const std::size_t loss = scan.add_optional("loss", "loss", "");
  const std::size_t confusions = scan.add_optional("confusions", "confusions", "");
  const std::size_t predicted = scan.add_optional("predicted", "predicted", "");
  const std::size_t observed = scan.add_optional("observed", "observed", "");
  const auto there = [](std::size_t slot) { return slot != TableScan::kAbsent; };
  if (there(predicted) != there(observed))
    throw_missing_column(
        at_line(path, 1), there(predicted) ? "observed" : "predicted", scan.column_names(),
        there(predicted) ? "leave out predicted, which says nothing without observed"
                         : "leave out observed, which says nothing without predicted");
  SegmentOutputs outputs;
  for (const std::string& name : scan.column_names()) {
    static const char* const kKnown[] = {"by",         "segment",   "negatives", "loss",
                                         "confusions", "predicted", "observed"};
    if (std::find(std::begin(kKnown), std::end(kKnown), name) == std::end(kKnown))
      outputs.passed_over.push_back(name);
  }
  const bool any_figure = there(loss) || there(confusions) || there(predicted);
  std::map<std::pair<std::string, std::string>, std::uint64_t> line_of;
  while (scan.next()) {
    if (!any_figure)
      throw_input_error(at_line(path, 1), ": says nothing of the segments; ", kShape);
    SegmentOutput out;
    out.line = scan.line();
    out.by = scan.field(by);
    out.segment = scan.field(segment);
    if (out.by.empty())
      throw_input_error(scan.where(),
                        ": by is empty; branch, or the attribute of a quota, says what the "
                        "segment is one of");
    const auto [seen, is_new] = line_of.emplace(std::pair(out.by, out.segment), out.line);
    if (!is_new)
      throw_input_error(scan.where(), ": segment ", shown(out.segment), " of ", shown(out.by),
                        " stands in line ", seen->second,
                        " already; add the two up, or remove "
                        "one");
    out.negatives = count_at(scan, negatives, "negatives", "an integer from 0 to 2^53 is needed");
    if (there(loss))
      out.loss = number_at(scan, loss, "loss", 1e300, "a finite number from 0 to 1e300 is needed");
    if (there(confusions) && !scan.blank(confusions)) {
      out.confusions = count_at(scan, confusions, "confusions",
                                "an integer from 0 up to the line's negatives is needed");
      if (*out.confusions > out.negatives)
        throw_input_error(scan.where(), ": confusions is ", *out.confusions, " of ", out.negatives,
                          " negatives; it counts some of them, so no more than there are");
    }
    if (there(predicted)) {
      constexpr const char* kProbability = "a probability from 0 to 1 is needed";
      out.predicted = number_at(scan, predicted, "predicted", 1, kProbability);
      out.observed = number_at(scan, observed, "observed", 1, kProbability);
      if (out.predicted.has_value() != out.observed.has_value())
        throw_input_error(scan.where(), ": ", out.predicted ? "observed" : "predicted",
                          " is empty; give both, or neither");
    }
    outputs.lines.push_back(std::move(out));
  }
  if (outputs.lines.empty()) throw_input_error(path, ": has no line; there is nothing to go by");
  return outputs;
}

}  // namespace quarry
