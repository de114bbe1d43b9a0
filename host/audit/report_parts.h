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
/// Heads of the table's columns over `rows`, which is HTML. Sorted by clicks where scripts run;
/// scrolls in a box of its own.
std::string table_frame(const Table& table, const std::string& rows);
std::string table_html(const Table& table);
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
