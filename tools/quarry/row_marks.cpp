// Marks and their text.
#include "tools/quarry/row_marks.h"

#include <algorithm>
#include <array>
#include <bit>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint8_t kNoDigit = 0xFF;

std::array<std::uint8_t, 256> values_of_digits() {
  std::array<std::uint8_t, 256> values{};
  values.fill(kNoDigit);
  for (std::uint8_t v = 0; v < 64; ++v) values[static_cast<std::uint8_t>(kDigits[v])] = v;
  return values;
}

}  // namespace

std::uint64_t RowMarks::count() const {
  std::uint64_t count = 0;
  for (const std::uint8_t byte : bits_) count += static_cast<std::uint64_t>(std::popcount(byte));
  return count;
}

std::vector<RowMarks::Span> RowMarks::split(std::uint64_t spans) const {
  const std::uint64_t all = count();
  spans = std::max<std::uint64_t>(std::min(spans, all), 1);
  std::vector<Span> cut;
  std::uint64_t seen = 0;
  for (std::uint64_t row = 0; row < rows_; ++row) {
    if (!has(row)) continue;
    if (seen == cut.size() * all / spans) cut.push_back({row, 0, 0});
    cut.back().end = row + 1;
    cut.back().count += 1;
    ++seen;
  }
  return cut;
}

std::string RowMarks::text() const {
  std::string text;
  text.reserve((bits_.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bits_.size(); at += 3) {
    const std::size_t bytes = std::min<std::size_t>(3, bits_.size() - at);
    std::uint32_t group = 0;
    for (std::size_t b = 0; b < 3; ++b) group = group << 8 | (b < bytes ? bits_[at + b] : 0u);
    for (std::size_t d = 0; d < 4; ++d)
      text += d <= bytes ? kDigits[group >> (18 - 6 * d) & 63] : '=';
  }
  return text;
}

RowMarks RowMarks::from_text(const std::string& text, std::uint64_t rows) {
  static const std::array<std::uint8_t, 256> kValues = values_of_digits();
  RowMarks marks;
  marks.rows_ = rows;
  // First of all, so that no number of rows overflows: a digit stands for six.
  if (rows / 6 > text.size()) throw InputError("its rows to mine are not " + std::to_string(rows));
  if (text.size() % 4 == 0 && text.size() / 4 == ((rows + 7) / 8 + 2) / 3) {
    marks.bits_.resize((rows + 7) / 8);
    for (std::size_t at = 0; at < text.size(); at += 4) {
      std::uint32_t group = 0;
      for (std::size_t d = 0; d < 4; ++d)
        group = group << 6 | (kValues[static_cast<std::uint8_t>(text[at + d])] & 63u);
      for (std::size_t b = 0; b < 3 && at / 4 * 3 + b < marks.bits_.size(); ++b)
        marks.bits_[at / 4 * 3 + b] = static_cast<std::uint8_t>(group >> (16 - 8 * b));
    }
  }
  // Also where digits are none, or bits behind the last row are set.
  if (rows % 8 != 0 && !marks.bits_.empty())
    marks.bits_.back() &= static_cast<std::uint8_t>((1u << rows % 8) - 1);
  if (marks.text() != text) throw InputError("its rows to mine are not " + std::to_string(rows));
  return marks;
}

}  // namespace quarry
