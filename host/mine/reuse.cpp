// Which rows of a run come out as they did in an earlier run.
#include "host/mine/reuse.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace quarry {
namespace {

constexpr std::uint64_t kManyItems = 4096;

}  // namespace

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
  check_number();
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
    const auto item = static_cast<std::uint32_t>(i);
    const bool moved = items[i].vector != then.items[i].vector;
    if (moved || items[i].facts != then.items[i].facts) changed_.push_back(item);
    if (moved) moved_.push_back(item);
    if (catalogue != nullptr && (passed(catalogue->first_seen, i) || passed(catalogue->retired, i)))
      passed_.push_back(item);
  }
  const auto mark = [&](const std::vector<std::uint32_t>& of, std::vector<std::uint32_t>& marks) {
    marks.assign((items.size() + 31) / 32, 0);
    for (const std::uint32_t item : of) marks[item / 32] |= 1u << item % 32;
  };
  mark(changed_, marks_);
  mark(passed_, passed_marks_);
}

/// Draws and searches around positives leave no floor that would tell which items they met.
void Reuse::check_draws() {
  const auto drawn_of = [&](const std::vector<std::uint32_t>& items) {
    return static_cast<std::uint64_t>(
        std::lower_bound(items.begin(), items.end(), now_.snapshot().num_items) - items.begin());
  };
  const std::uint64_t drawn = drawn_of(changed_);
  passed_by_chance_ =
      (now_.draws() && drawn_of(passed_) > 0) || (now_.has_near() && !passed_.empty());
  if (now_.draws() && drawn > 0) {
    obstacles_.push_back(std::to_string(drawn) +
                         " items changed that every row may have drawn or refused");
  }
  if (now_.has_near() && (!changed_.empty() || added_ > 0))
    obstacles_.emplace_back("items changed, and any may be near some positive of any row");
}

/// Where most items changed, as under another model, rows that stand are few, and asking takes a
/// copy of the tables of both runs.
void Reuse::check_number() {
  const std::uint64_t number = changed_.size() + added_;
  if (number < kManyItems || number * 2 < now_.items().size()) return;
  obstacles_.push_back(std::to_string(number) + " of " + std::to_string(now_.items().size()) +
                       " items changed or are new: nearly every row is concerned");
}

void Reuse::add_to_table(Table& table, const MatrixView& from, std::uint64_t row) const {
  const Metric metric = now_.recipe().metric;
  const bool unit = metric == Metric::kCosine;
  const std::size_t at = table.rows.size();
  table.rows.resize(at + from.dim, 0.0f);
  MatrixView one = from;
  one.data = static_cast<const unsigned char*>(from.data) + row * from.row_bytes();
  one.rows = 1;
  // One that cannot be scored was a row of zeros, and scored as such.
  const bool bad = !check_rows(one, metric, BadRows::kDrop, "").empty();
  std::vector<float> numbers(from.dim);
  prepare_rows(from, row, row + 1, unit, numbers.data());
  const bool finite =
      std::all_of(numbers.begin(), numbers.end(), [](float x) { return std::isfinite(x); });
  if (!bad)
    std::copy(numbers.begin(), numbers.end(), table.rows.begin() + static_cast<std::ptrdiff_t>(at));
  if (bad && finite) table.rows.insert(table.rows.end(), numbers.begin(), numbers.end());
}

void Reuse::finish(Table& table) const {
  if (table.rows.empty()) return;
  ItemTable items;
  items.rows = table.rows.data();
  items.dim = now_.inputs().items.dim;
  items.num_items = static_cast<std::uint32_t>(table.rows.size() / items.dim);
  items.metric = now_.recipe().metric;
  table.nearest = make_exact_retriever(items);
}

void Reuse::make_table(const std::optional<MatrixView>& then_items) {
  const MatrixView& items = now_.inputs().items;
  if (!moved_.empty() && (!then_items || then_items->dim != items.dim)) {
    obstacles_.push_back(std::to_string(moved_.size()) +
                         " items have other embeddings, and those that they had are not at hand");
    return;
  }
  for (const std::uint32_t item : changed_) add_to_table(table_, items, item);
  for (std::uint64_t i = now_.items().size() - added_; i < now_.items().size(); ++i)
    add_to_table(table_, items, i);
  for (const std::uint32_t item : moved_) add_to_table(table_, *then_items, item);
  for (const std::uint32_t item : passed_) add_to_table(passed_table_, items, item);
  finish(table_);
  finish(passed_table_);
}

/// The best score that an item of the table has with each row's user.
void Reuse::reach_of(Table& table, const RowFacts* facts, std::uint64_t count,
                     std::vector<float>& reach) {
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
  table.nearest->search(
      exec_, queries.data(), num_queries, 1,
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
  std::vector<float> reach, passed_reach;
  if (table_.nearest != nullptr && count > 0) reach_of(table_, rows.facts, count, reach);
  const auto has_no_time = [&](std::uint64_t r) { return rows.facts[r].time == INT64_MAX; };
  bool any_passed = false;
  for (std::uint64_t r = 0; r < count && passed_table_.nearest != nullptr; ++r)
    any_passed = any_passed || has_no_time(r);
  if (any_passed) reach_of(passed_table_, rows.facts, count, passed_reach);
  parallel_for(exec_, count, 1024, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t r = begin; r < end; ++r) {
      const RowFacts& row = rows.facts[r];
      const bool out_of_reach = table_.nearest == nullptr || reach[r] < rows.floor[r];
      const bool alike = rows.depends[r] == rows.now[r] && out_of_reach;
      bool same = alike && (changed_.empty() || !now_.names_any(row, marks_));
      if (same && any_passed && has_no_time(r)) {
        same = !passed_by_chance_ && passed_reach[r] < rows.floor[r] &&
               !now_.names_any(row, passed_marks_);
      }
      stands[r] = same ? 1 : 0;
    }
  });
}

}  // namespace quarry
