// Which names in a store's history anyone may see.
#include <algorithm>
#include <set>

#include "host/audit/report_history_parts.h"

namespace quarry::report {
namespace {

constexpr std::size_t kMostLetters = 64;
// Ranks and percentiles have few digits; dates, numbers of users and hashes have more.
constexpr std::size_t kMostDigitsInARow = 4, kMostDigits = 8;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// An '@' is followed by a rank, as in "recall@20" and "hit@5%_new": "ada@example.com" is none.
bool is_rank_behind(std::string_view name, std::size_t at) {
  std::size_t end = at + 1;
  while (end < name.size() && is_digit(name[end])) ++end;
  const bool stops = end == name.size() || name[end] == '%' || name[end] == '_' || name[end] == '-';
  return end > at + 1 && stops;
}

}  // namespace

bool is_public_name(std::string_view name) {
  if (name.empty() || name.size() > kMostLetters || !is_letter(name.front())) return false;
  std::size_t digits = 0, in_a_row = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    in_a_row = is_digit(c) ? in_a_row + 1 : 0;
    digits += is_digit(c) ? 1 : 0;
    if (in_a_row > kMostDigitsInARow || digits > kMostDigits) return false;
    if (c == '@' && !is_rank_behind(name, i)) return false;
    if (!is_letter(c) && !is_digit(c) && c != '@' && c != '_' && c != '.' && c != '%' && c != '-')
      return false;
  }
  return true;
}

History public_part(const History& history, LeftOut* left_out) {
  History shown = history;
  const auto is_hidden = [](const std::string& name) { return !is_public_name(name); };
  left_out->kpis = std::erase_if(shown.kpis, is_hidden);
  for (HistoryVersion& version : shown.versions)
    std::erase_if(version.kpis, [&](const auto& kpi) { return is_hidden(kpi.first); });
  std::set<std::string> kinds;
  for (HistoryFeedback& feedback : shown.feedback) {
    for (const auto& [kind, unused] : feedback.kinds) {
      if (is_hidden(kind)) kinds.insert(kind);
    }
    std::erase_if(feedback.kinds, [&](const auto& kind) { return is_hidden(kind.first); });
  }
  left_out->kinds = kinds.size();
  return shown;
}

}  // namespace quarry::report
