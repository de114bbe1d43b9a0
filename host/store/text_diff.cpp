// Unified diffs by a longest common subsequence of lines.
#include "host/store/text_diff.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

namespace quarry {
namespace {

/// Lines of a text with their line feeds; the last may lack one.
std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::size_t length = end == std::string_view::npos ? text.size() : end + 1;
    lines.push_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return lines;
}

struct Edit {
  char kind;  ///< ' ' in both, '-' in a, '+' in b
  std::size_t a, b;
};

/// The middle of both, where they differ at its ends. Beyond kMostCells nothing is taken for
/// common: the diff is longer then, and still right.
void edits_between(const std::vector<std::string_view>& a, const std::vector<std::string_view>& b,
                   std::size_t begin, std::size_t end_a, std::size_t end_b,
                   std::vector<Edit>& edits) {
  constexpr std::size_t kMostCells = std::size_t{1} << 24;
  const std::size_t rows = end_a - begin;
  const std::size_t columns = end_b - begin;
  const bool small = rows == 0 || columns <= kMostCells / rows;
  // common[i][j]: lines in common behind place i of a and j of b.
  std::vector<std::uint32_t> common(small ? (rows + 1) * (columns + 1) : 0, 0);
  for (std::size_t i = rows; small && i-- > 0;) {
    for (std::size_t j = columns; j-- > 0;) {
      const std::size_t at = i * (columns + 1) + j;
      common[at] = a[begin + i] == b[begin + j]
                       ? common[at + columns + 2] + 1
                       : std::max(common[at + columns + 1], common[at + 1]);
    }
  }
  std::size_t i = 0, j = 0;
  while (i < rows || j < columns) {
    const std::size_t at = i * (columns + 1) + j;
    if (small && i < rows && j < columns && a[begin + i] == b[begin + j]) {
      edits.push_back({' ', begin + i++, begin + j++});
    } else if (i < rows && (j == columns || !small || common[at + columns + 1] >= common[at + 1])) {
      edits.push_back({'-', begin + i++, begin + j});
    } else {
      edits.push_back({'+', begin + i, begin + j++});
    }
  }
}

std::vector<Edit> edits_of(const std::vector<std::string_view>& a,
                           const std::vector<std::string_view>& b) {
  std::size_t begin = 0;
  while (begin < std::min(a.size(), b.size()) && a[begin] == b[begin]) ++begin;
  std::size_t tail = 0;
  while (tail < std::min(a.size(), b.size()) - begin &&
         a[a.size() - 1 - tail] == b[b.size() - 1 - tail])
    ++tail;
  std::vector<Edit> edits;
  for (std::size_t i = 0; i < begin; ++i) edits.push_back({' ', i, i});
  edits_between(a, b, begin, a.size() - tail, b.size() - tail, edits);
  for (std::size_t i = tail; i > 0; --i) edits.push_back({' ', a.size() - i, b.size() - i});
  return edits;
}

/// "12,3": the first line, from 1, and their number. Of no lines: the one before them.
std::string range_of(std::size_t first, std::size_t count) {
  const std::string begin = std::to_string(count == 0 ? first : first + 1);
  return count == 1 ? begin : begin + "," + std::to_string(count);
}

}  // namespace

std::string unified_diff(const std::string& a, const std::string& b, const std::string& name_a,
                         const std::string& name_b, std::size_t context) {
  if (a == b) return "";
  const std::vector<std::string_view> lines_a = lines_of(a);
  const std::vector<std::string_view> lines_b = lines_of(b);
  const std::vector<Edit> edits = edits_of(lines_a, lines_b);
  std::string text = "--- " + name_a + "\n+++ " + name_b + "\n";
  std::size_t at = 0;
  while (true) {
    while (at < edits.size() && edits[at].kind == ' ') ++at;
    if (at == edits.size()) return text;
    const std::size_t first = at - std::min(at, context);
    std::size_t last = at;  // the last change of the hunk
    for (std::size_t next = at; next < edits.size() && next - last <= 2 * context + 1; ++next) {
      if (edits[next].kind != ' ') last = next;
    }
    const std::size_t end = std::min(edits.size(), last + 1 + context);
    std::size_t count_a = 0, count_b = 0;
    for (std::size_t e = first; e < end; ++e) {
      count_a += edits[e].kind != '+' ? 1 : 0;
      count_b += edits[e].kind != '-' ? 1 : 0;
    }
    text += "@@ -" + range_of(edits[first].a, count_a) + " +" + range_of(edits[first].b, count_b) +
            " @@\n";
    for (std::size_t e = first; e < end; ++e) {
      const std::string_view line =
          edits[e].kind == '+' ? lines_b[edits[e].b] : lines_a[edits[e].a];
      text += edits[e].kind;
      text += line;
      if (line.back() != '\n') text += "\n\\ No newline at end of file\n";
    }
    at = end;
  }
}

}  // namespace quarry
