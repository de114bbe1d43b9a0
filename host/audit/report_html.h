// The report of an audit as one HTML file, for people: the verdict first, then gates, sections with
// charts, lists, settings.
#pragma once

#include <string>

#include "host/audit/report_model.h"

namespace quarry::report {

/// Equal audits give equal bytes. `baseline`, where there is one, is an earlier audit whose values
/// stand beside those of gates and metrics.
std::string audit_html(const Audit& audit, const Audit* baseline);

/// What may be shown to anyone: the verdict; id, title, status, definition and source of gates;
/// name, value, interval, definition and source of metrics; of the set version, rows, k, items,
/// times, hashes. Tables, charts, lists, settings, introductions, findings ("why"), remedies and
/// names that hold a path are left out.
std::string public_audit_html(const Audit& audit, const Audit* baseline);

}  // namespace quarry::report
