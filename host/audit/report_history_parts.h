// The parts of a store's history page. Private to the report.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "host/audit/report_history.h"
#include "host/audit/report_model.h"

namespace quarry::report {

constexpr std::size_t kHashDigits = 12;  ///< of a hash, for people

enum class HistoryAudience : bool { kOwn, kPublic };

Datum text_datum(const std::string& text);
Datum number_datum(std::uint64_t number);

/// A line over the versions that have a number; "" where fewer than two do. `head_html` stands
/// above it.
std::string line_over_versions(const History& history, const std::string& title,
                               const std::string& head_html, const std::string& unit,
                               const std::function<Metric(const HistoryVersion&)>& get);

// Sections of the page, each "" where there is nothing to show but for the policy.
std::string policy_html(const Policy& policy);
std::string reviews_html(const History& history);
std::string feedback_html(const History& history, HistoryAudience audience);
std::string decisions_html(const History& history, HistoryAudience audience);
std::string audits_html(const History& history);

/// How many KPIs and kinds of events have names that are not is_public_name().
struct LeftOut {
  std::size_t kpis = 0, kinds = 0;
};
/// Without them.
History public_part(const History& history, LeftOut* left_out);

}  // namespace quarry::report
