// The .safetensors format: a length, a JSON header judged by the rules of the reference reader,
// then the tensors.
#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
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

struct Tensor {
  std::string name;
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0, end = 0;
};

/// Takes the JSON event by event, so that nothing but the expected structure is ever stored: an
/// object of tensors, each {dtype, shape, data_offsets}, and a flat object of texts under
/// __metadata__. Repeated keys are refused.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  std::vector<Tensor> tensors;
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
    if (key_ == "shape") {
      if (tensors.back().shape.size() == 64) return refuse("a shape of more than 64 dimensions");
      tensors.back().shape.push_back(value);
    } else if (num_offsets_ < 2) {
      (num_offsets_ == 0 ? tensors.back().begin : tensors.back().end) = value;
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
    tensors.back().dtype = text;
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
        tensors.emplace_back().name = key_;
      }
    } else {
      return refuse("an object");
    }
    return true;
  }
  bool key(string_t& text) override {
    const bool top = place_ == Place::kTop;
    key_ = text;
    if (!(top ? top_keys_ : inner_keys_).insert(text).second) {
      problem = text_of("the key ", shown(text), " stands twice");
      return false;
    }
    if (place_ == Place::kTensor && text != "dtype" && text != "shape" && text != "data_offsets") {
      problem =
          text_of("tensor ", shown(tensors.back().name), " has the unknown key ", shown(text));
      return false;
    }
    return true;
  }
  bool end_object() override {
    if (place_ == Place::kTensor && (inner_keys_.size() != 3 || num_offsets_ != 2)) {
      problem = text_of("tensor ", shown(tensors.back().name),
                        " needs dtype, shape and two data_offsets");
      return false;
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
  Place place_ = Place::kStart;
  std::string key_;
  int num_offsets_ = 0;
  std::unordered_set<std::string> top_keys_, inner_keys_;
};

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

/// Bytes by dtype and shape, or nothing if they overflow or end inside a byte.
std::optional<std::uint64_t> size_of(const Tensor& tensor, unsigned bits) {
  std::uint64_t count = bits;
  for (const std::uint64_t extent : tensor.shape) {
    if (__builtin_mul_overflow(count, extent, &count)) return std::nullopt;
  }
  if (count % 8 != 0) return std::nullopt;
  return count / 8;
}

std::string shape_text(const Tensor& tensor) {
  std::string text = tensor.dtype + " [";
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    text += text_of(i == 0 ? "" : ", ", tensor.shape[i]);
  }
  return text + "]";
}

/// Every byte of the data belongs to exactly one tensor.
void check_tensors(std::vector<Tensor> tensors, std::uint64_t data_bytes, const std::string& path) {
  std::sort(tensors.begin(), tensors.end(), [](const Tensor& a, const Tensor& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::uint64_t expected = 0;
  for (const Tensor& t : tensors) {
    const std::string who = text_of(path, ": tensor ", shown(t.name), " (", shape_text(t), ") ");
    if (t.begin > t.end || t.end > data_bytes) {
      throw_input_error(who, "has data_offsets [", t.begin, ", ", t.end,
                        "], allowed are 0 <= begin <= end <= ", data_bytes,
                        "; the file is cut or damaged, copy it again");
    }
    if (t.begin != expected) {
      throw_input_error(who, "begins at byte ", t.begin, " of the data, the one before it ends at ",
                        expected,
                        ": tensors may neither overlap nor leave holes. Write the file again");
    }
    expected = t.end;
    const auto* dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                     [&](const DtypeBits& d) { return d.name == t.dtype; });
    if (dtype == std::end(kDtypes)) {
      throw_input_error(
          who, "has an unknown dtype; tables are F32, F16 or BF16. Convert it with tensor.float()");
    }
    const std::optional<std::uint64_t> bytes = size_of(t, dtype->bits);
    if (!bytes || *bytes != t.end - t.begin) {
      throw_input_error(who, "has ", t.end - t.begin, " bytes of data, its shape needs ",
                        bytes ? std::to_string(*bytes) : std::string("more than 2^64"),
                        "; the file is damaged, write it again");
    }
  }
  if (expected != data_bytes) {
    throw_input_error(
        path, ": ", data_bytes - expected,
        " trailing bytes behind the last tensor; the file is damaged, write it again");
  }
}

const Tensor& choose(const std::vector<Tensor>& tensors, const std::string& name,
                     const std::string& path) {
  const Tensor* chosen = nullptr;
  std::size_t num_tables = 0;
  std::string listing;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& t = tensors[i];
    if (i < 10) listing += text_of(i == 0 ? "" : ", ", shown(t.name), " ", shape_text(t));
    if (i == 10) listing += text_of(", ... (", tensors.size(), " in all)");
    const bool fits = name.empty() ? t.shape.size() == 2 : t.name == name;
    if (fits) chosen = &t;
    num_tables += fits ? 1 : 0;
  }
  if (!name.empty() && chosen == nullptr) {
    throw_input_error(path, ": has no tensor ", shown(name), "; it has ", listing,
                      ". Name one of them");
  }
  if (num_tables != 1) {
    throw_input_error(path, ": has ", num_tables,
                      " tensors of 2 dimensions, without a name there must be exactly one; it has ",
                      listing, ". Name the one to use");
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
  HeaderReader reader;
  if (!Json::sax_parse(text, text + header, &reader)) {
    throw_input_error(path, ": the .safetensors header is not valid: ", reader.problem,
                      ". Write the file again with safetensors' save_file");
  }
  check_tensors(reader.tensors, room - header, path);
  const Tensor& t = choose(reader.tensors, tensor, path);
  TableLayout layout;
  if (t.dtype == "F16") {
    layout.dtype = Dtype::kF16;
  } else if (t.dtype == "BF16") {
    layout.dtype = Dtype::kBf16;
  } else if (t.dtype != "F32") {
    throw_input_error(path, ": tensor ", shown(t.name), " has dtype ", t.dtype,
                      "; allowed are F32, F16 and BF16. Convert it with tensor.float()");
  }
  if (t.shape.size() != 2) {
    throw_input_error(path, ": tensor ", shown(t.name), " has ", t.shape.size(),
                      " dimensions, a table has 2 [rows, dim]; reshape it before saving");
  }
  layout.offset = 8 + header + t.begin;
  layout.rows = t.shape[0];
  layout.dim = t.shape[1];
  check_shape(layout.rows, layout.dim, path);
  return layout;
}

}  // namespace quarry
