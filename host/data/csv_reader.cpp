// CSV and TSV tables: records are found in a buffer of about 1 MiB, fields are views into it.
#include <algorithm>
#include <array>
#include <cstring>

#include "host/data/input_file.h"
#include "host/data/message.h"
#include "host/data/table.h"

namespace quarry {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 20;
/// A longer record is taken for a quote that was never closed.
constexpr std::size_t kMaxRecord = std::size_t{16} << 20;
constexpr std::uint64_t kMaxBatchRows = 131072;
constexpr std::size_t kMaxColumns = 4096;

class CsvReader final : public TableReader {
 public:
  CsvReader(const std::string& path, char separator) : file_(path), separator_(separator) {
    for (const char c : {separator, '\r', '\n', '\0'})
      ends_field_[static_cast<unsigned char>(c)] = true;
    buffer_.resize(kChunk);
    read_header();
    has_quotes_ = false;
    selected_.resize(names_.size());
    for (std::size_t i = 0; i < selected_.size(); ++i) selected_[i] = i;
  }

  const std::string& name() const override { return file_.path(); }
  const std::vector<std::string>& column_names() const override { return names_; }

  void select(const std::vector<std::string>& columns) override {
    selected_.clear();
    for (const std::string& column : columns) {
      const auto found = std::find(names_.begin(), names_.end(), column);
      if (found == names_.end()) {
        throw_missing_column(at_line(file_.path(), 1), column, names_, "map it to one of them");
      }
      selected_.push_back(static_cast<std::size_t>(found - names_.begin()));
    }
  }

  bool next(TableBatch& batch) override {
    values_.resize(selected_.size());
    for (auto& column : values_) column.clear();
    batch.first_row = next_row_;
    batch.num_rows = 0;
    while (batch.num_rows < kMaxBatchRows && place() < end_) {
      const Found found = find_record();
      if (found == Found::kEnd) break;
      if (found == Found::kPart) {
        // Reading on moves the buffer, under the views that this batch already holds.
        if (batch.num_rows > 0) break;
        fill();
        continue;
      }
      if (found == Found::kBlank) continue;
      take_record();
      ++batch.num_rows;
    }
    batch.columns.assign(selected_.size(), ColumnView{});
    for (std::size_t c = 0; c < selected_.size(); ++c) batch.columns[c].text = values_[c];
    return batch.num_rows > 0;
  }

  std::optional<Mark> mark() const override { return Mark{next_row_, place(), line_}; }

  void seek(const Mark& mark) override {
    read_from(mark.byte);
    line_ = mark.line;
    next_row_ = mark.row;
    steps_.clear();
  }

  bool narrow(std::uint64_t begin, std::uint64_t end) override {
    if (file_.size() == 0) return false;
    if (begin > place()) {
      // A line that begins right here is one of them.
      read_from(begin - 1);
      for (bool found = false; !found && !(at_end_ && position_ == limit_);) {
        if (position_ == limit_) fill();
        const auto* const from = buffer_.data() + position_;
        const void* const line_break = std::memchr(from, '\n', limit_ - position_);
        found = line_break != nullptr;
        position_ = found
                        ? position_ + 1 +
                              static_cast<std::size_t>(static_cast<const char*>(line_break) - from)
                        : limit_;
      }
    }
    begin_ = place();
    end_ = end;
    return true;
  }
  std::uint64_t bytes() const override { return file_.size(); }
  bool has_quotes() const override { return has_quotes_; }

  std::uint64_t expected_rows() const override {
    const std::uint64_t bytes = place() - begin_;
    if (next_row_ < 2 || bytes == 0) return 0;
    // A little above the truth: one row short would double the room.
    return static_cast<std::uint64_t>(static_cast<double>(std::min(file_.size(), end_) - begin_) /
                                      static_cast<double>(bytes) * static_cast<double>(next_row_) *
                                      1.05);
  }

  std::uint64_t line_of(std::uint64_t row) const override {
    const auto after =
        std::upper_bound(steps_.begin(), steps_.end(), row,
                         [](std::uint64_t r, const Step& step) { return r < step.row; });
    if (after == steps_.begin()) return 1;
    const Step& step = *(after - 1);
    return step.line + (row - step.row);
  }

 private:
  enum class Found : std::uint8_t { kRecord, kBlank, kPart, kEnd };
  struct Field {
    std::size_t begin = 0, end = 0;
    bool doubled_quotes = false;
  };
  /// From `row` on, lines run in step with rows; a new one follows every field with line breaks and
  /// every blank line.
  struct Step {
    std::uint64_t row = 0, line = 0;
  };

  template <class... Parts>
  [[noreturn]] void fail_at(std::uint64_t line, const Parts&... parts) const {
    throw InputError(at_line(file_.path(), line) + ": " + text_of(parts...));
  }

  /// Byte of the next record.
  std::uint64_t place() const { return bytes_read_ - (limit_ - position_); }

  void read_from(std::uint64_t byte) {
    file_.seek(byte);
    bytes_read_ = byte;
    position_ = limit_ = 0;
    at_end_ = false;
  }

  /// Moves what is left to the front and reads more behind it.
  void fill() {
    std::memmove(buffer_.data(), buffer_.data() + position_, limit_ - position_);
    limit_ -= position_;
    position_ = 0;
    if (limit_ == buffer_.size()) {
      if (buffer_.size() >= kMaxRecord) {
        fail_at(line_, "the record that begins here is longer than ", kMaxRecord,
                " bytes; is a quote not closed? Close or remove it");
      }
      buffer_.resize(buffer_.size() * 2);
    }
    const std::size_t wanted = buffer_.size() - limit_;
    const std::size_t got = file_.read(buffer_.data() + limit_, wanted);
    limit_ += got;
    bytes_read_ += got;
    at_end_ = got < wanted;
  }

  /// Finds the fields of the next record and steps over it; leaves everything as it is if the
  /// record is not complete.
  Found find_record() {
    fields_.clear();
    if (position_ == limit_) return at_end_ ? Found::kEnd : Found::kPart;
    const char* text = buffer_.data();
    std::size_t at = position_;
    std::uint64_t line = line_;
    const auto part = [&] { return at == limit_ && !at_end_; };
    for (;;) {
      Field field;
      bool quoted = false;
      if (at < limit_ && text[at] == '"') {
        quoted = has_quotes_ = true;
        if (!find_closing_quote(field, at, line)) return Found::kPart;
      } else {
        field.begin = at;
        while (at < limit_ && !ends_field_[static_cast<unsigned char>(text[at])]) ++at;
        field.end = at;
      }
      if (part()) return Found::kPart;
      fields_.push_back(field);
      if (at < limit_ && text[at] == separator_) {
        ++at;
        if (part()) return Found::kPart;
        continue;
      }
      if (at < limit_ && text[at] == '\r') {
        ++at;
        if (part()) return Found::kPart;
        if (at < limit_ && text[at] != '\n') {
          fail_at(line,
                  "a carriage return stands alone; end lines with LF or CRLF, or quote the field");
        }
      }
      if (at < limit_ && text[at] != '\n') fail_at_stray(text[at], line, quoted);
      if (at < limit_) ++at;
      check_utf8({text + position_, at - position_});
      record_line_ = line_;
      const bool blank = fields_.size() == 1 && !quoted && field.begin == field.end;
      position_ = at;
      line_ = line + 1;
      return blank ? Found::kBlank : Found::kRecord;
    }
  }

  /// Ids and titles go into JSON and onto terminals later, where nothing could be done about them.
  void check_utf8(std::string_view record) const {
    const std::size_t bad = find_bad_utf8(record);
    if (bad == std::string_view::npos) return;
    const auto line_breaks =
        std::count(record.begin(), record.begin() + static_cast<std::ptrdiff_t>(bad), '\n');
    fail_at(line_ + static_cast<std::uint64_t>(line_breaks), "bytes that are not UTF-8, at ",
            shown(record.substr(bad, 1)), "; the file has another encoding. Save it as UTF-8");
  }

  [[noreturn]] void fail_at_stray(char c, std::uint64_t line, bool quoted) const {
    if (c == '\0') {
      fail_at(line, "a NUL byte; the file is not UTF-8 text (or damaged). Save it as UTF-8");
    }
    fail_at(line,
            quoted ? "text follows the closing quote of a field" : "a field ends unexpectedly",
            " at ", shown(std::string_view(&c, 1)), "; double the quotes inside a quoted field");
  }

  /// From the opening quote at `at` to behind the closing one. False if the buffer ends first and
  /// the file does not.
  bool find_closing_quote(Field& field, std::size_t& at, std::uint64_t& line) {
    const std::uint64_t opened = line;
    field.begin = ++at;
    for (;; ++at) {
      if (at == limit_) {
        if (!at_end_) return false;
        fail_at(opened, "a quote is opened and not closed before the end of the file; close it");
      }
      const char c = buffer_[at];
      if (c == '\n') ++line;
      if (c == '\0') fail_at_stray(c, line, true);
      if (c != '"') continue;
      // The byte behind a quote decides whether it closes the field.
      if (at + 1 == limit_ && !at_end_) return false;
      if (at + 1 == limit_ || buffer_[at + 1] != '"') break;
      field.doubled_quotes = true;
      ++at;
    }
    field.end = at++;
    return true;
  }

  std::string_view text_of_field(Field& field) {
    if (field.doubled_quotes) {
      char* out = buffer_.data() + field.begin;
      for (std::size_t i = field.begin; i < field.end; ++i) {
        *out++ = buffer_[i];
        if (buffer_[i] == '"') ++i;
      }
      field.end = static_cast<std::size_t>(out - buffer_.data());
      field.doubled_quotes = false;
    }
    return {buffer_.data() + field.begin, field.end - field.begin};
  }

  void take_record() {
    if (fields_.size() != names_.size()) {
      fail_at(record_line_, "the row has ", fields_.size(), " fields, the header has ",
              names_.size(), "; quote fields that hold the separator or a line break");
    }
    for (std::size_t c = 0; c < selected_.size(); ++c) {
      values_[c].push_back(text_of_field(fields_[selected_[c]]));
    }
    if (steps_.empty() || steps_.back().line + (next_row_ - steps_.back().row) != record_line_) {
      steps_.push_back({next_row_, record_line_});
    }
    ++next_row_;
  }

  void read_header() {
    fill();
    const std::string_view start(buffer_.data(), limit_);
    if (start.starts_with("\xFF\xFE") || start.starts_with("\xFE\xFF")) {
      fail_at(1, "the file is UTF-16; save it as UTF-8");
    }
    if (start.starts_with("\x1F\x8B"))
      fail_at(1, "the file is compressed with gzip; unpack it first with gunzip");
    if (start.starts_with("\xEF\xBB\xBF")) position_ = 3;
    Found found = find_record();
    while (found == Found::kPart) {
      fill();
      found = find_record();
    }
    if (found != Found::kRecord) {
      fail_at(1, "there is no header; the first line must name the columns");
    }
    if (fields_.size() > kMaxColumns) {
      fail_at(1, "the header has ", fields_.size(), " columns, allowed are ", kMaxColumns,
              "; leave out what is not needed");
    }
    for (std::size_t i = 0; i < fields_.size(); ++i) {
      std::string_view column = text_of_field(fields_[i]);
      // RecBole writes `user_id:token`.
      column = column.substr(0, column.rfind(':'));
      if (column.empty())
        fail_at(1, "column ", i + 1, " of the header has no name; name every column");
      if (std::find(names_.begin(), names_.end(), column) != names_.end()) {
        fail_at(1, "the column name ", shown(column),
                " stands twice in the header; rename one of the columns");
      }
      names_.emplace_back(column);
    }
  }

  OpenFile file_;
  char separator_;
  std::array<bool, 256> ends_field_{};
  std::vector<std::string> names_;
  std::vector<std::size_t> selected_;
  std::vector<char> buffer_;
  std::size_t position_ = 0;                    ///< of the next record in the buffer
  std::size_t limit_ = 0;                       ///< end of what was read
  std::uint64_t bytes_read_ = 0;                ///< of the file, up to limit_
  bool at_end_ = false;                         ///< the file has nothing behind limit_
  std::uint64_t begin_ = 0, end_ = UINT64_MAX;  ///< bytes at which walked records begin
  bool has_quotes_ = false;
  std::uint64_t line_ = 1;  ///< of the next record
  std::uint64_t record_line_ = 1;
  std::uint64_t next_row_ = 0;
  std::vector<Field> fields_;
  std::vector<std::vector<std::string_view>> values_;
  std::vector<Step> steps_;
};

}  // namespace

std::unique_ptr<TableReader> open_table(const std::string& path) {
  const std::string extension = extension_of(path);
  if (extension == ".csv") return std::make_unique<CsvReader>(path, ',');
  for (const char* tabs : {".tsv", ".inter", ".item", ".user"}) {
    if (extension == tabs) return std::make_unique<CsvReader>(path, '\t');
  }
  if (extension == ".gz") {
    throw_input_error(
        path, ": compressed tables (.gz) are not supported; unpack the file first with gunzip");
  }
  if (is_arrow_extension(extension)) {
    throw_input_error(path, ": ", extension,
                      " is not read as it is. Convert it: quarry convert "
                      "events|catalogue|rows|pairs ",
                      path, " ", with_extension(path, ".csv"),
                      " (of the Python package, python -m quarry convert; --help says how columns "
                      "are named)");
  }
  throw_input_error(path, ": extension ", shown(extension),
                    " is not supported; allowed are .csv (commas) and .tsv, .inter, .item, .user "
                    "(tabs). Convert or "
                    "rename the table");
}

}  // namespace quarry
