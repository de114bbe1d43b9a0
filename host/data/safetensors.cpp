// The .safetensors format: a length, a JSON header judged by the rules of the reference reader,
// then the tensors.
#include <algorithm>
#include <deque>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "host/data/embedding_formats.h"
#include "host/data/message.h"

namespace quarry {
namespace {

using Json = nlohmann::json;

/// The limit of the reference implementation.
constexpr std::uint64_t kMaxHeader = 100'000'000;
// Limits under which reading a header takes less memory than the header itself and 1 MiB.
constexpr std::size_t kMaxTensors = 16384;
constexpr std::size_t kMaxMetadata = 4096;
constexpr std::size_t kMaxName = 1024;
/// Of a text, or between two: the JSON parser holds it two times before it hands it on.
constexpr std::size_t kMaxText = std::size_t{128} << 10;
constexpr unsigned kMaxRank = 64;

struct DtypeBits {
  std::string_view name;
  unsigned bits;
};
constexpr DtypeBits kDtypes[] = {
    {"BOOL", 8}, {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
    {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16},
    {"U16", 16}, {"F16", 16},    {"BF16", 16},   {"I32", 32},    {"U32", 32},
    {"F32", 32}, {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
};

/// One of many: what all tensors are judged by. The extents behind the second are kept only as
/// their product with all others.
struct Tensor {
  std::string name;
  std::uint64_t begin = 0, end = 0;
  std::uint64_t extents[2] = {0, 0};
  /// Bits of the data, as far as 64 bits hold them.
  std::uint64_t bits = 0;
  std::uint8_t dtype = 0;  ///< in kDtypes
  std::uint8_t rank = 0;
  bool overflows = false;

  std::string_view dtype_name() const { return kDtypes[dtype].name; }
};

std::string shape_text(const Tensor& tensor) {
  std::string text = text_of(tensor.dtype_name(), " [");
  for (unsigned i = 0; i < std::min<unsigned>(tensor.rank, 2); ++i) {
    text += text_of(i == 0 ? "" : ", ", tensor.extents[i]);
  }
  return text + (tensor.rank > 2 ? text_of(", ...] (", +tensor.rank, " dimensions)") : "]");
}

/// Takes the JSON event by event, so that nothing but the expected structure is ever stored: an
/// object of tensors, each {dtype, shape, data_offsets}, and a flat object of texts under
/// __metadata__. Repeated keys are refused.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  /// A deque does not hold its elements twice while it grows.
  std::deque<Tensor> tensors;
  std::string problem;

  bool null() override { return refuse("a null"); }
  bool boolean(bool) override { return refuse("a boolean"); }
  bool number_integer(number_integer_t value) override {
    return refuse(text_of("the negative number ", value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return refuse(text_of("the number ", shown(text), " (not an integer in [0, 2^64 - 1])"));
  }
  bool binary(binary_t&) override { return refuse("binary data"); }
  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::kNumbers) return refuse(text_of("the number ", value));
    Tensor& tensor = tensors.back();
    if (key_ == "shape") {
      if (tensor.rank == kMaxRank)
        return refuse(text_of("a shape of more than ", kMaxRank, " dimensions"));
      if (tensor.rank < 2) tensor.extents[tensor.rank] = value;
      ++tensor.rank;
      overflows_ = __builtin_mul_overflow(count_, value, &count_) || overflows_;
    } else if (num_offsets_ < 2) {
      (num_offsets_ == 0 ? tensor.begin : tensor.end) = value;
      ++num_offsets_;
    } else {
      return refuse("a third data offset");
    }
    return true;
  }
  bool string(string_t& text) override {
    if (place_ == Place::kMetadata) return true;
    if (place_ != Place::kTensor || key_ != "dtype")
      return refuse(text_of("the text ", shown(text)));
    const auto* dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                     [&](const DtypeBits& d) { return d.name == text; });
    if (dtype == std::end(kDtypes)) {
      problem = text_of("tensor ", shown(tensors.back().name), " has the unknown dtype ",
                        shown(text), "; tables are F32, F16 or BF16 (tensor.float())");
      return false;
    }
    tensors.back().dtype = static_cast<std::uint8_t>(dtype - kDtypes);
    return true;
  }
  bool start_object(std::size_t) override {
    if (place_ == Place::kStart) {
      place_ = Place::kTop;
    } else if (place_ == Place::kTop) {
      inner_keys_.clear();
      if (key_ == "__metadata__") {
        place_ = Place::kMetadata;
      } else {
        place_ = Place::kTensor;
        num_offsets_ = 0;
        count_ = 1;
        overflows_ = false;
        tensors.emplace_back().name = key_;
      }
    } else {
      return refuse("an object");
    }
    return true;
  }
  bool key(string_t& text) override {
    if (text.size() > kMaxName) {
      problem =
          text_of("the key ", shown(text), " has ", text.size(), " bytes, allowed are ", kMaxName);
      return false;
    }
    key_ = text;
    if (place_ == Place::kTop) return top_key();
    if (place_ == Place::kTensor && text != "dtype" && text != "shape" && text != "data_offsets") {
      problem =
          text_of("tensor ", shown(tensors.back().name), " has the unknown key ", shown(text));
      return false;
    }
    if (inner_keys_.size() == kMaxMetadata) {
      problem = text_of("more than ", kMaxMetadata, " metadata keys; save the table without them");
      return false;
    }
    return inner_keys_.insert(text).second || twice(text);
  }
  bool end_object() override {
    if (place_ == Place::kTensor) {
      Tensor& tensor = tensors.back();
      if (inner_keys_.size() != 3 || num_offsets_ != 2) {
        problem =
            text_of("tensor ", shown(tensor.name), " needs dtype, shape and two data_offsets");
        return false;
      }
      overflows_ =
          __builtin_mul_overflow(count_, std::uint64_t{kDtypes[tensor.dtype].bits}, &tensor.bits) ||
          overflows_;
      tensor.overflows = overflows_;
    }
    place_ = place_ == Place::kTop ? Place::kStart : Place::kTop;
    return true;
  }
  bool start_array(std::size_t) override {
    if (place_ != Place::kTensor || key_ == "dtype") return refuse("an array");
    place_ = Place::kNumbers;
    return true;
  }
  bool end_array() override {
    place_ = Place::kTensor;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const Json::exception&) override {
    problem = text_of("not JSON from byte ", position, " of the header on");
    return false;
  }

 private:
  enum class Place : std::uint8_t { kStart, kTop, kMetadata, kTensor, kNumbers };
  bool refuse(const std::string& what) {
    problem = text_of(what, " stands where it is not allowed, after the key ", shown(key_));
    return false;
  }
  bool twice(const std::string& key) {
    problem = text_of("the key ", shown(key), " stands twice");
    return false;
  }
  /// Names of tensors are compared at the end: a set of them would take more room than they do.
  bool top_key() {
    if (key_ == "__metadata__") {
      if (has_metadata_) return twice(key_);
      has_metadata_ = true;
    } else if (tensors.size() == kMaxTensors) {
      problem = text_of("more than ", kMaxTensors, " tensors; save the table in a file of its own");
      return false;
    }
    return true;
  }
  Place place_ = Place::kStart;
  std::string key_;
  int num_offsets_ = 0;
  std::uint64_t count_ = 1;
  bool overflows_ = false, has_metadata_ = false;
  std::unordered_set<std::string> inner_keys_;
};

/// Longest stretch from one quote to the next, a text or what stands between two texts: the JSON
/// parser buffers no more than that.
std::size_t longest_stretch(std::string_view header) {
  std::size_t longest = 0, begin = 0;
  bool inside = false;
  for (std::size_t i = 0; i < header.size(); ++i) {
    if (inside && header[i] == '\\') {
      ++i;
    } else if (header[i] == '"') {
      longest = std::max(longest, i - begin);
      inside = !inside;
      begin = i + 1;
    }
  }
  return std::max(longest, header.size() - std::min(begin, header.size()));
}

void check_names(const std::deque<Tensor>& tensors, const std::string& path) {
  std::vector<std::uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](std::uint32_t a, std::uint32_t b) { return tensors[a].name < tensors[b].name; });
  const auto same = [&](std::uint32_t a, std::uint32_t b) {
    return tensors[a].name == tensors[b].name;
  };
  const auto repeat = std::adjacent_find(order.begin(), order.end(), same);
  if (repeat == order.end()) return;
  throw_input_error(path, ": the .safetensors header is not valid: the key ",
                    shown(tensors[*repeat].name),
                    " stands twice. Write the file again with safetensors' save_file");
}

/// Every byte of the data belongs to exactly one tensor.
void check_tensors(const std::deque<Tensor>& tensors, std::uint64_t data_bytes,
                   const std::string& path) {
  std::vector<std::uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    const Tensor& s = tensors[a];
    const Tensor& t = tensors[b];
    return s.begin != t.begin ? s.begin < t.begin : s.end < t.end;
  });
  std::uint64_t expected = 0;
  for (const std::uint32_t index : order) {
    const Tensor& t = tensors[index];
    const auto who = [&] {
      return text_of(path, ": tensor ", shown(t.name), " (", shape_text(t), ") ");
    };
    if (t.begin > t.end || t.end > data_bytes) {
      throw_input_error(who(), "has data_offsets [", t.begin, ", ", t.end,
                        "], allowed are 0 <= begin <= end <= ", data_bytes,
                        "; the file is cut or damaged, copy it again");
    }
    if (t.begin != expected) {
      throw_input_error(who(), "begins at byte ", t.begin,
                        " of the data, the one before it ends at ", expected,
                        ": tensors may neither overlap nor leave holes. Write the file again");
    }
    expected = t.end;
    const bool whole = !t.overflows && t.bits % 8 == 0;
    if (!whole || t.bits / 8 != t.end - t.begin) {
      throw_input_error(who(), "has ", t.end - t.begin, " bytes of data, its shape needs ",
                        t.overflows ? std::string("more than 2^64")
                        : whole     ? std::to_string(t.bits / 8)
                                    : text_of(t.bits, " bits, no whole number of bytes"),
                        "; the file is damaged, write it again");
    }
  }
  if (expected != data_bytes) {
    throw_input_error(
        path, ": ", data_bytes - expected,
        " trailing bytes behind the last tensor; the file is damaged, write it again");
  }
}

const Tensor& choose(const std::deque<Tensor>& tensors, const std::string& name,
                     const std::string& path) {
  const Tensor* chosen = nullptr;
  std::size_t num_tables = 0;
  std::string listing;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& t = tensors[i];
    if (i < 10) listing += text_of(i == 0 ? "" : ", ", shown(t.name), " ", shape_text(t));
    if (i == 10) listing += text_of(", ... (", tensors.size(), " in all)");
    const bool fits = name.empty() ? t.rank == 2 : t.name == name;
    if (fits) chosen = &t;
    num_tables += fits ? 1 : 0;
  }
  if (!name.empty() && chosen == nullptr) {
    throw_input_error(path, ": has no tensor ", shown(name), "; it has ", listing,
                      ". Name one of them with --items-tensor or --users-tensor");
  }
  if (num_tables != 1) {
    throw_input_error(path, ": has ", num_tables,
                      " tensors of 2 dimensions, without a name there must be exactly one; it has ",
                      tensors.empty() ? "none at all" : listing,
                      num_tables == 0
                          ? ". Reshape the table to [rows, dim] before saving it"
                          : ". Name the one to use with --items-tensor or --users-tensor");
  }
  return *chosen;
}

}  // namespace

TableLayout parse_safetensors(std::span<const std::byte> file, const std::string& path,
                              const std::string& tensor) {
  if (file.size() < 10) {
    throw_input_error(path, ": is too short for a .safetensors file (", file.size(),
                      " bytes, at least 10); copy it again");
  }
  std::uint64_t header = 0;
  for (unsigned i = 0; i < 8; ++i) header |= std::to_integer<std::uint64_t>(file[i]) << (8 * i);
  const std::uint64_t room = file.size() - 8;
  if (header > kMaxHeader || header > room) {
    throw_input_error(path, ": the header claims ", header, " bytes, allowed are at most ",
                      std::min(kMaxHeader, room), "; the file is cut or not a .safetensors file");
  }
  const char* text = reinterpret_cast<const char*>(file.data()) + 8;
  if (header == 0 || text[0] != '{') {
    throw_input_error(path,
                      ": the header does not begin with '{'; is it a .safetensors file? Write it "
                      "again with safetensors' save_file");
  }
  if (const std::size_t longest = longest_stretch({text, header}); longest > kMaxText) {
    throw_input_error(path, ": the .safetensors header has ", longest,
                      " bytes from one quote to the next, allowed are ", kMaxText,
                      "; save the table without its metadata, in a file of its own");
  }
  HeaderReader reader;
  // The parser takes a NUL byte for the end of the text.
  if (std::find(text, text + header, '\0') != text + header) {
    throw_input_error(
        path,
        ": the .safetensors header is not valid: not JSON, it holds a NUL byte. Write "
        "the file again with safetensors' save_file");
  }
  if (!Json::sax_parse(text, text + header, &reader)) {
    throw_input_error(path, ": the .safetensors header is not valid: ", reader.problem,
                      ". Write the file again with safetensors' save_file");
  }
  check_names(reader.tensors, path);
  check_tensors(reader.tensors, room - header, path);
  const Tensor& t = choose(reader.tensors, tensor, path);
  TableLayout layout;
  if (t.dtype_name() == "F16") {
    layout.dtype = Dtype::kF16;
  } else if (t.dtype_name() == "BF16") {
    layout.dtype = Dtype::kBf16;
  } else if (t.dtype_name() != "F32") {
    throw_input_error(path, ": tensor ", shown(t.name), " has dtype ", t.dtype_name(),
                      "; allowed are F32, F16 and BF16. Convert it with tensor.float()");
  }
  if (t.rank != 2) {
    throw_input_error(path, ": tensor ", shown(t.name), " has ", +t.rank,
                      " dimensions, a table has 2 [rows, dim]; reshape it before saving");
  }
  layout.offset = 8 + header + t.begin;
  layout.rows = t.extents[0];
  layout.dim = t.extents[1];
  check_shape(layout.rows, layout.dim, path);
  return layout;
}

}  // namespace quarry
