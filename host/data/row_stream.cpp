// Walks over the rows of a run: one that checks, more where keys repeat or positives are new, and
// pieces of one for every block that is read.
#include "host/data/row_stream.h"

#include <algorithm>
#include <iterator>

#include "host/data/message.h"
#include "host/data/row_keys.h"
#include "host/data/row_walk.h"

namespace quarry {
namespace {

/// Rows between two marks, at the least: what a read may have to step over.
constexpr std::uint64_t kMarkRows = 4096;

/// Gives the memory back: an assignment of {} would keep it.
void release(std::vector<std::uint64_t>& values) { std::vector<std::uint64_t>().swap(values); }

bool holds(const std::vector<std::uint64_t>& sorted, std::uint64_t value) {
  return std::binary_search(sorted.begin(), sorted.end(), value);
}

}  // namespace

class RowStream::Impl {
 public:
  Impl(std::unique_ptr<RowWalk> walk, const RowContext& context, bool number_duplicates)
      : walk_(std::move(walk)), context_(context) {
    start_ = *walk_->mark();
    std::vector<std::uint64_t> keys = check();
    std::sort(keys.begin(), keys.end());
    if (const auto repeat = smallest_repeat(keys)) {
      if (!number_duplicates) refuse_repeat(*repeat);
      std::uint64_t rows = 0;
      repeated_ = all_repeats(keys, &rows);
      release(keys);
      number(rows);
      refuse_collision();
    }
    release(keys);
    if (!new_positives_.offsets.empty()) collect_new_positives();
    rewind();
  }

  std::uint64_t size() const { return size_; }
  const Lists& new_positives() const { return new_positives_; }
  std::uint64_t unknown_ids() const { return unknown_ids_; }
  std::uint64_t dropped_positives() const { return dropped_positives_; }
  std::uint64_t dropped_rows() const { return dropped_rows_; }
  std::uint64_t unknown_positives() const { return unknown_positives_; }

  void read(std::uint64_t first, std::uint64_t count, RowTable& block) {
    QUARRY_CHECK(first <= size_ && count <= size_ - first);
    block.clear();
    if (count == 0) return;
    go_near(first);
    while (next_ < first) {
      step(block);
      block.clear();
    }
    while (next_ < first + count) step(block);
  }

 private:
  struct Mark {
    std::uint64_t row = 0;       ///< rows before it
    std::uint64_t repeated = 0;  ///< of them, rows whose key repeats
    RowWalk::Mark mark;
  };

  [[noreturn]] void throw_changed() const {
    throw_input_error(walk_->name(),
                      ": has changed since its rows were checked; wait until its writer is done "
                      "and run again");
  }

  void rewind() {
    walk_->seek(start_);
    next_ = next_repeated_ = 0;
  }

  /// The first walk: everything that is wrong with a row alone, the keys, the marks, and how many
  /// positives of a user are new.
  std::vector<std::uint64_t> check() {
    std::vector<std::uint64_t> keys;
    keys.reserve(walk_->at_most());
    RowTable block;
    for (block.clear();; ++size_) {
      if (block.size() == kMarkRows) block.clear();
      if (size_ == 0 || size_ - marks_.back().row >= kMarkRows) {
        if (const auto mark = walk_->mark()) marks_.push_back({size_, 0, *mark});
      }
      if (!walk_->next(block)) break;
      keys.push_back(block.key.back());
      count_new(block);
    }
    walk_->finish();
    unknown_ids_ = walk_->unknown_ids;
    dropped_positives_ = walk_->dropped_positives;
    dropped_rows_ = walk_->dropped_rows;
    unknown_positives_ = walk_->unknown_positives;
    return keys;
  }

  /// Calls `f(row, block)` for every row once more; the row is the last of the block.
  template <class F>
  void walk_again(F&& f) {
    rewind();
    RowTable block;
    block.clear();
    std::uint64_t row = 0;
    for (; walk_->next(block); ++row) {
      f(row, block);
      if (block.size() == kMarkRows) block.clear();
    }
    if (row != size_) throw_changed();
  }

  [[noreturn]] void refuse_repeat(std::uint64_t key) {
    std::uint64_t first_line = 0;
    bool found = false;
    walk_again([&](std::uint64_t, const RowTable& block) {
      if (block.key.back() != key) return;
      if (found) {
        throw_input_error(at_line(walk_->name(), walk_->line()), ": row key ", key,
                          walk_->keys_are_made() ? " (of user, positives and time)" : "",
                          " stands already in line ", first_line,
                          "; keys must be unique, they steer the random choices. Remove the row or "
                          "number the repeats "
                          "with --number-duplicates");
      }
      found = true;
      first_line = walk_->line();
    });
    throw_changed();
  }

  /// Keys of the rows whose key repeats, in row order: the first keeps it, the others get their
  /// number.
  void number(std::uint64_t rows) {
    numbered_.reserve(rows);
    std::vector<std::uint64_t> seen(repeated_.size(), 0);
    auto mark = marks_.begin();
    walk_again([&](std::uint64_t row, const RowTable& block) {
      while (mark != marks_.end() && mark->row <= row) (mark++)->repeated = numbered_.size();
      const std::uint64_t key = block.key.back();
      const auto at = std::lower_bound(repeated_.begin(), repeated_.end(), key);
      if (at == repeated_.end() || *at != key) return;
      const std::uint64_t n = seen[static_cast<std::size_t>(at - repeated_.begin())]++;
      if (numbered_.size() == rows) throw_changed();
      numbered_.push_back(n == 0 ? key : numbered_key(key, n));
    });
    if (numbered_.size() != rows) throw_changed();
  }

  /// Numbering must not make a key that another row has.
  void refuse_collision() {
    // Of the keys that repeat, each is kept by one row; what else is one of them was made.
    std::vector<std::uint64_t> made, kept;
    made.reserve(numbered_.size() - repeated_.size());
    std::uint64_t num_kept = 0;
    for (const std::uint64_t key : numbered_) {
      if (holds(repeated_, key)) {
        ++num_kept;
      } else {
        made.push_back(key);
      }
    }
    std::sort(made.begin(), made.end());
    std::optional<std::uint64_t> taken = smallest_repeat(made);
    const auto also = [&](std::uint64_t key) { taken = std::min(taken.value_or(key), key); };
    if (num_kept > repeated_.size()) {
      std::copy_if(numbered_.begin(), numbered_.end(), std::back_inserter(kept),
                   [&](std::uint64_t key) { return holds(repeated_, key); });
      std::sort(kept.begin(), kept.end());
      also(*smallest_repeat(kept));
    }
    walk_again([&](std::uint64_t, const RowTable& block) {
      if (holds(made, block.key.back())) also(block.key.back());
    });
    if (!taken) return;
    std::vector<std::uint64_t> rows;
    std::uint64_t repeated = 0;
    walk_again([&](std::uint64_t row, const RowTable& block) {
      std::uint64_t key = block.key.back();
      if (holds(repeated_, key)) key = numbered_.at(repeated++);
      if (key == *taken && rows.size() < 2) rows.push_back(row);
    });
    if (rows.size() < 2) throw_changed();
    throw_input_error("rows ", rows[0], " and ", rows[1], " (from 0) share the key ", *taken,
                      " after numbering; change one of the keys");
  }

  bool is_new(std::uint32_t user, std::uint32_t item) const {
    const Exposure* e = context_.exposure;
    if (e == nullptr) return true;
    const auto begin = e->items.begin();
    const auto first = begin + static_cast<std::ptrdiff_t>(e->offsets[user]);
    const auto last = begin + static_cast<std::ptrdiff_t>(e->offsets[user + 1]);
    const auto at = std::lower_bound(first, last, item);
    return at == last || *at != item ||
           e->classes[static_cast<std::size_t>(at - begin)] !=
               static_cast<std::uint8_t>(ExposureClass::kPositive);
  }

  template <class F>
  void each_new(const RowTable& block, F&& f) const {
    const std::size_t row = block.size() - 1;
    for (std::uint64_t p = block.positive_offsets[row]; p < block.positive_offsets[row + 1]; ++p) {
      if (is_new(block.user[row], block.positives[p])) f(block.user[row], block.positives[p]);
    }
  }

  void count_new(const RowTable& block) {
    if (!context_.new_positives) return;
    each_new(block, [&](std::uint32_t user, std::uint32_t) {
      if (new_positives_.offsets.empty())
        new_positives_.offsets.assign(context_.users->size() + 1, 0);
      ++new_positives_.offsets[user + 1];
    });
  }

  void collect_new_positives() {
    std::vector<std::uint64_t>& offsets = new_positives_.offsets;
    std::vector<std::uint32_t>& values = new_positives_.values;
    const std::size_t users = offsets.size() - 1;
    for (std::size_t u = 0; u < users; ++u) offsets[u + 1] += offsets[u];
    values.resize(offsets[users]);
    // While lists fill, offsets[u] is where the next item of u goes; afterwards it is where u + 1
    // begins.
    walk_again([&](std::uint64_t, const RowTable& block) {
      each_new(block, [&](std::uint32_t user, std::uint32_t item) {
        if (offsets[user] == values.size()) throw_changed();
        values[offsets[user]++] = item;
      });
    });
    std::uint64_t begin = 0, kept = 0;
    for (std::size_t u = 0; u < users; ++u) {
      const std::uint64_t end = offsets[u];
      if (end < begin) throw_changed();
      const auto first = values.begin() + static_cast<std::ptrdiff_t>(begin);
      const auto last = values.begin() + static_cast<std::ptrdiff_t>(end);
      std::sort(first, last);
      const auto unique = std::unique(first, last);
      std::copy(first, unique, values.begin() + static_cast<std::ptrdiff_t>(kept));
      offsets[u] = kept;
      kept += static_cast<std::uint64_t>(unique - first);
      begin = end;
    }
    offsets[users] = kept;
    values.resize(kept);
  }

  /// To the last mark not behind `row`, unless the walk stands between them.
  void go_near(std::uint64_t row) {
    const auto after = std::upper_bound(marks_.begin(), marks_.end(), row,
                                        [](std::uint64_t r, const Mark& m) { return r < m.row; });
    const Mark& mark = *(after - 1);
    if (mark.row <= next_ && next_ <= row) return;
    walk_->seek(mark.mark);
    next_ = mark.row;
    next_repeated_ = mark.repeated;
  }

  /// The next row with its final key.
  void step(RowTable& block) {
    if (!walk_->next(block)) throw_changed();
    ++next_;
    if (repeated_.empty() || !holds(repeated_, block.key.back())) return;
    if (next_repeated_ == numbered_.size()) throw_changed();
    block.key.back() = numbered_[next_repeated_++];
  }

  std::unique_ptr<RowWalk> walk_;
  RowContext context_;
  RowWalk::Mark start_;
  std::uint64_t size_ = 0, unknown_ids_ = 0, dropped_positives_ = 0, dropped_rows_ = 0,
                unknown_positives_ = 0;
  std::vector<Mark> marks_;
  std::vector<std::uint64_t> repeated_;  ///< keys that stand more than once, ascending
  std::vector<std::uint64_t> numbered_;  ///< keys of their rows, in row order
  Lists new_positives_;
  std::uint64_t next_ = 0;           ///< the row that the walk gives next
  std::uint64_t next_repeated_ = 0;  ///< rows before it whose key repeats
};

RowStream::RowStream() = default;
RowStream::~RowStream() = default;
RowStream::RowStream(RowStream&&) noexcept = default;
RowStream& RowStream::operator=(RowStream&&) noexcept = default;

RowStream RowStream::of_table(const std::string& path, const RowColumns& columns,
                              const RowContext& context, UnknownIds unknown,
                              bool number_duplicates) {
  RowStream stream;
  stream.impl_ = std::make_unique<Impl>(walk_table(path, columns, context, unknown), context,
                                        number_duplicates);
  return stream;
}

RowStream RowStream::of_exposure(RowsFrom from, const RowContext& context) {
  RowStream stream;
  stream.impl_ = std::make_unique<Impl>(walk_exposure(from, context), context, true);
  return stream;
}

std::uint64_t RowStream::size() const { return impl_ ? impl_->size() : 0; }

void RowStream::read(std::uint64_t first, std::uint64_t count, RowTable& block) const {
  QUARRY_CHECK(impl_ != nullptr);
  impl_->read(first, count, block);
}

const Lists& RowStream::new_positives() const {
  static const Lists none;
  return impl_ ? impl_->new_positives() : none;
}

std::uint64_t RowStream::unknown_ids() const { return impl_ ? impl_->unknown_ids() : 0; }
std::uint64_t RowStream::dropped_rows() const { return impl_ ? impl_->dropped_rows() : 0; }
std::uint64_t RowStream::unknown_positives() const {
  return impl_ ? impl_->unknown_positives() : 0;
}
std::uint64_t RowStream::dropped_positives() const {
  return impl_ ? impl_->dropped_positives() : 0;
}

}  // namespace quarry
