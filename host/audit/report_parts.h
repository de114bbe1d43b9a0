// The parts of a report that audits and histories share: cells, tables, definitions, badges.
#pragma once

#include <string>
#include <string_view>

#include "host/audit/report_model.h"

namespace quarry::report {

/// " data-value=... title=..." with the number as the file has it; "" for what is none.
std::string data_value(const Datum& number);
/// A number as people read it in a <span> with its exact value; a text isolated; "–".
std::string datum_span(const Datum& datum, std::string_view unit, int more_digits = 0);
/// A time in seconds as its date.
std::string date_span(const Datum& seconds);
std::string cell_html(const Datum& datum, const Column& column);

/// What becomes of a table that is wider than its place. Of one that folds each row stands on
/// phones, and on paper where columns are many, as a list of cells with their heads: their <td>
/// have data-head.
enum class TableFit : bool { kScrolls, kFolds };
/// Heads of the table's columns over `rows`, which is HTML. Sorted by clicks where scripts run;
/// scrolls in a box of its own.
std::string table_frame(const Table& table, const std::string& rows,
                        TableFit fit = TableFit::kScrolls);
std::string table_html(const Table& table, TableFit fit = TableFit::kScrolls);
/// " data-head=..." of a cell in a table that folds, and such a cell.
std::string head_of_cell(const Column& column);
std::string named_cell(const Datum& datum, const Column& column);
/// Title, definition, chart and table.
std::string table_block(const Table& table);
/// `name` with a definition that opens by click, key or touch and shows when pointed at; `name`
/// alone where there is none. `name` is HTML.
std::string defined(const std::string& name, const std::string& definition,
                    const std::string& source, const std::string& more_html = "");
/// Symbol, word and colour of a status.
std::string badge(GateStatus status, const std::string& before = "");
const char* status_words(GateStatus status);

}  // namespace quarry::report
