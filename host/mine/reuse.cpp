// Which rows of a run come out as they did in an earlier run.
#include "host/mine/reuse.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace quarry {

Reuse::Reuse(const Dependence& now, const RunBasis& then,
             const std::optional<MatrixView>& then_items, bool exact, const Exec& exec)
    : now_(now), exec_(exec) {
  exec_.device = Device::kCpu;
  if (!exact || !then.exact) {
    obstacles_.emplace_back(
        "an approximate retriever was used, which may find other candidates at any change");
  }
  compare_common(then);
  if (now_.items().size() < then.items.size()) {
    obstacles_.push_back("there are " + std::to_string(now_.items().size()) +
                         " items, there were " + std::to_string(then.items.size()) +
                         "; items that are gone keep their rows and get a time in 'retired'");
  }
  if (!obstacles_.empty()) return;
  find_changed(then);
  check_draws();
  if (obstacles_.empty()) make_table(then_items);
}

Reuse::~Reuse() = default;

void Reuse::compare_common(const RunBasis& then) {
  const auto value_in = [](const CommonBasis& basis, const std::string& name) {
    const auto at = std::find_if(basis.begin(), basis.end(),
                                 [&](const auto& entry) { return entry.first == name; });
    return at == basis.end() ? std::string() : at->second;
  };
  std::vector<std::string> names;
  for (const CommonBasis* basis : {&then.common, &now_.common()}) {
    for (const auto& [name, value] : *basis) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  for (const std::string& name : names) {
    if (value_in(then.common, name) != value_in(now_.common(), name))
      obstacles_.push_back(name + ": not what it was");
  }
}

void Reuse::find_changed(const RunBasis& then) {
  const std::vector<ItemBasis>& items = now_.items();
  added_ = items.size() - then.items.size();
  // Rows without a time stand at the end of the log, which may have passed an item's times.
  const Catalogue* catalogue = now_.reads_times() ? now_.inputs().catalogue : nullptr;
  const std::int64_t from = std::min(then.as_of, now_.as_of());
  const std::int64_t to = std::max(then.as_of, now_.as_of());
  const auto passed = [&](const std::vector<std::int64_t>& times, std::uint64_t item) {
    return !times.empty() && times[item] > from && times[item] <= to;
  };
  for (std::uint64_t i = 0; i < then.items.size(); ++i) {
    const bool moved = items[i].vector != then.items[i].vector;
    const bool other = items[i].facts != then.items[i].facts ||
                       (catalogue != nullptr &&
                        (passed(catalogue->first_seen, i) || passed(catalogue->retired, i)));
    if (moved || other) changed_.push_back(static_cast<std::uint32_t>(i));
    if (moved) moved_.push_back(static_cast<std::uint32_t>(i));
  }
  marks_.assign((items.size() + 31) / 32, 0);
  for (const std::uint32_t item : changed_) marks_[item / 32] |= 1u << item % 32;
}

/// Draws and searches around positives leave no floor that would tell which items they met.
void Reuse::check_draws() {
  const auto drawn = static_cast<std::uint64_t>(
      std::lower_bound(changed_.begin(), changed_.end(), now_.snapshot().num_items) -
      changed_.begin());
  if (now_.draws() && drawn > 0) {
    obstacles_.push_back(std::to_string(drawn) +
                         " items changed that every row may have drawn or refused");
  }
  if (now_.has_near() && (!changed_.empty() || added_ > 0))
    obstacles_.emplace_back("items changed, and any may be near some positive of any row");
}

void Reuse::add_to_table(const MatrixView& from, std::uint64_t row) {
  table_.resize(table_.size() + from.dim);
  prepare_rows(from, row, row + 1, now_.recipe().metric == Metric::kCosine,
               table_.data() + table_.size() - from.dim);
  // One that cannot be scored is and was no candidate of anybody.
  const bool finite =
      std::all_of(table_.end() - from.dim, table_.end(), [](float x) { return std::isfinite(x); });
  if (!finite) table_.resize(table_.size() - from.dim);
}

void Reuse::make_table(const std::optional<MatrixView>& then_items) {
  const MatrixView& items = now_.inputs().items;
  if (!moved_.empty() && (!then_items || then_items->dim != items.dim)) {
    obstacles_.push_back(std::to_string(moved_.size()) +
                         " items have other embeddings, and those that they had are not at hand");
    return;
  }
  table_.reserve((changed_.size() + added_ + moved_.size()) * items.dim);
  for (const std::uint32_t item : changed_) add_to_table(items, item);
  for (std::uint64_t i = now_.items().size() - added_; i < now_.items().size(); ++i)
    add_to_table(items, i);
  for (const std::uint32_t item : moved_) add_to_table(*then_items, item);
  if (table_.empty()) return;
  ItemTable table;
  table.rows = table_.data();
  table.num_items = static_cast<std::uint32_t>(table_.size() / items.dim);
  table.dim = items.dim;
  table.metric = now_.recipe().metric;
  nearest_ = make_exact_retriever(table);
}

/// The best score that a changed item has or had with each row's user.
void Reuse::reach_of(const RowFacts* facts, std::uint64_t count, std::vector<float>& reach) {
  const MatrixView& users = now_.inputs().users;
  std::vector<std::uint32_t> distinct(count);
  for (std::uint64_t r = 0; r < count; ++r) distinct[r] = facts[r].user;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  const auto num_queries = static_cast<std::uint32_t>(distinct.size());
  std::vector<float> queries(std::size_t{num_queries} * users.dim);
  const bool unit = now_.recipe().metric == Metric::kCosine;
  parallel_for(exec_, num_queries, 64, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t q = begin; q < end; ++q) {
      prepare_rows(users, distinct[q], std::uint64_t{distinct[q]} + 1, unit,
                   queries.data() + q * users.dim);
    }
  });
  std::vector<std::uint32_t> item(num_queries), found(num_queries);
  std::vector<float> score(num_queries);
  std::vector<std::uint8_t> complete(num_queries);
  nearest_->search(exec_, queries.data(), num_queries, 1,
                   {item.data(), score.data(), found.data(), complete.data(), nullptr, nullptr});
  reach.resize(count);
  for (std::uint64_t r = 0; r < count; ++r) {
    const auto q = static_cast<std::size_t>(
        std::lower_bound(distinct.begin(), distinct.end(), facts[r].user) - distinct.begin());
    // Where nothing could be scored nothing is known.
    reach[r] = found[q] > 0 ? score[q] : std::numeric_limits<float>::infinity();
  }
}

void Reuse::judge(const EarlierRows& rows, std::uint64_t count, std::uint8_t* stands) {
  QUARRY_CHECK(obstacles_.empty());
  std::vector<float> reach;
  if (nearest_ != nullptr && count > 0) reach_of(rows.facts, count, reach);
  parallel_for(exec_, count, 1024, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t r = begin; r < end; ++r) {
      const bool out_of_reach = nearest_ == nullptr || reach[r] < rows.floor[r];
      const bool alike = rows.depends[r] == rows.now[r] && out_of_reach;
      stands[r] = alike && (changed_.empty() || !now_.names_any(rows.facts[r], marks_)) ? 1 : 0;
    }
  });
}

}  // namespace quarry
