// Arrays beside the shards of a store.
#include "host/store/kept_array.h"

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "host/store/column_file.h"
#include "host/store/digest.h"
#include "host/store/files.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMostArrayBytes = 128ull << 30;
constexpr std::size_t kSealBytes = sizeof(Digest::bytes);
constexpr const char* kNameLetters = "abcdefghijklmnopqrstuvwxyz0123456789-";

std::string hash_of(const std::string& header, const void* data, std::size_t bytes) {
  DigestStream stream;
  stream.update(header.data(), header.size());
  stream.update(data, bytes);
  return stream.digest().hex();
}

struct Entry {
  std::string path;
  std::uint64_t bytes = 0;
  std::string xxh3_128;
};

Entry entry_of(const std::string& store, const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  const auto is_text = [&](const char* key) {
    return json.is_object() && json.contains(key) && json[key].is_string();
  };
  if (!is_text("path") || !json.contains("bytes") || !json["bytes"].is_number_unsigned())
    throw InputError(store + ": the entry of an array is damaged: " + text);
  Entry entry{json["path"].get<std::string>(), json["bytes"].get<std::uint64_t>(), ""};
  if (is_text("xxh3_128")) entry.xxh3_128 = json["xxh3_128"].get<std::string>();
  const std::string before = std::string(kArrayFolder) + "/", behind = ".npy";
  const bool named = entry.path.size() > before.size() + behind.size() &&
                     entry.path.starts_with(before) && entry.path.ends_with(behind);
  const std::string name =
      named ? entry.path.substr(before.size(), entry.path.size() - before.size() - behind.size())
            : "";
  if (!named || name.find_first_not_of(kNameLetters) != std::string::npos ||
      (!entry.xxh3_128.empty() && entry.xxh3_128 != name))
    throw InputError(store + ": '" + entry.path + "' is no path of an array of a store");
  return entry;
}

/// The hash that seals an array stands behind its numbers.
bool is_sealed(const std::string& file) {
  if (file.size() < kNpyHeaderBytes + kSealBytes) return false;
  const std::size_t end = file.size() - kSealBytes;
  DigestStream stream;
  stream.update(file.data(), end);
  return std::memcmp(stream.digest().bytes, file.data() + end, kSealBytes) == 0;
}

/// The whole file, which has the entry's size and hash.
std::string read_file(const std::string& store, const Entry& entry) {
  const std::string file = store + "/" + entry.path;
  std::error_code error;
  if (!fs::exists(fs::symlink_status(file, error)))
    throw InputError(file + ": is missing; rows cannot be taken from this version, mine it again");
  std::string text = read_text(file, std::min(entry.bytes, kMostArrayBytes));
  const bool whole =
      entry.xxh3_128.empty() ? is_sealed(text) : digest_of(text).hex() == entry.xxh3_128;
  if (text.size() != entry.bytes || !whole)
    throw InputError(file + ": does not have the size and hash of its version; it is damaged");
  return text;
}

/// Pairs, and the hash behind them.
ArrayShape sealed_shape(std::uint64_t length) { return {"<u8", 8, length + 1, 2}; }

struct Part {
  const void* data;
  std::size_t bytes;
};

/// Written aside, synced, renamed.
void write_file(const std::string& draft, const std::string& place,
                const std::vector<Part>& parts) {
  remove_path(draft);
  FileHandle file = create_file(draft);
  std::uint64_t at = 0;
  for (const Part& part : parts) {
    if (part.bytes > 0) write_to(file, draft, part.data, part.bytes, at);
    at += part.bytes;
  }
  sync_file(file, draft);
  close_file(file, draft);
  rename_path(draft, place);
  sync_folder(fs::path(place).parent_path().string());
}

}  // namespace

std::string keep_array(const std::string& store, const std::string& draft, const void* data,
                       const ArrayShape& shape) {
  const std::string header = npy_header(shape.descr, shape.length, shape.width, shape.width > 1);
  const std::string hash = hash_of(header, data, shape.data_bytes());
  const std::uint64_t bytes = header.size() + shape.data_bytes();
  const std::string folder = store + "/" + kArrayFolder;
  const std::string entry = Json{
      {"path", std::string(kArrayFolder) + "/" + hash + ".npy"},
      {"bytes", bytes},
      {"xxh3_128", hash}}.dump();
  const std::string place = folder + "/" + hash + ".npy";
  if (make_folder(folder)) sync_folder(store);
  try {
    check_array(store, entry);
    sync_folder(folder);  // whoever put it there may have been killed before
    return entry;
  } catch (const InputError&) {
    // It is not there, or damaged: what follows puts it in its place.
  }
  write_file(draft, place, {{header.data(), header.size()}, {data, shape.data_bytes()}});
  return entry;
}

std::string keep_sealed(const std::string& store, const std::string& draft, const std::string& name,
                        const void* data, std::uint64_t length) {
  const ArrayShape shape = sealed_shape(length);
  const std::string header = npy_header(shape.descr, shape.length, shape.width, true);
  const std::size_t bytes = shape.data_bytes() - kSealBytes;
  DigestStream stream;
  stream.update(header.data(), header.size());
  stream.update(data, bytes);
  const Digest seal = stream.digest();
  const std::string folder = store + "/" + kArrayFolder;
  if (make_folder(folder)) sync_folder(store);
  const std::string path = std::string(kArrayFolder) + "/" + name + ".npy";
  write_file(draft, store + "/" + path,
             {{header.data(), header.size()}, {data, bytes}, {seal.bytes, kSealBytes}});
  return Json{{"path", path}, {"bytes", header.size() + shape.data_bytes()}}.dump();
}

std::vector<unsigned char> read_sealed(const std::string& store, const std::string& entry,
                                       std::uint64_t length) {
  std::vector<unsigned char> data = read_array(store, entry, sealed_shape(length));
  data.resize(data.size() - kSealBytes);
  return data;
}

std::vector<unsigned char> read_array(const std::string& store, const std::string& text,
                                      const ArrayShape& shape) {
  const Entry entry = entry_of(store, text);
  const std::string file = read_file(store, entry);
  const std::string header = npy_header(shape.descr, shape.length, shape.width, shape.width > 1);
  if (file.size() != header.size() + shape.data_bytes() ||
      file.compare(0, header.size(), header) != 0) {
    throw InputError(store + "/" + entry.path + ": is not the array of " +
                     std::to_string(shape.length) + " entries that its version needs");
  }
  return {file.begin() + static_cast<std::ptrdiff_t>(header.size()), file.end()};
}

void check_array(const std::string& store, const std::string& entry) {
  read_file(store, entry_of(store, entry));
}

}  // namespace quarry
