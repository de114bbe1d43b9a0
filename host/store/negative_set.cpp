// NegativeSet: a finished set, checked and mapped.
#include "host/store/negative_set.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "host/store/column_file.h"
#include "host/store/set_hash.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMaxManifestBytes = 256ull << 20;
constexpr std::uint64_t kMaxRows = 1ull
                                   << 48;  // far beyond any disk; keeps products of shapes small

std::string read_manifest(const std::string& path) {
  struct stat info = {};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) {
      throw InputError(path +
                       ": no such file; this is not a finished negative set (quarry mine writes "
                       "one)");
    }
    throw IoError(io_message(path, "cannot stat"));
  }
  if (S_ISLNK(info.st_mode))
    throw InputError(path + ": is a symbolic link; links inside a set are not followed");
  return read_text(path, kMaxManifestBytes);
}

/// Access to the manifest with messages that name file and key.
class ManifestReader {
 public:
  ManifestReader(const std::string& path, const std::string& text) : name_(path) {
    root_ = Json::parse(text, nullptr, false);
    if (root_.is_discarded() || !root_.is_object())
      throw InputError(name_ + ": is not a JSON object; it is damaged");
  }
  const Json& root() const { return root_; }
  std::uint64_t number(const Json& object, const std::string& key, std::uint64_t limit) const {
    const Json& value = at(object, key);
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > limit) {
      fail(key, "must be a whole number from 0 to " + std::to_string(limit));
    }
    return value.get<std::uint64_t>();
  }
  std::string text(const Json& object, const std::string& key) const {
    const Json& value = at(object, key);
    if (!value.is_string()) fail(key, "must be a text");
    return value.get<std::string>();
  }
  std::vector<std::string> texts(const Json& object, const std::string& key) const {
    const Json& value = at(object, key);
    std::vector<std::string> all;
    if (!value.is_array()) fail(key, "must be an array of texts");
    for (const Json& entry : value) {
      if (!entry.is_string()) fail(key, "must be an array of texts");
      all.push_back(entry.get<std::string>());
    }
    return all;
  }
  const Json& at(const Json& object, const std::string& key) const {
    if (!object.is_object() || !object.contains(key)) fail(key, "is missing");
    return object.at(key);
  }
  [[noreturn]] void fail(const std::string& key, const std::string& what) const {
    throw InputError(name_ + ": '" + key + "' " + what +
                     "; the manifest is damaged or of another format");
  }

 private:
  std::string name_;
  Json root_;
};

bool is_shard_name(const std::string& name, std::size_t number) {
  std::string digits = std::to_string(number);
  if (digits.size() < 8) digits.insert(0, 8 - digits.size(), '0');
  const std::string prefix = "s" + digits + "-";
  return name.size() == prefix.size() + 16 && name.compare(0, prefix.size(), prefix) == 0 &&
         name.find_first_not_of("0123456789abcdef", prefix.size()) == std::string::npos;
}

/// "shards/" and the digest of the shard's content.
bool is_stored_shard(const std::string& name) {
  const std::string prefix = "shards/";
  return name.size() == prefix.size() + 32 && name.compare(0, prefix.size(), prefix) == 0 &&
         name.find_first_not_of("0123456789abcdef", prefix.size()) == std::string::npos;
}

struct Shard {
  std::string path;
  std::uint64_t first_row = 0;
  std::uint64_t rows = 0;
  std::uint64_t positives = 0;
  std::vector<MappedColumn> columns;
  template <class T>
  const T* data(Column column) const {
    return static_cast<const T*>(columns[static_cast<std::size_t>(column)].data());
  }
  /// Throws InputError unless the places of positives go from 0 to their number without falling.
  void check_places() const {
    const auto* offsets = data<std::uint64_t>(Column::kPositiveOffset);
    if (offsets[0] != 0 || offsets[rows] != positives ||
        !std::is_sorted(offsets, offsets + rows + 1)) {
      throw InputError(path + "/positive_offset.npy: does not go from 0 to " +
                       std::to_string(positives) +
                       " without falling; the file is damaged, mine the set again");
    }
  }
  void hash_into(ContentHash& hash) const {
    hash.update(rows, data<std::uint32_t>(Column::kItem), data<float>(Column::kScore),
                data<std::uint32_t>(Column::kStratum), data<std::uint8_t>(Column::kFill));
  }
  /// Of a row of the shard. Opening a set reads no column, so its places are checked here.
  std::span<const std::uint32_t> positives_of(std::uint64_t at) const {
    const auto* offsets = data<std::uint64_t>(Column::kPositiveOffset);
    const std::uint64_t begin = offsets[at], end = offsets[at + 1];
    if (begin > end || end > positives) {
      throw InputError(path + "/positive_offset.npy: row " + std::to_string(at) + " goes from " +
                       std::to_string(begin) + " to " + std::to_string(end) + " of " +
                       std::to_string(positives) +
                       " positives; the file is damaged, mine the set again");
    }
    return {data<std::uint32_t>(Column::kPositive) + begin, end - begin};
  }
};

Digest column_digest(const MappedColumn& column) {
  DigestStream stream;
  stream.update(column.data(), column.data_bytes());
  return stream.digest();
}

std::string joined(const std::vector<std::string>& damages) {
  std::string words;
  for (const std::string& damage : damages) words += (words.empty() ? "" : "\n  ") + damage;
  return words;
}

}  // namespace

struct NegativeSet::State {
  std::string path;
  std::string manifest_path;
  std::string manifest;
  bool of_store = false;
  std::string content_hash;
  SetSchema schema;
  std::uint64_t rows = 0;
  std::vector<Shard> shards;

  /// Throws InputError with all that is wrong with its columns; with `verify` by their bytes too.
  Shard open_shard(int folder, const ManifestReader& reader, const Json& entry, std::size_t number,
                   bool verify) const;
  /// "", or what is wrong with the bytes of a column.
  static std::string damage_of(const ManifestReader& reader, const Json& entry, const Shard& shard,
                               std::size_t c, const Digest& digest);
  void verify_shard(const ManifestReader& reader, const Json& entry, const Shard& shard) const;
  void verify(const ManifestReader& reader) const;
  void hash_into(ContentHash& hash) const;
};

Shard NegativeSet::State::open_shard(int folder, const ManifestReader& reader, const Json& entry,
                                     std::size_t number, bool verify) const {
  Shard shard;
  const std::string name = reader.text(entry, "path");
  if (of_store ? !is_stored_shard(name) : !is_shard_name(name, number))
    reader.fail("path", "of shard " + std::to_string(number) + " is '" + name + "'");
  shard.path = path + "/" + name;
  shard.first_row = reader.number(entry, "first_row", kMaxRows);
  shard.rows = reader.number(entry, "rows", kMaxRows);
  shard.positives = reader.number(entry, "positives", kMaxRows);
  const FileHandle shard_folder(
      ::openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (shard_folder.get() < 0) {
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) {
      throw InputError(shard.path +
                       ": the shard's folder is missing or not a folder; the set is damaged");
    }
    throw IoError(io_message(shard.path, "cannot open"));
  }
  const auto branches = static_cast<std::uint32_t>(schema.branches.size());
  std::vector<std::string> damages;
  std::vector<std::size_t> opened;
  for (std::size_t c = 0; c < kNumColumns; ++c) {
    const auto column = static_cast<Column>(c);
    try {
      shard.columns.emplace_back(shard_folder.get(), shard.path, column,
                                 column_length(column, shard.rows, shard.positives),
                                 column_width(column, schema.k, branches));
      opened.push_back(c);
    } catch (const InputError& error) {
      damages.emplace_back(error.what());
    }
  }
  if (damages.empty()) return shard;
  for (std::size_t i = 0; verify && i < opened.size(); ++i) {
    const std::string words =
        damage_of(reader, entry, shard, opened[i], column_digest(shard.columns[i]));
    if (!words.empty()) damages.push_back(words);
  }
  throw InputError(joined(damages));
}

std::string NegativeSet::State::damage_of(const ManifestReader& reader, const Json& entry,
                                          const Shard& shard, std::size_t c, const Digest& digest) {
  const std::string name = column_type(static_cast<Column>(c)).name;
  const Json& recorded = reader.at(reader.at(entry, "columns"), name);
  if (digest.hex() == reader.text(recorded, "xxh3_128")) return {};
  return shard.path + "/" + name +
         ".npy: its bytes do not have the hash in the manifest; the file is damaged, mine the set "
         "again";
}

void NegativeSet::State::verify_shard(const ManifestReader& reader, const Json& entry,
                                      const Shard& shard) const {
  DigestStream all;
  std::vector<std::string> damages;
  for (std::size_t c = 0; c < kNumColumns; ++c) {
    const Digest digest = column_digest(shard.columns[c]);
    all.update(digest.bytes, sizeof(digest.bytes));
    const std::string words = damage_of(reader, entry, shard, c, digest);
    if (!words.empty()) damages.push_back(words);
  }
  if (!damages.empty()) throw InputError(joined(damages));
  const std::string hex = all.digest().hex();
  if (!shard.path.ends_with(of_store ? hex : hex.substr(0, 16)))
    throw InputError(shard.path + ": the folder's name is not the hash of its columns");
}

void NegativeSet::State::verify(const ManifestReader& reader) const {
  for (const Shard& shard : shards) shard.check_places();
  ContentHash hash(schema.k);
  hash_into(hash);
  if (hash.hex() != content_hash) reader.fail("content_hash", "is not that of the columns");
}

void NegativeSet::State::hash_into(ContentHash& hash) const {
  for (const Shard& shard : shards) shard.hash_into(hash);
}

void NegativeSet::hash_shard(const std::string& store, const std::string& entry,
                             const SetSchema& schema, ContentHash& hash) {
  State state;
  state.path = store;
  state.of_store = true;
  state.schema = schema;
  const ManifestReader reader(store + "/work (a shard of the run)", entry);
  const FileHandle folder(::open(store.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) throw IoError(io_message(store, "cannot open"));
  const Shard shard = state.open_shard(folder.get(), reader, reader.root(), 0, true);
  state.verify_shard(reader, reader.root(), shard);
  shard.hash_into(hash);
}

NegativeSet NegativeSet::open(const std::string& path, bool verify) {
  return open(path, "manifest.json", false, verify);
}

NegativeSet NegativeSet::open_version(const std::string& store, const std::string& manifest,
                                      bool verify) {
  return open(store, manifest, true, verify);
}

NegativeSet NegativeSet::open(const std::string& path, const std::string& manifest, bool of_store,
                              bool verify) {
  auto state = std::make_shared<State>();
  state->path = path;
  state->manifest_path = path + "/" + manifest;
  state->of_store = of_store;
  const FileHandle folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) {
    if (errno == ENOENT) throw InputError(path + ": no such negative set");
    if (errno == ENOTDIR) throw InputError(path + ": a negative set is a folder, this is a file");
    throw IoError(io_message(path, "cannot open"));
  }
  state->manifest = read_manifest(state->manifest_path);
  const ManifestReader reader(state->manifest_path, state->manifest);
  const Json& root = reader.root();
  if (reader.text(root, "format") != "quarry.negative_set")
    reader.fail("format", "is not quarry.negative_set");
  const std::uint64_t version = reader.number(root, "format_version", 0xFFFFFFFFu);
  if (version != kFormatVersion) {
    throw InputError(state->manifest_path + ": 'format_version' is " + std::to_string(version) +
                     ", this program reads " + std::to_string(kFormatVersion) + " only; " +
                     (version < kFormatVersion ? "mine the set again"
                                               : "a newer quarry wrote it, use that one"));
  }
  state->schema.k = static_cast<std::uint32_t>(reader.number(root, "k", 65535));
  if (state->schema.k == 0) reader.fail("k", "is 0");
  state->schema.num_items =
      static_cast<std::uint32_t>(reader.number(root, "num_items", 0xFFFFFFFFu));
  state->schema.branches = reader.texts(root, "branches");
  if (state->schema.branches.empty() || state->schema.branches.size() > 254)
    reader.fail("branches", "must name 1 to 254");
  state->schema.strata = reader.texts(root, "strata");
  state->content_hash = reader.text(root, "content_hash");
  state->rows = reader.number(root, "rows", kMaxRows);

  const Json& shards = reader.at(root, "shards");
  if (!shards.is_array()) reader.fail("shards", "must be an array");
  std::uint64_t next = 0;
  std::vector<std::string> damages;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    Shard shard;
    try {
      shard = state->open_shard(folder.get(), reader, shards[i], i, verify);
      if (verify) state->verify_shard(reader, shards[i], shard);
    } catch (const InputError& error) {
      if (!verify) throw;
      damages.emplace_back(error.what());  // and on to the next: all are told
    }
    if (!damages.empty()) continue;
    if (shard.first_row != next || shard.rows == 0) {
      reader.fail("shards", "leave a gap or overlap at shard " + std::to_string(i));
    }
    next += shard.rows;
    state->shards.push_back(std::move(shard));
  }
  if (!damages.empty()) throw InputError(joined(damages));
  if (next != state->rows) {
    reader.fail("rows",
                "is " + std::to_string(state->rows) + ", the shards hold " + std::to_string(next));
  }
  if (verify) state->verify(reader);
  NegativeSet set;
  set.state_ = std::move(state);
  return set;
}

std::uint64_t NegativeSet::rows() const { return state_->rows; }
std::uint32_t NegativeSet::k() const { return state_->schema.k; }
const SetSchema& NegativeSet::schema() const { return state_->schema; }
const std::string& NegativeSet::path() const { return state_->path; }
const std::string& NegativeSet::manifest_path() const { return state_->manifest_path; }
const std::string& NegativeSet::content_hash() const { return state_->content_hash; }
const std::string& NegativeSet::manifest_json() const { return state_->manifest; }

NegativeSet::Row NegativeSet::row(std::uint64_t index) const {
  QUARRY_CHECK(index < state_->rows);
  const auto after =
      std::upper_bound(state_->shards.begin(), state_->shards.end(), index,
                       [](std::uint64_t row, const Shard& shard) { return row < shard.first_row; });
  const Shard& shard = *(after - 1);
  const std::uint64_t at = index - shard.first_row;
  const std::uint64_t slot = at * state_->schema.k;
  Row row;
  row.row_key = shard.data<std::uint64_t>(Column::kRowKey)[at];
  row.user = shard.data<std::uint32_t>(Column::kUser)[at];
  row.time = shard.data<std::int64_t>(Column::kTime)[at];
  row.positives = shard.positives_of(at);
  row.count = std::min<std::uint16_t>(shard.data<std::uint16_t>(Column::kCount)[at],
                                      static_cast<std::uint16_t>(state_->schema.k));
  row.positive_min = shard.data<float>(Column::kPositiveMin)[at];
  row.item = shard.data<std::uint32_t>(Column::kItem) + slot;
  row.raw_rank = shard.data<std::uint32_t>(Column::kRawRank) + slot;
  row.survivor_rank = shard.data<std::uint32_t>(Column::kSurvivorRank) + slot;
  row.stratum = shard.data<std::uint32_t>(Column::kStratum) + slot;
  row.branch = shard.data<std::uint8_t>(Column::kBranch) + slot;
  row.fill = shard.data<std::uint8_t>(Column::kFill) + slot;
  row.score = shard.data<float>(Column::kScore) + slot;
  row.logq = shard.data<float>(Column::kLogq) + slot;
  row.gap = shard.data<float>(Column::kGap) + slot;
  row.quantile = shard.data<float>(Column::kQuantile) + slot;
  row.kappa = shard.data<float>(Column::kKappa) + at * state_->schema.branches.size();
  row.certified = shard.data<std::uint8_t>(Column::kCertified)[at];
  return row;
}

std::string content_hash_of(const std::vector<NegativeSet>& parts) {
  if (parts.empty()) throw InputError("no sets to hash; name at least one");
  ContentHash hash(parts.front().k());
  for (const NegativeSet& part : parts) {
    if (part.k() != parts.front().k()) {
      throw InputError(part.path() + ": has k = " + std::to_string(part.k()) + ", " +
                       parts.front().path() + " has " + std::to_string(parts.front().k()) +
                       "; only sets of one run can be joined");
    }
    part.state_->hash_into(hash);
  }
  return hash.hex();
}

}  // namespace quarry
