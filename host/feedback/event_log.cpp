// A log in memory, read beside those on disk.
#include "host/feedback/event_log.h"

#include <algorithm>
#include <array>
#include <tuple>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

/// The log as it will be read, without a file.
class LogTable final : public TableReader {
 public:
  LogTable(const std::vector<FeedbackEvent>& events, const LogContext& context)
      : header_(event_header(context.columns)) {
    for (const FeedbackEvent& event : events) {
      fields_[0].push_back(context.users.id_of(event.user));
      fields_[1].push_back(context.items.id_of(event.item));
      fields_[2].push_back(std::to_string(event.time));
      fields_[3].push_back(event.kind);
      fields_[4].emplace_back();
    }
  }
  const std::string& name() const override { return name_; }
  const std::vector<std::string>& column_names() const override { return header_; }
  void select(const std::vector<std::string>& columns) override {
    for (const std::string& column : columns) {
      const auto at = std::find(header_.begin(), header_.end(), column);
      QUARRY_CHECK(at != header_.end());
      const auto& field = fields_[static_cast<std::size_t>(at - header_.begin())];
      views_.emplace_back(field.begin(), field.end());
    }
  }
  bool next(TableBatch& batch) override {
    if (read_ || fields_[0].empty()) return false;
    read_ = true;
    batch = {};
    batch.num_rows = fields_[0].size();
    for (const std::vector<std::string_view>& view : views_) {
      ColumnView column;
      column.text = view;
      batch.columns.push_back(column);
    }
    return true;
  }
  std::uint64_t line_of(std::uint64_t row) const override { return row + 2; }

 private:
  std::string name_ = "the new events";
  std::vector<std::string> header_;
  std::array<std::vector<std::string>, 5> fields_;
  std::vector<std::vector<std::string_view>> views_;
  bool read_ = false;
};

bool is_kept_out(const Recipe& recipe, const PairClass& pair) {
  if (!pair.exposure_class) return false;
  const ClassUse use = use_of_class(recipe, *pair.exposure_class);
  return use.kept_out() && (!use.expires || pair.age <= *use.expires);
}

}  // namespace

std::vector<FeedbackEvent> without_repeats(std::vector<FeedbackEvent> events) {
  std::sort(events.begin(), events.end(), [](const FeedbackEvent& a, const FeedbackEvent& b) {
    return std::tie(a.user, a.item, a.kind, b.time, a.where) <
           std::tie(b.user, b.item, b.kind, a.time, b.where);
  });
  const auto same = [](const FeedbackEvent& a, const FeedbackEvent& b) {
    return std::tie(a.user, a.item, a.kind) == std::tie(b.user, b.item, b.kind);
  };
  events.erase(std::unique(events.begin(), events.end(), same), events.end());
  return events;
}

std::vector<std::string> event_header(const EventColumns& columns) {
  return {columns.user, columns.item, columns.time, columns.kind, columns.value};
}

void check_kinds_are_read(const EventColumns& columns) {
  if (columns.fixed_kind.empty()) return;
  throw ConfigError(
      "the set was mined with --event-kind " + columns.fixed_kind +
      ", which gives every event that kind: other kinds cannot be added to its log. Mine it from "
      "events with a column of kinds");
}

std::vector<PairClass> pair_classes(const std::vector<FeedbackEvent>& events,
                                    const LogContext& context, const Recipe& recipe,
                                    const Exec& exec) {
  LogTable table(events, context);
  const Exposure exposure =
      read_exposure(context.logs, {&table}, context.columns, recipe.exposure, context.users,
                    context.items, context.as_of, context.unknown, exec);
  std::vector<PairClass> classes;
  for (const FeedbackEvent& event : events) {
    PairClass& pair = classes.emplace_back();
    const auto begin = exposure.items.begin();
    const auto from = begin + static_cast<std::ptrdiff_t>(exposure.offsets[event.user]);
    const auto to = begin + static_cast<std::ptrdiff_t>(exposure.offsets[event.user + 1]);
    const auto at = std::lower_bound(from, to, event.item);
    if (at == to || *at != event.item) continue;
    const auto place = static_cast<std::size_t>(at - begin);
    pair.exposure_class = static_cast<ExposureClass>(exposure.classes[place]);
    pair.age = context.as_of - exposure.last_time[place];
    pair.kept_out = is_kept_out(recipe, pair);
  }
  return classes;
}

}  // namespace quarry
