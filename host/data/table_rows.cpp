// Rows of a table file.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <unordered_map>

#include "host/data/field.h"
#include "host/data/input_file.h"
#include "host/data/message.h"
#include "host/data/row_walk.h"
#include "host/data/table_scan.h"

namespace quarry {
namespace {

/// "a|b|c" into its ids; an empty field holds none.
void split_ids(std::string_view field, std::vector<std::string_view>* ids) {
  ids->clear();
  while (!field.empty()) {
    const std::size_t bar = field.find('|');
    ids->push_back(field.substr(0, bar));
    if (bar == std::string_view::npos) return;
    field.remove_prefix(bar + 1);
    if (field.empty()) ids->push_back(field);
  }
}

class TableWalk final : public RowWalk {
 public:
  TableWalk(const std::string& path, const RowColumns& columns, const RowContext& context,
            UnknownIds unknown)
      : context_(context), table_(open_table(path)), scan_(*table_), unknown_(unknown, path) {
    const RowColumns defaults;
    const auto remedy = [](const char* key) {
      return text_of("map another column with --row-columns ", key, "=COLUMN");
    };
    user_ = scan_.add(columns.user, remedy("user"));
    key_ = scan_.add_optional(columns.row_key, defaults.row_key, remedy("row_key"));
    item_ = scan_.add_optional(columns.item, defaults.item, remedy("item"));
    time_ = scan_.add_optional(columns.time, defaults.time, remedy("time"));
    segment_ = scan_.add_optional(columns.segment, defaults.segment, remedy("segment"));
  }

  bool next(RowTable& block) override {
    while (scan_.next()) {
      if (take(block)) return true;
    }
    return false;
  }

  std::optional<Mark> mark() const override {
    const auto mark = scan_.mark();
    if (!mark) return std::nullopt;
    return Mark{mark->row, mark->byte, mark->line};
  }
  void seek(const Mark& mark) override { scan_.seek({mark.place, mark.byte, mark.line}); }

  /// A record ends with a line break, except perhaps the last.
  std::uint64_t at_most() const override {
    if (!std::filesystem::is_regular_file(scan_.name())) {
      throw IoError(text_of(scan_.name(),
                            ": is not a regular file, and rows are read more than once; save it to "
                            "disk first"));
    }
    OpenFile file(scan_.name());
    std::vector<char> piece(std::size_t{1} << 20);
    std::uint64_t lines = 1;
    for (std::size_t got = piece.size(); got == piece.size();) {
      got = file.read(piece.data(), piece.size());
      lines += static_cast<std::uint64_t>(
          std::count(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(got), '\n'));
    }
    return lines;
  }

  std::uint64_t line() const override { return scan_.line(); }
  const std::string& name() const override { return scan_.name(); }
  bool keys_are_made() const override { return key_ == TableScan::kAbsent; }
  void finish() const override { unknown_.finish(); }

 private:
  /// The scan's row, unless it is left out.
  bool take(RowTable& block) {
    const std::optional<std::uint32_t> user =
        unknown_.resolve(*context_.users, scan_.field(user_), "user", scan_);
    split_ids(scan_.field(item_), &ids_);
    const std::size_t first = block.positives.size();
    for (const std::string_view id : ids_) {
      const std::optional<std::uint32_t> item =
          unknown_.resolve(*context_.items, id, "item", scan_);
      if (item) block.positives.push_back(*item);
    }
    unknown_ids = unknown_.count();
    refuse_repeats(block, first);
    const std::int64_t time = scan_.empty(time_) ? INT64_MAX : scan_.time(time_);
    // The key is made of the ids as written, so it stays the same when an embedding comes or goes.
    const std::uint64_t key = keys_are_made() ? row_key_of(scan_.field(user_), ids_, time)
                                              : scan_.unsigned_integer(key_, "row key");
    // A row that had positives and lost them all would change its meaning: filters relative to them
    // would do nothing.
    const bool lost = !ids_.empty() && block.positives.size() == first;
    if (!user || lost) {
      block.positives.resize(first);
      ++dropped_rows;
      return false;
    }
    unknown_positives += ids_.size() - (block.positives.size() - first);
    block.key.push_back(key);
    block.user.push_back(*user);
    block.time.push_back(time);
    if (segment_ != TableScan::kAbsent) block.segment.push_back(segment_of(block));
    dropped_positives += end_positives(block, first, context_);
    return true;
  }

  void refuse_repeats(const RowTable& block, std::size_t first) {
    sorted_.assign(block.positives.begin() + static_cast<std::ptrdiff_t>(first),
                   block.positives.end());
    std::sort(sorted_.begin(), sorted_.end());
    const auto repeat = std::adjacent_find(sorted_.begin(), sorted_.end());
    if (repeat == sorted_.end()) return;
    throw_input_error(scan_.where(), ": item ", shown(context_.items->id_of(*repeat)),
                      " stands twice in the row; name each positive once");
  }

  /// Place of the row's segment among the names of the block.
  std::uint32_t segment_of(RowTable& block) {
    if (block.segment_names.empty()) segment_places_.clear();
    const std::string name(scan_.field(segment_));
    const auto [at, fresh] =
        segment_places_.emplace(name, static_cast<std::uint32_t>(block.segment_names.size()));
    if (fresh) block.segment_names.push_back(name);
    return at->second;
  }

  RowContext context_;
  std::unique_ptr<TableReader> table_;
  TableScan scan_;
  UnknownIdLog unknown_;
  std::size_t user_, key_, item_, time_, segment_;
  std::vector<std::string_view> ids_;
  std::vector<std::uint32_t> sorted_;
  std::unordered_map<std::string, std::uint32_t> segment_places_;
};

}  // namespace

std::unique_ptr<RowWalk> walk_table(const std::string& path, const RowColumns& columns,
                                    const RowContext& context, UnknownIds unknown) {
  return std::make_unique<TableWalk>(path, columns, context, unknown);
}

}  // namespace quarry
