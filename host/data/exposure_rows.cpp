// Rows made of the positives of the event log.
#include <algorithm>

#include "host/data/message.h"
#include "host/data/row_walk.h"

namespace quarry {
namespace {

class ExposureWalk final : public RowWalk {
 public:
  ExposureWalk(RowsFrom from, const RowContext& context)
      : from_(from), context_(context), exposure_(*context.exposure) {
    QUARRY_CHECK(exposure_.offsets.size() == context.users->size() + 1);
  }

  /// One positive pair, or all of a user that has any.
  bool next(RowTable& block) override {
    const std::uint64_t num_users = context_.users->size();
    for (; user_ < num_users; ++user_, pair_ = exposure_.offsets[user_]) {
      const std::size_t first = block.positives.size();
      names_.clear();
      std::int64_t time = INT64_MAX;  // a row per user has no time of its own
      const std::uint64_t end = exposure_.offsets[user_ + 1];
      while (pair_ < end && (from_ == RowsFrom::kUsers || names_.empty())) {
        const std::uint64_t p = pair_++;
        if (exposure_.classes[p] != static_cast<std::uint8_t>(ExposureClass::kPositive)) continue;
        block.positives.push_back(exposure_.items[p]);
        names_.push_back(context_.items->id_of(exposure_.items[p]));
        if (from_ == RowsFrom::kPositives) time = exposure_.positive_time[p];
      }
      if (names_.empty()) continue;
      ids_.assign(names_.begin(), names_.end());
      const auto user = static_cast<std::uint32_t>(user_);
      block.key.push_back(row_key_of(context_.users->id_of(user), ids_, time));
      block.user.push_back(user);
      block.time.push_back(time);
      dropped_positives += end_positives(block, first, context_);
      return true;
    }
    return false;
  }

  std::optional<Mark> mark() const override { return Mark{user_, pair_, 0}; }
  void seek(const Mark& mark) override {
    user_ = mark.place;
    pair_ = mark.byte;
  }
  std::uint64_t at_most() const override {
    if (from_ == RowsFrom::kUsers) return context_.users->size();
    return static_cast<std::uint64_t>(
        std::count(exposure_.classes.begin(), exposure_.classes.end(),
                   static_cast<std::uint8_t>(ExposureClass::kPositive)));
  }
  std::uint64_t line() const override { return 0; }
  const std::string& name() const override { return name_; }
  bool keys_are_made() const override { return true; }
  void finish() const override {}

 private:
  RowsFrom from_;
  RowContext context_;
  const Exposure& exposure_;
  std::string name_ = "rows from events";
  std::uint64_t user_ = 0, pair_ = 0;
  std::vector<std::string> names_;
  std::vector<std::string_view> ids_;
};

}  // namespace

std::unique_ptr<RowWalk> walk_exposure(RowsFrom from, const RowContext& context) {
  return std::make_unique<ExposureWalk>(from, context);
}

}  // namespace quarry
