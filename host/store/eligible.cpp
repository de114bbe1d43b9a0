// Eligible items by user lists and times, and samples by Philox.
#include "host/store/eligible.h"

#include <algorithm>
#include <utility>

#include "kernels/core/errors.h"
#include "kernels/core/philox.h"

namespace quarry {
namespace {

/// Sets these draws apart from those of every branch.
constexpr std::uint32_t kEvaluationStream = 0xE7A1CA00u;

/// Draws before the rest is enumerated: 16 m + 64, as for the draws of a row.
std::uint64_t most_draws(std::uint64_t m) { return 16 * m + 64; }

std::int64_t oldest(std::int64_t as_of, std::optional<std::int64_t> max_age) {
  std::int64_t from = INT64_MIN;
  if (max_age && __builtin_sub_overflow(as_of, *max_age, &from)) return INT64_MIN;
  return from;
}

}  // namespace

EligibleItems::EligibleItems(const Recipe& recipe, const EligibleTables& tables)
    : tables_(tables), unusable_(tables.num_items, false), drawn_in_(tables.num_items, 0) {
  for (const FilterSpec& filter : recipe.safety) {
    switch (filter.type) {
      case FilterType::kPositives:
        positives_ = true;
        applied_.push_back(filter.kind_text);
        break;
      case FilterType::kExposed:
        exposed_.push_back(filter);
        applied_.push_back(filter.kind_text);
        break;
      case FilterType::kTime:
        time_ = true;
        applied_.push_back(filter.kind_text);
        break;
      default:
        passed_over_.push_back(filter.kind_text);
    }
  }
  for (const std::uint64_t item : tables.left_out) {
    if (item < unusable_.size()) unusable_[item] = true;
  }
  const Catalogue* catalogue = tables.catalogue;
  time_ = time_ && catalogue != nullptr &&
          !(catalogue->first_seen.empty() && catalogue->retired.empty());
  if (!time_) return;
  for (std::uint32_t i = 0; i < tables.num_items; ++i) {
    begin_.push_back(catalogue->first_seen.empty() ? INT64_MIN : catalogue->first_seen[i]);
    end_.push_back(catalogue->retired.empty() ? INT64_MAX : catalogue->retired[i]);
    if (unusable_[i] || begin_[i] >= end_[i]) continue;  // never there
    begins_.push_back(begin_[i]);
    ends_.push_back(end_[i]);
  }
  std::sort(begins_.begin(), begins_.end());
  std::sort(ends_.begin(), ends_.end());
}

void EligibleItems::exclude_user(std::uint32_t user) {
  const Exposure* e = tables_.exposure;
  if (e != nullptr && std::uint64_t{user} + 1 < e->offsets.size()) {
    for (std::uint64_t at = e->offsets[user]; at < e->offsets[user + 1]; ++at) {
      const std::uint8_t of = e->classes[at];
      bool out = positives_ && of == static_cast<std::uint8_t>(ExposureClass::kPositive);
      for (const FilterSpec& filter : exposed_) {
        out = out || ((filter.classes >> of & 1u) != 0 &&
                      e->last_time[at] >= oldest(tables_.as_of, filter.max_age));
      }
      if (out) excluded_.push_back(e->items[at]);
    }
  }
  const Lists* more = tables_.row_positives;
  if (positives_ && more != nullptr && std::uint64_t{user} + 1 < more->offsets.size()) {
    excluded_.insert(excluded_.end(),
                     more->values.begin() + static_cast<std::ptrdiff_t>(more->offsets[user]),
                     more->values.begin() + static_cast<std::ptrdiff_t>(more->offsets[user + 1]));
  }
}

void EligibleItems::look_at(const EligibleRow& row) {
  row_ = row;
  now_ = row.time != INT64_MAX ? row.time : tables_.as_of;
  excluded_.clear();
  exclude_user(row.user);
  // The row's own positives are what candidates are ranked against, whatever the recipe filters.
  excluded_.insert(excluded_.end(), row.positives.begin(), row.positives.end());
  std::sort(excluded_.begin(), excluded_.end());
  excluded_.erase(std::unique(excluded_.begin(), excluded_.end()), excluded_.end());
}

/// Usable, and in the catalogue at the row's time.
bool EligibleItems::is_there(std::uint32_t item) const {
  if (unusable_[item]) return false;
  return !time_ || (begin_[item] <= now_ && (end_[item] == INT64_MAX || end_[item] > now_));
}

bool EligibleItems::is_eligible(std::uint32_t item) const {
  return is_there(item) && !std::binary_search(excluded_.begin(), excluded_.end(), item);
}

std::uint64_t EligibleItems::count() const {
  std::uint64_t there = 0;
  if (time_) {
    const auto begun = std::upper_bound(begins_.begin(), begins_.end(), now_) - begins_.begin();
    auto ended = std::upper_bound(ends_.begin(), ends_.end(), now_) - ends_.begin();
    if (now_ == INT64_MAX)  // an item that is never retired is there then, too
      ended = std::lower_bound(ends_.begin(), ends_.end(), now_) - ends_.begin();
    there = static_cast<std::uint64_t>(begun - ended);
  } else {
    there = tables_.num_items - tables_.left_out.size();
  }
  return there - static_cast<std::uint64_t>(
                     std::count_if(excluded_.begin(), excluded_.end(), [this](std::uint32_t item) {
                       return item < tables_.num_items && is_there(item);
                     }));
}

void EligibleItems::list(std::vector<std::uint32_t>& items) const {
  items.clear();
  std::size_t next = 0;
  for (std::uint32_t item = 0; item < tables_.num_items; ++item) {
    while (next < excluded_.size() && excluded_[next] < item) ++next;
    const bool excluded = next < excluded_.size() && excluded_[next] == item;
    if (!excluded && is_there(item)) items.push_back(item);
  }
}

void EligibleItems::sample(std::uint64_t m, std::uint32_t seed, std::vector<std::uint32_t>& items) {
  const std::uint64_t eligible = count();
  if (m >= eligible) return list(items);
  items.clear();
  ++samples_;
  const PhiloxKey key{seed, 0};
  for (std::uint64_t n = 0; n < most_draws(m) && items.size() < m; ++n) {
    const std::uint64_t word = as_u64(random_words(key, row_.key, static_cast<std::uint32_t>(n),
                                                   kEvaluationStream, Purpose::kPoolDraw));
    const auto item = static_cast<std::uint32_t>(mulhi(word, tables_.num_items));
    if (drawn_in_[item] == samples_ || !is_eligible(item)) continue;
    drawn_in_[item] = samples_;
    items.push_back(item);
  }
  if (items.size() < m) {
    // The draws so far are a uniform sample of their number; so is what the keys add.
    std::vector<std::uint32_t> rest;
    list(rest);
    std::vector<std::pair<std::uint64_t, std::uint32_t>> keyed;
    for (const std::uint32_t item : rest) {
      if (drawn_in_[item] == samples_) continue;
      keyed.emplace_back(
          ~as_u64(random_words(key, row_.key, item, kEvaluationStream, Purpose::kPoolEnumeration)),
          item);
    }
    std::sort(keyed.begin(), keyed.end());
    for (std::size_t i = 0; items.size() < m; ++i) items.push_back(keyed[i].second);
  }
  std::sort(items.begin(), items.end());
}

}  // namespace quarry
