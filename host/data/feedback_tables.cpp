// Reading what experts and users filled in.
#include "host/data/feedback_tables.h"

#include <algorithm>

#include "host/data/field.h"
#include "host/data/message.h"
#include "host/data/table_scan.h"

namespace quarry {
namespace {

constexpr const char* kOfExport =
    "lines are those of quarry review export: keep its header and columns, and save the file as it "
    "was, with commas (.csv) or tabs (.tsv)";

std::string trimmed_field(TableScan& scan, std::size_t slot) {
  return scan.empty(slot) ? std::string() : std::string(trim(scan.field(slot)));
}

/// Lines that a message names.
class NamedLines {
 public:
  void add(std::uint64_t line) {
    if (++count_ <= kMost) text_ += text_of(text_.empty() ? "" : ", ", line);
  }
  std::uint64_t count() const { return count_; }
  std::string text() const { return text_ + (count_ > kMost ? ", ..." : ""); }

 private:
  static constexpr std::uint64_t kMost = 10;
  std::uint64_t count_ = 0;
  std::string text_;
};

}  // namespace

std::vector<VerdictLine> read_verdict_lines(const std::string& path) {
  const std::unique_ptr<TableReader> table = open_table(path);
  TableScan scan(*table);
  const std::size_t review = scan.add("review_id", kOfExport);
  const std::size_t item = scan.add("item", kOfExport);
  const std::size_t sampled_by = scan.add("sampled_by", kOfExport);
  const std::size_t cell = scan.add("cell", kOfExport);
  const std::size_t population = scan.add("population", kOfExport);
  const std::size_t sampled = scan.add("sampled", kOfExport);
  const std::size_t weight = scan.add("weight", kOfExport);
  const std::size_t verdict = scan.add("verdict", kOfExport);
  const std::size_t reviewer = scan.add("reviewer", kOfExport);
  std::vector<VerdictLine> lines;
  std::uint64_t blank =
      0;  // the first of rows without any field, as spreadsheets leave them at the end
  while (scan.next()) {
    bool empty = true;
    for (std::size_t slot = review; slot <= reviewer; ++slot) empty = empty && scan.empty(slot);
    if (empty) {
      if (blank == 0) blank = scan.line();
      continue;
    }
    if (blank > 0)
      throw_input_error(path, ":", blank, ": the line is empty, and others follow; remove it, or ",
                        "take it from the file as it was exported");
    VerdictLine& line = lines.emplace_back();
    line.line = scan.line();
    line.review = trimmed_field(scan, review);
    line.item = scan.field(item);
    line.sampled_by = trimmed_field(scan, sampled_by);
    line.cell = scan.field(cell);
    line.population = scan.unsigned_integer(population, "population");
    line.sampled = scan.unsigned_integer(sampled, "sampled");
    line.weight = static_cast<double>(scan.number(weight, "weight"));
    line.verdict = trimmed_field(scan, verdict);
    line.reviewer = trimmed_field(scan, reviewer);
  }
  return lines;
}

UserRecords read_user_records(const std::string& path, const EventColumns& columns,
                              const IdMap& users, const IdMap& items, UnknownIds unknown) {
  const std::unique_ptr<TableReader> table = open_table(path);
  TableScan scan(*table);
  const auto add = [&](const std::string& column, const char* key) {
    return scan.add(column, text_of("map another column with --columns ", key, "=COLUMN"));
  };
  const std::size_t user_slot = add(columns.user, "user"), item_slot = add(columns.item, "item"),
                    time_slot = add(columns.time, "time"), kind_slot = add(columns.kind, "kind");
  UserRecords read;
  NamedLines unknown_users, unknown_items;
  while (scan.next()) {
    ++read.lines;
    for (const auto& [slot, what] : {std::pair{user_slot, "user"}, std::pair{item_slot, "item"},
                                     std::pair{kind_slot, "kind"}}) {
      if (scan.empty(slot))
        throw_input_error(scan.where(), ": the ", what, " is empty; name it, or remove the line");
    }
    const std::optional<std::uint32_t> user = users.find(scan.field(user_slot));
    const std::optional<std::uint32_t> item = items.find(scan.field(item_slot));
    const std::int64_t time = scan.time(time_slot);
    if (!user) unknown_users.add(scan.line());
    if (!item) unknown_items.add(scan.line());
    if (user && item) {
      read.records.push_back({scan.line(), *user, *item, time, std::string(scan.field(kind_slot))});
    } else {
      ++read.unknown_ids;
    }
  }
  if (unknown == UnknownIds::kDrop || read.unknown_ids == 0) return read;
  std::string words;
  if (unknown_users.count() > 0)
    words = text_of(unknown_users.count(), " lines have a user without an embedding (lines ",
                    unknown_users.text(), ")");
  if (unknown_items.count() > 0)
    words += text_of(words.empty() ? "" : "; ", unknown_items.count(),
                     " lines have an item without an embedding (lines ", unknown_items.text(), ")");
  throw_input_error(path, ": ", words,
                    "; ids must be those that the set was mined with. Leave such lines out with "
                    "--unknown-ids drop");
}

}  // namespace quarry
