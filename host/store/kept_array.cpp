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

constexpr std::uint64_t kMostBytes = 128ull << 30;

std::string digest_of(const std::string& header, const void* data, std::size_t bytes) {
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
  if (!is_text("path") || !is_text("xxh3_128") || !json.contains("bytes") ||
      !json["bytes"].is_number_unsigned())
    throw InputError(store + ": the entry of an array is damaged: " + text);
  Entry entry{json["path"].get<std::string>(), json["bytes"].get<std::uint64_t>(),
              json["xxh3_128"].get<std::string>()};
  if (entry.path != std::string(kArrayFolder) + "/" + entry.xxh3_128 + ".npy" ||
      entry.xxh3_128.size() != 32 ||
      entry.xxh3_128.find_first_not_of("0123456789abcdef") != std::string::npos)
    throw InputError(store + ": '" + entry.path + "' is no path of an array of a store");
  return entry;
}

/// The whole file, which has the entry's size and hash.
std::string read_file(const std::string& store, const Entry& entry) {
  const std::string file = store + "/" + entry.path;
  std::error_code error;
  if (!fs::exists(fs::symlink_status(file, error)))
    throw InputError(file + ": is missing; rows cannot be taken from this version, mine it again");
  std::string text = read_text(file, std::min(entry.bytes, kMostBytes));
  DigestStream stream;
  stream.update(text.data(), text.size());
  if (text.size() != entry.bytes || stream.digest().hex() != entry.xxh3_128)
    throw InputError(file + ": does not have the size and hash of its version; it is damaged");
  return text;
}

}  // namespace

std::string keep_array(const std::string& store, const std::string& draft, const void* data,
                       const ArrayShape& shape) {
  const std::string header = npy_header(shape.descr, shape.length, shape.width, shape.width > 1);
  const std::string hash = digest_of(header, data, shape.data_bytes());
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
  remove_path(draft);
  {
    FileHandle file = create_file(draft);
    write_to(file, draft, header.data(), header.size(), 0);
    if (shape.data_bytes() > 0) write_to(file, draft, data, shape.data_bytes(), header.size());
    sync_file(file, draft);
    close_file(file, draft);
  }
  rename_path(draft, place);
  sync_folder(folder);
  return entry;
}

std::vector<unsigned char> read_array(const std::string& store, const std::string& text,
                                      const ArrayShape& shape) {
  const Entry entry = entry_of(store, text);
  const std::string file = read_file(store, entry);
  const std::string header = npy_header(shape.descr, shape.length, shape.width, shape.width > 1);
  if (file.size() != header.size() + shape.data_bytes() ||
      file.compare(0, header.size(), header) != 0)
    throw InputError(store + "/" + entry.path + ": is not the array of " +
                     std::to_string(shape.length) + " entries that its version needs");
  std::vector<unsigned char> data(shape.data_bytes());
  std::memcpy(data.data(), file.data() + header.size(), data.size());
  return data;
}

void check_array(const std::string& store, const std::string& entry) {
  read_file(store, entry_of(store, entry));
}

}  // namespace quarry
