// Linking and copying shards, and reading their entries.
#include "host/store/shard_copy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "host/store/files.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

constexpr std::size_t kCopyBytes = std::size_t{1} << 20;

void copy_file(const std::string& from, const std::string& to) {
  const FileHandle source(::open(from.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (source.get() < 0) throw IoError(io_message(from, "cannot open"));
  FileHandle target = create_file(to);
  std::vector<unsigned char> buffer(kCopyBytes);
  std::uint64_t at = 0;
  for (;;) {
    const ssize_t got = ::read(source.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw IoError(io_message(from, "cannot read"));
    if (got == 0) break;
    write_to(target, to, buffer.data(), static_cast<std::size_t>(got), at);
    at += static_cast<std::uint64_t>(got);
  }
  sync_file(target, to);
  close_file(target, to);
}

bool same_file_system(const std::string& a, const std::string& b) {
  struct stat of_a = {}, of_b = {};
  return ::stat(a.c_str(), &of_a) == 0 && ::stat(b.c_str(), &of_b) == 0 &&
         of_a.st_dev == of_b.st_dev;
}

Digest digest_from(const std::string& hex) {
  Digest digest;
  if (hex.size() != 2 * sizeof(digest.bytes)) throw InputError("'" + hex + "' is no XXH3-128");
  for (std::size_t i = 0; i < sizeof(digest.bytes); ++i)
    digest.bytes[i] = static_cast<unsigned char>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
  return digest;
}

}  // namespace

void copy_shard(const std::string& from, const std::string& to) {
  if (!make_folder(to)) throw IoError(to + ": is there already");
  bool links = same_file_system(from, to);
  for (std::size_t c = 0; c < kNumColumns; ++c) {
    const std::string name = "/" + std::string(column_type(static_cast<Column>(c)).name) + ".npy";
    if (links) {
      try {
        if (!link_file(from + name, to + name)) throw IoError(to + name + ": is there already");
        continue;
      } catch (const IoError&) {
        // File systems without links, other owners' files under fs.protected_hardlinks: a copy
        // fails with its own words where there is more behind it.
        links = false;
      }
    }
    copy_file(from + name, to + name);
  }
  sync_folder(to);
}

std::vector<FinishedShard> shards_of(const NegativeSet& set) {
  std::vector<FinishedShard> all;
  try {
    const auto manifest = nlohmann::ordered_json::parse(set.manifest_json());
    for (const auto& entry : manifest.at("shards")) {
      FinishedShard shard;
      shard.folder = set.path() + "/" + entry.at("path").get<std::string>();
      shard.first_row = entry.at("first_row").get<std::uint64_t>();
      shard.facts.rows = entry.at("rows").get<std::uint64_t>();
      shard.facts.positives = entry.at("positives").get<std::uint64_t>();
      DigestStream whole;
      for (std::size_t c = 0; c < kNumColumns; ++c) {
        const auto& column = entry.at("columns").at(column_type(static_cast<Column>(c)).name);
        shard.facts.column_bytes[c] = column.at("bytes").get<std::uint64_t>();
        shard.facts.column_digest[c] = digest_from(column.at("xxh3_128").get<std::string>());
        whole.update(shard.facts.column_digest[c].bytes, sizeof(Digest::bytes));
      }
      shard.facts.digest = whole.digest();
      all.push_back(std::move(shard));
    }
  } catch (const std::logic_error& error) {  // stoul's
    throw InputError(set.manifest_path() + ": " + error.what() + "; the manifest is damaged");
  } catch (const nlohmann::json::exception& error) {
    throw InputError(set.manifest_path() + ": " + error.what() + "; the manifest is damaged");
  }
  return all;
}

}  // namespace quarry
