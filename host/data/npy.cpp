// The .npy format, versions 1 to 3: its header is read by hand, never evaluated.
#include <cstring>
#include <string_view>
#include <vector>

#include "host/data/embedding_formats.h"
#include "host/data/message.h"

namespace quarry {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
/// As NumPy's own limit; a plain table needs about 120 bytes.
constexpr std::uint64_t kMaxHeader = 10000;

/// Reads the header's Python dictionary of three known keys. Nothing is evaluated.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& path) : rest_(text), path_(path) {}

  void parse() {
    expect('{');
    while (!accept('}')) {
      parse_entry(text_literal());
      if (accept(',')) continue;
      expect('}');
      break;
    }
    skip_space();
    if (!rest_.empty()) fail("text after the closing brace");
    if (!has_descr_) fail("no key 'descr'");
    if (!has_order_) fail("no key 'fortran_order'");
    if (!has_shape_) fail("no key 'shape'");
  }
  std::string_view descr() const { return descr_; }
  bool fortran_order() const { return fortran_order_; }
  const std::vector<std::uint64_t>& shape() const { return shape_; }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    throw_input_error(path_, ": the .npy header is not valid: ", what, " at ",
                      shown(rest_.substr(0, 24)),
                      "; expected a dictionary of 'descr', 'fortran_order' and 'shape'. Save the "
                      "array again with numpy.save");
  }
  void skip_space() {
    while (!rest_.empty() &&
           (rest_.front() == ' ' || rest_.front() == '\n' || rest_.front() == '\t')) {
      rest_.remove_prefix(1);
    }
  }
  bool accept(char c) {
    skip_space();
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(std::string("no '") + c + "'");
  }
  bool accept_word(std::string_view word) {
    skip_space();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  std::string_view text_literal() {
    skip_space();
    const char quote = rest_.empty() ? '\0' : rest_.front();
    if (quote != '\'' && quote != '"') fail("no quoted text");
    const std::size_t end = rest_.find(quote, 1);
    if (end == std::string_view::npos) fail("a quote that is not closed");
    const std::string_view text = rest_.substr(1, end - 1);
    if (text.find('\\') != std::string_view::npos) fail("a backslash");
    rest_.remove_prefix(end + 1);
    return text;
  }
  std::uint64_t number() {
    skip_space();
    std::uint64_t value = 0;
    std::size_t digits = 0;
    for (; digits < rest_.size() && rest_[digits] >= '0' && rest_[digits] <= '9'; ++digits) {
      if (__builtin_mul_overflow(value, std::uint64_t{10}, &value) ||
          __builtin_add_overflow(value, static_cast<std::uint64_t>(rest_[digits] - '0'), &value)) {
        fail("a size above 2^64 - 1");
      }
    }
    if (digits == 0) fail("no number");
    rest_.remove_prefix(digits);
    return value;
  }
  void once(bool& seen) {
    if (seen) fail("a key that stands twice, before the value");
    seen = true;
  }
  void parse_entry(std::string_view key) {
    expect(':');
    if (key == "descr") {
      once(has_descr_);
      skip_space();
      if (rest_.starts_with('[')) {
        fail("a structured dtype where '<f4' or '<f2' is allowed");
      }
      descr_ = text_literal();
    } else if (key == "fortran_order") {
      once(has_order_);
      fortran_order_ = accept_word("True");
      if (!fortran_order_ && !accept_word("False")) fail("neither True nor False");
    } else if (key == "shape") {
      once(has_shape_);
      expect('(');
      while (!accept(')')) {
        shape_.push_back(number());
        if (accept(',')) continue;
        expect(')');
        break;
      }
    } else {
      fail(text_of("unknown key ", shown(key)));
    }
  }

  std::string_view rest_;
  const std::string& path_;
  std::string_view descr_;
  std::vector<std::uint64_t> shape_;
  bool fortran_order_ = false;
  bool has_descr_ = false, has_order_ = false, has_shape_ = false;
};

Dtype dtype_of(std::string_view descr, const std::string& path) {
  if (descr == "<f4") return Dtype::kF32;
  if (descr == "<f2") return Dtype::kF16;
  if (descr.starts_with('>')) {
    throw_input_error(path, ": dtype ", shown(descr),
                      " is big-endian; allowed are '<f4' and '<f2'. Convert with "
                      "array.astype('<f4') and save again");
  }
  throw_input_error(path, ": dtype ", shown(descr),
                    " is not supported; allowed are '<f4' (float32) and '<f2' (float16). Convert "
                    "with array.astype('<f4') and save again");
}

}  // namespace

TableLayout parse_npy(std::span<const std::byte> file, const std::string& path) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(file.data());
  if (file.size() < 10 || std::memcmp(bytes, kMagic.data(), kMagic.size()) != 0) {
    throw_input_error(path, ": is not a .npy file: its first bytes are not \\x93NUMPY (",
                      file.size(), " bytes in all). Save the array with numpy.save");
  }
  const unsigned major = bytes[6];
  if (major < 1 || major > 3 || bytes[7] != 0) {
    throw_input_error(
        path, ": .npy version ", major, ".", static_cast<unsigned>(bytes[7]),
        " is unknown; allowed are 1.0, 2.0 and 3.0. Save the array again with numpy.save");
  }
  const std::uint64_t prefix = major == 1 ? 10 : 12;
  if (file.size() < prefix) {
    throw_input_error(path, ": is cut inside the header (", file.size(), " bytes); copy it again");
  }
  std::uint64_t header = bytes[8] | std::uint64_t{bytes[9]} << 8;
  if (major > 1) header |= std::uint64_t{bytes[10]} << 16 | std::uint64_t{bytes[11]} << 24;
  if (header > kMaxHeader) {
    throw_input_error(path, ": the header claims ", header, " bytes, allowed are ", kMaxHeader,
                      "; the file is damaged or not a plain array. Save it again with numpy.save");
  }
  if (header > file.size() - prefix) {
    throw_input_error(path, ": is cut inside the header (", file.size(),
                      " bytes, the header ends at ", prefix + header, "); copy it again");
  }
  HeaderParser parser({reinterpret_cast<const char*>(bytes) + prefix, header}, path);
  parser.parse();

  TableLayout layout;
  layout.offset = prefix + header;
  layout.dtype = dtype_of(parser.descr(), path);
  if (parser.shape().size() != 2) {
    throw_input_error(path, ": the array has ", parser.shape().size(),
                      " dimensions, a table has 2 [rows, dim]; reshape it before saving");
  }
  layout.rows = parser.shape()[0];
  layout.dim = parser.shape()[1];
  check_shape(layout.rows, layout.dim, path);
  if (parser.fortran_order()) {
    throw_input_error(path,
                      ": the array is in Fortran order (fortran_order True), rows must be "
                      "contiguous. Save numpy.ascontiguousarray(array)");
  }
  check_size(layout, file.size() - layout.offset, path);
  return layout;
}

}  // namespace quarry
