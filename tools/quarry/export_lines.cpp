// Lines of an export.
#include "tools/quarry/export_lines.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "host/store/fill_names.h"
#include "kernels/core/errors.h"

namespace quarry {

std::string json_text(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string table_text(const std::string& text, char separator) {
  if (text.find_first_of("\"\r\n") == std::string::npos &&
      text.find(separator) == std::string::npos)
    return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

std::string float_text(float value) { return std::isfinite(value) ? fmt::format("{}", value) : ""; }

LineMaker::LineMaker(const LineOptions& options, ExportNames names, const SetSchema& schema)
    : options_(options), names_(std::move(names)), schema_(schema) {}

std::vector<std::string> LineMaker::columns() const {
  std::vector<std::string> all;
  const auto item_column = [&](const std::string& name) {
    all.push_back(name);
    if (names_.title) all.push_back(name + "_title");
  };
  switch (options_.format) {
    case ExportFormat::kTriplets:
      all.emplace_back("anchor");
      item_column("positive");
      item_column("negative");
      if (options_.scores) all.insert(all.end(), {"score", "gap"});
      break;
    case ExportFormat::kTuples:
      all.emplace_back("anchor");
      item_column("positive");
      for (std::uint32_t n = 1; n <= options_.negatives; ++n)
        item_column(fmt::format("negative_{}", n));
      break;
    case ExportFormat::kLabeledPairs:
      all.emplace_back("anchor");
      item_column("passage");
      all.emplace_back("label");
      break;
    default:
      all = {"row", "row_key", "user", "time", "positives", "positive_min", "certified", "slot"};
      item_column("item");
      all.insert(all.end(), {"score", "gap", "branch", "raw_rank", "survivor_rank", "quantile",
                             "stratum", "logq", "fill"});
  }
  return all;
}

std::string LineMaker::header() const {
  if (options_.syntax == LineSyntax::kJson) return "";
  const char separator = options_.syntax == LineSyntax::kTab ? '\t' : ',';
  std::string line;
  for (const std::string& name : columns()) {
    if (!line.empty()) line += separator;
    line += name;
  }
  return line + "\n";
}

void LineMaker::put(const std::vector<Field>& fields, std::string& out) {
  ++counts_.lines;
  bool first = true;
  if (options_.syntax == LineSyntax::kJson) {
    out += '{';
    for (const Field& field : fields) {
      if (!first) out += ", ";
      first = false;
      out += json_text(field.name) + ": ";
      out += field.quoted ? json_text(field.value) : field.value.empty() ? "null" : field.value;
    }
    out += "}\n";
    return;
  }
  const char separator = options_.syntax == LineSyntax::kTab ? '\t' : ',';
  for (const Field& field : fields) {
    if (!first) out += separator;
    first = false;
    out += table_text(field.value, separator);
  }
  out += '\n';
}

bool LineMaker::has_user(std::uint32_t user) {
  if (!names_.has_user || names_.has_user(user)) return true;
  ++counts_.without_text;
  return false;
}

bool LineMaker::has_item(std::uint32_t item) {
  if (!names_.has_item || names_.has_item(item)) return true;
  ++counts_.without_text;
  return false;
}

std::vector<std::uint32_t> LineMaker::positives_of(const NegativeSet::Row& row) {
  std::vector<std::uint32_t> items;
  for (const std::uint32_t item : written_positives(row.positives, options_.first_positive)) {
    if (has_item(item)) items.push_back(item);
  }
  return items;
}

/// Slots of the negatives that can be written, in the order of picking.
std::vector<std::uint32_t> LineMaker::slots_of(const NegativeSet::Row& row) {
  std::vector<std::uint32_t> slots;
  for (std::uint32_t j = 0; j < row.count; ++j) {
    if (has_item(row.item[j])) slots.push_back(j);
  }
  return slots;
}

void LineMaker::add_title(const char* column, std::uint32_t item,
                          std::vector<Field>& fields) const {
  if (names_.title) fields.push_back({std::string(column) + "_title", names_.title(item)});
}

void LineMaker::add(const NegativeSet::Row& row, std::uint64_t index, std::string& out) {
  ++counts_.rows;
  if (options_.format == ExportFormat::kCsv) return csv(row, index, out);
  if (!has_user(row.user)) return;
  switch (options_.format) {
    case ExportFormat::kTriplets:
      return triplets(row, out);
    case ExportFormat::kTuples:
      return tuples(row, out);
    case ExportFormat::kLabeledPairs:
      return pairs(row, out);
    case ExportFormat::kLabeledLists:
      return list(row, out);
    default:
      QUARRY_CHECK(false);
  }
}

void LineMaker::triplets(const NegativeSet::Row& row, std::string& out) {
  const std::vector<std::uint32_t> positives = positives_of(row);
  const std::vector<std::uint32_t> slots = slots_of(row);
  if (positives.empty()) {
    ++counts_.rows_without_positive;
    return;
  }
  counts_.negatives += slots.size();
  for (const std::uint32_t positive : positives) {
    for (const std::uint32_t j : slots) {
      std::vector<Field> fields = {{"anchor", names_.user(row.user)},
                                   {"positive", names_.item(positive)}};
      add_title("positive", positive, fields);
      fields.push_back({"negative", names_.item(row.item[j])});
      add_title("negative", row.item[j], fields);
      if (options_.scores) {
        fields.push_back({"score", float_text(row.score[j]), false});
        fields.push_back({"gap", float_text(row.gap[j]), false});
      }
      put(fields, out);
    }
  }
}

void LineMaker::tuples(const NegativeSet::Row& row, std::string& out) {
  const std::vector<std::uint32_t> positives = positives_of(row);
  std::vector<std::uint32_t> slots = slots_of(row);
  if (positives.empty()) {
    ++counts_.rows_without_positive;
    return;
  }
  if (slots.size() < options_.negatives) {
    ++counts_.short_rows;
    return;
  }
  slots.resize(options_.negatives);
  counts_.negatives += slots.size();
  for (const std::uint32_t positive : positives) {
    std::vector<Field> fields = {{"anchor", names_.user(row.user)},
                                 {"positive", names_.item(positive)}};
    add_title("positive", positive, fields);
    for (std::size_t n = 0; n < slots.size(); ++n) {
      const std::string column = fmt::format("negative_{}", n + 1);
      fields.push_back({column, names_.item(row.item[slots[n]])});
      add_title(column.c_str(), row.item[slots[n]], fields);
    }
    put(fields, out);
  }
}

void LineMaker::pairs(const NegativeSet::Row& row, std::string& out) {
  const auto pair = [&](std::uint32_t item, const char* label) {
    std::vector<Field> fields = {{"anchor", names_.user(row.user)}, {"passage", names_.item(item)}};
    add_title("passage", item, fields);
    fields.push_back({"label", label, false});
    put(fields, out);
  };
  const std::vector<std::uint32_t> positives = positives_of(row);
  const std::vector<std::uint32_t> slots = slots_of(row);
  if (positives.empty() && slots.empty()) ++counts_.rows_without_positive;
  counts_.negatives += slots.size();
  for (const std::uint32_t positive : positives) pair(positive, "1");
  for (const std::uint32_t j : slots) pair(row.item[j], "0");
}

void LineMaker::list(const NegativeSet::Row& row, std::string& out) {
  std::string passages, labels, titles;
  const auto append = [](std::string& to, const std::string& what) {
    to += (to.empty() ? "" : ", ") + what;
  };
  const auto entry = [&](std::uint32_t item, const char* label) {
    append(passages, json_text(names_.item(item)));
    append(labels, label);
    if (names_.title) append(titles, json_text(names_.title(item)));
  };
  const std::vector<std::uint32_t> positives = positives_of(row);
  const std::vector<std::uint32_t> slots = slots_of(row);
  if (positives.empty() && slots.empty()) {
    ++counts_.rows_without_positive;
    return;
  }
  counts_.negatives += slots.size();
  for (const std::uint32_t positive : positives) entry(positive, "1");
  for (const std::uint32_t j : slots) entry(row.item[j], "0");
  std::vector<Field> fields = {{"anchor", names_.user(row.user)},
                               {"passages", "[" + passages + "]", false},
                               {"labels", "[" + labels + "]", false}};
  if (names_.title) fields.push_back({"titles", "[" + titles + "]", false});
  put(fields, out);
}

void LineMaker::csv(const NegativeSet::Row& row, std::uint64_t index, std::string& out) {
  std::string positives;
  for (const std::uint32_t item : row.positives)
    positives += (positives.empty() ? "" : "|") + names_.item(item);
  const std::uint32_t slots = options_.empty_slots ? schema_.k : row.count;
  counts_.negatives += row.count;
  for (std::uint32_t j = 0; j < slots; ++j) {
    const bool filled = j < row.count;
    const auto name = [](const std::vector<std::string>& names, std::uint32_t number) {
      return number < names.size() ? names[number] : "";
    };
    const auto rank = [](std::uint32_t number) {
      return number > 0 ? std::to_string(number) : std::string();
    };
    std::vector<Field> fields = {{"row", std::to_string(index)},
                                 {"row_key", std::to_string(row.row_key)},
                                 {"user", names_.user(row.user)},
                                 {"time", row.time == INT64_MAX ? "" : std::to_string(row.time)},
                                 {"positives", positives},
                                 {"positive_min", float_text(row.positive_min)},
                                 {"certified", std::to_string(row.certified)},
                                 {"slot", std::to_string(j)},
                                 {"item", filled ? names_.item(row.item[j]) : ""}};
    if (names_.title) fields.push_back({"item_title", filled ? names_.title(row.item[j]) : ""});
    fields.push_back({"score", float_text(row.score[j])});
    fields.push_back({"gap", float_text(row.gap[j])});
    fields.push_back({"branch", filled ? name(schema_.branches, row.branch[j]) : ""});
    fields.push_back({"raw_rank", rank(row.raw_rank[j])});
    fields.push_back({"survivor_rank", rank(row.survivor_rank[j])});
    fields.push_back({"quantile", float_text(row.quantile[j])});
    fields.push_back({"stratum", name(schema_.strata, row.stratum[j])});
    fields.push_back({"logq", float_text(row.logq[j])});
    fields.push_back({"fill", fill_code_name(row.fill[j])});
    put(fields, out);
  }
}

}  // namespace quarry
