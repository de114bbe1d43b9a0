// Arrays of events as a log.
#include "python/bind/later_events.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

constexpr std::uint64_t kRowsAtOnce = 4096;

}  // namespace

LaterEventsTable::LaterEventsTable(const std::vector<std::shared_ptr<const LaterEvents>>& batches,
                                   const EventColumns& columns, const IdMap& users,
                                   const IdMap& items)
    : batches_(batches), users_(users), items_(items) {
  bool values = columns.value_required;
  for (const auto& batch : batches_) {
    total_ += batch->size();
    values = values || !batch->values.empty();
  }
  names_ = {columns.user, columns.item, columns.time};
  meaning_ = {Column::kUser, Column::kItem, Column::kTime};
  if (columns.fixed_kind.empty()) {
    names_.push_back(columns.kind);
    meaning_.push_back(Column::kKind);
  }
  if (values) {
    names_.push_back(columns.value);
    meaning_.push_back(Column::kValue);
  }
}

void LaterEventsTable::select(const std::vector<std::string>& columns) {
  selected_.clear();
  for (const std::string& column : columns) {
    const auto at = std::find(names_.begin(), names_.end(), column);
    if (at == names_.end())
      throw InputError("update_events: has no column '" + column + "'; give values= too");
    selected_.push_back(meaning_[static_cast<std::size_t>(at - names_.begin())]);
  }
}

bool LaterEventsTable::next(TableBatch& batch) {
  while (batch_ < batches_.size() && at_ == batches_[batch_]->size()) ++batch_, at_ = 0;
  if (batch_ == batches_.size()) return false;
  const LaterEvents& events = *batches_[batch_];
  const std::uint64_t count = std::min(kRowsAtOnce, events.size() - at_);
  user_text_.clear(), item_text_.clear(), user_.clear(), item_.clear(), kind_.clear();
  value_.clear();
  valid_.assign((count + 7) / 8, 0);
  for (std::uint64_t r = 0; r < count; ++r) {
    user_text_.push_back(users_.id_of(events.users[at_ + r]));
    item_text_.push_back(items_.id_of(events.items[at_ + r]));
    kind_.emplace_back(events.kind_names[events.kinds[at_ + r]]);
    const double value =
        events.values.empty() ? std::nan("") : static_cast<double>(events.values[at_ + r]);
    value_.push_back(value);
    if (!std::isnan(value)) valid_[r / 8] |= static_cast<std::uint8_t>(1u << (r % 8));
  }
  user_.assign(user_text_.begin(), user_text_.end());
  item_.assign(item_text_.begin(), item_text_.end());
  batch = {given_, count, {}};
  for (const Column column : selected_) {
    ColumnView view;
    switch (column) {
      case Column::kUser:
        view.text = user_;
        break;
      case Column::kItem:
        view.text = item_;
        break;
      case Column::kKind:
        view.text = kind_;
        break;
      case Column::kTime:
        view.kind = ColumnView::Kind::kInt64;
        view.int64 = {events.times.data() + at_, count};
        break;
      case Column::kValue:
        view.kind = ColumnView::Kind::kDouble;
        view.float64 = value_;
        view.valid = valid_.data();
        break;
    }
    batch.columns.push_back(view);
  }
  at_ += count;
  given_ += count;
  return true;
}

}  // namespace quarry
