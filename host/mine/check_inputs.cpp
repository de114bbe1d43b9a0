// What a MinerInputs must fulfil. A check is a table's name, a range of places, a test of one place
// and the words for it.
#include "host/mine/check_inputs.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>

#include "kernels/core/errors.h"
#include "kernels/core/ids.h"
#include "kernels/model/plan.h"

namespace quarry {
namespace {

constexpr std::uint64_t kGrain = 1 << 16;
constexpr std::uint64_t kNamed = 10;

std::string text(std::uint64_t n) { return std::to_string(n); }
std::string at(std::uint64_t i) { return "[" + std::to_string(i) + "]"; }

class Checker {
 public:
  Checker(const MinerInputs& inputs, const Exec& exec) : in_(inputs), exec_(exec) {}

  void run() {
    vectors();
    if (in_.exposure != nullptr) exposure(*in_.exposure);
    if (in_.catalogue != nullptr) catalogue(*in_.catalogue);
    if (in_.rows != nullptr) rows(*in_.rows);
    if (in_.row_positives != nullptr) row_positives(*in_.row_positives);
    if (in_.snapshot != nullptr) snapshot(*in_.snapshot);
    for (const auto& [name, values] : in_.pairs) {
      // A recipe that reads a table given as null is told so when it is compiled.
      if (values != nullptr) pairs("pairs['" + name + "']", *values);
    }
    for (const auto& [name, table] : in_.features) feature("features['" + name + "']", table);
    for (const auto& [name, list] : in_.item_lists) ids("item_lists['" + name + "']", list, items_);
  }

 private:
  [[noreturn]] static void refuse(const std::string& table, const std::string& what) {
    throw InputError("MinerInputs." + table + " " + what);
  }

  /// Throws if `bad(i)` for any i below `count`: table, how many, the first ten as `show(i)` puts
  /// them, and `rule`, which says what is allowed and what to do.
  template <class Bad, class Show>
  void every(const std::string& table, std::uint64_t count, std::uint64_t grain, Bad&& bad,
             Show&& show, const std::string& rule) const {
    std::atomic<std::uint64_t> found{0};
    parallel_for(exec_, count, grain, [&](std::uint64_t begin, std::uint64_t end) {
      std::uint64_t here = 0;
      for (std::uint64_t i = begin; i < end; ++i) here += bad(i) ? 1 : 0;
      if (here > 0) found += here;
    });
    if (found == 0) return;
    std::string list;
    std::uint64_t named = 0;
    for (std::uint64_t i = 0; i < count && named < kNamed; ++i) {
      if (!bad(i)) continue;
      list += (named++ == 0 ? "" : ", ") + show(i);
    }
    if (found > kNamed) list += ", ...";
    refuse(table, "has " + text(found) + (found == 1 ? " bad value: " : " bad values: ") + list +
                      "; " + rule);
  }

  static void length(const std::string& table, std::uint64_t have, std::uint64_t want,
                     const std::string& per) {
    if (have == want) return;
    refuse(table, "has " + text(have) + " entries, it needs " + text(want) + ": " + per +
                      "; make both from the same tables");
  }
  static void length_or_none(const std::string& table, std::uint64_t have, std::uint64_t want,
                             const std::string& per) {
    if (have != 0) length(table, have, want, per + " (or none at all)");
  }

  void ids(const std::string& table, const std::vector<std::uint32_t>& values, std::uint64_t limit,
           const std::string& of = "items") const {
    every(
        table, values.size(), kGrain, [&](std::uint64_t i) { return values[i] >= limit; },
        [&](std::uint64_t i) { return at(i) + " = " + text(values[i]); },
        (limit == 0 ? "there are no " + of
                    : "allowed are " + of + " 0 to " + text(limit - 1) +
                          ": rows of the embedding table, not external ids") +
            ". Map ids to rows, or leave out those that have none");
  }

  /// Offsets of `lists` lists into a table of `values` entries.
  void offsets(const std::string& table, const std::vector<std::uint64_t>& o, std::uint64_t lists,
               std::uint64_t values, const std::string& per) const {
    length(table, o.size(), lists + 1, "one more than " + per);
    if (o.front() != 0) refuse(table, "begins with " + text(o.front()) + "; it must begin with 0");
    every(
        table, lists, kGrain, [&](std::uint64_t i) { return o[i + 1] < o[i]; },
        [&](std::uint64_t i) {
          return at(i + 1) + " = " + text(o[i + 1]) + " after " + text(o[i]);
        },
        "offsets never decrease. Build them as running sums of the lists' lengths");
    if (o.back() != values) {
      refuse(table, "ends with " + text(o.back()) + ", there are " + text(values) +
                        " values; the last offset is the number of values");
    }
  }

  /// Items ascend within each user, without repeats: kernels search them by halving.
  void ascending(const std::string& table, const std::vector<std::uint64_t>& o,
                 const std::vector<std::uint32_t>& items) const {
    const auto first_bad = [&](std::uint64_t u) {
      for (std::uint64_t i = o[u] + 1; i < o[u + 1]; ++i) {
        if (items[i] <= items[i - 1]) return i;
      }
      return std::uint64_t{0};
    };
    every(
        table, o.size() - 1, 1024, [&](std::uint64_t u) { return first_bad(u) != 0; },
        [&](std::uint64_t u) {
          const std::uint64_t i = first_bad(u);
          return at(i) + " = " + text(items[i]) + " after " + text(items[i - 1]) + " (user " +
                 text(u) + ")";
        },
        "the items of a user ascend, each once. Sort them and merge repeats");
  }

  static void view(const std::string& table, const MatrixView& v) {
    if (v.rows > kNoItem - 1)
      refuse(table, "has " + text(v.rows) + " rows; at most 4,294,967,294 are supported");
    if (v.dim == 0) refuse(table, "has 0 dimensions; a vector has at least one");
    if (v.dtype != Dtype::kF32 && v.dtype != Dtype::kF16 && v.dtype != Dtype::kBf16) {
      refuse(table, "has the number type " + text(static_cast<std::uint64_t>(v.dtype)) +
                        "; allowed are f32, f16 and bf16");
    }
    if (v.data == nullptr)
      refuse(table, "has " + text(v.rows) + " rows but no data; set MatrixView::data");
  }

  void vectors() {
    if (in_.items.rows == 0) throw InputError("the item table is empty; there is nothing to mine");
    view("items", in_.items);
    if (in_.users.rows > 0) {
      view("users", in_.users);
      if (in_.users.dim != in_.items.dim) {
        throw InputError("user vectors have " + text(in_.users.dim) + " dimensions, item vectors " +
                         text(in_.items.dim) + "; they must come from the same model");
      }
    }
    items_ = in_.items.rows;
    users_ = num_users_of(in_);
  }

  void exposure(const Exposure& e) const {
    offsets("exposure.offsets", e.offsets, users_, e.items.size(), "users");
    ids("exposure.items", e.items, items_);
    ascending("exposure.items", e.offsets, e.items);
    const std::uint64_t pairs = e.items.size();
    length("exposure.classes", e.classes.size(), pairs, "one per pair of exposure.items");
    length("exposure.last_time", e.last_time.size(), pairs, "one per pair of exposure.items");
    length_or_none("exposure.positive_time", e.positive_time.size(), pairs,
                   "one per pair of exposure.items");
    every(
        "exposure.classes", pairs, kGrain,
        [&](std::uint64_t i) { return e.classes[i] >= kNumExposureClasses; },
        [&](std::uint64_t i) { return at(i) + " = " + text(e.classes[i]); },
        "allowed are the values of ExposureClass, 0 to " + text(kNumExposureClasses - 1));
    every(
        "exposure.last_time", pairs, kGrain,
        [&](std::uint64_t i) { return e.last_time[i] > e.as_of; },
        [&](std::uint64_t i) { return at(i) + " = " + std::to_string(e.last_time[i]); },
        "allowed are times up to exposure.as_of = " + std::to_string(e.as_of) +
            ": later events are not known yet. Leave them out, or raise as_of");
    // With a snapshot of its own, a run does not read the counts.
    if (in_.snapshot == nullptr)
      length("exposure.item_count", e.item_count.size(), items_, "one per item");
  }

  void catalogue(const Catalogue& c) const {
    length_or_none("catalogue.first_seen", c.first_seen.size(), items_, "one per item");
    length_or_none("catalogue.retired", c.retired.size(), items_, "one per item");
    length_or_none("catalogue.titles", c.titles.size(), items_, "one per item");
    for (const CatalogueColumn& column : c.columns) {
      const std::string table = "catalogue.columns['" + column.name + "'].codes";
      length(table, column.codes.size(), items_, "one per item");
      const std::uint64_t names = column.names.size();
      every(
          table, items_, kGrain, [&](std::uint64_t i) { return column.codes[i] >= names; },
          [&](std::uint64_t i) { return at(i) + " = " + text(column.codes[i]); },
          "allowed are codes below " + text(names) +
              ", the number of names. Name every code; names[0] is the empty attribute");
    }
  }

  void rows(const RowTable& r) const {
    const std::uint64_t n = r.size();
    length("rows.user", r.user.size(), n, "one per key");
    length_or_none("rows.time", r.time.size(), n, "one per key");
    length_or_none("rows.segment", r.segment.size(), n, "one per key");
    offsets("rows.positive_offsets", r.positive_offsets, n, r.positives.size(), "rows");
    ids("rows.user", r.user, users_, "users");
    ids("rows.positives", r.positives, items_);
  }

  void row_positives(const Lists& l) const {
    if (l.offsets.empty() && l.values.empty()) return;
    offsets("row_positives.offsets", l.offsets, users_, l.values.size(), "users");
    ids("row_positives.values", l.values, items_);
  }

  void snapshot(const Snapshot& s) const {
    if (s.num_items > items_) {
      refuse("snapshot.num_items", "is " + text(s.num_items) + " for " + text(items_) +
                                       " items; a snapshot never knows more items than the table. "
                                       "Was it made from another catalogue?");
    }
    if (s.popularity.size() < s.num_items || s.popularity.size() > items_) {
      refuse("snapshot.popularity",
             "has " + text(s.popularity.size()) + " entries; allowed are " + text(s.num_items) +
                 " (snapshot.num_items) to " + text(items_) +
                 ": one count per item. Was it made from another catalogue?");
    }
  }

  void pairs(const std::string& table, const PairValues& p) const {
    offsets(table + ".offsets", p.offsets, users_, p.items.size(), "users");
    length(table + ".values", p.values.size(), p.items.size(), "one per pair of items");
    ids(table + ".items", p.items, items_);
    ascending(table + ".items", p.offsets, p.items);
    every(
        table + ".values", p.values.size(), kGrain,
        [&](std::uint64_t i) { return !std::isfinite(p.values[i]); },
        [&](std::uint64_t i) { return at(i) + " = " + std::to_string(p.values[i]); },
        "allowed are finite numbers. Leave out pairs that have no value");
  }

  void feature(const std::string& table, const MatrixView& v) const {
    if (v.rows != items_) {
      refuse(table, "has " + text(v.rows) + " rows for " + text(items_) +
                        " items; a feature table has one row per item in the same order");
    }
    view(table, v);
  }

  const MinerInputs& in_;
  Exec exec_;
  std::uint64_t items_ = 0, users_ = 0;
};

}  // namespace

std::uint64_t num_users_of(const MinerInputs& inputs) {
  if (inputs.users.rows > 0) return inputs.users.rows;
  if (inputs.exposure != nullptr && !inputs.exposure->offsets.empty())
    return std::max<std::uint64_t>(inputs.exposure->offsets.size() - 1, 1);
  return 1;
}

void check_inputs(const MinerInputs& inputs, const Exec& exec) { Checker(inputs, exec).run(); }

}  // namespace quarry
