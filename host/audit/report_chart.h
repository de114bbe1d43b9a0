// Charts of tables as inline SVG, one drawing for phones, desks and paper: colours and faces come
// from the page's style. Each mark has its exact number in data-value (data-low, data-high,
// data-limit), its row and column, and a <title> with words.
#pragma once

#include <string>

#include "host/audit/report_model.h"

namespace quarry::report {

/// The figure of a table whose JSON asks for a chart; "" where none is asked for. Rows without a
/// number are left out and counted in the caption, as are rows beyond what fits.
///
/// One column drawn alone has an interval where the table has columns "low" and "high"
/// (or "<column>_low"), and each bar a mark where it has a column "limit".
std::string chart_figure(const Table& table);

}  // namespace quarry::report
