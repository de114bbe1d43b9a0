// A store: a folder of versions of a negative set that share their shards (host/store/FORMAT.md).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "host/store/files.h"
#include "host/store/negative_set.h"
#include "host/store/shard_writer.h"

namespace quarry {

/// One writer per store. The kernel drops the lock of a process that was killed.
class StoreLock {
 public:
  /// Throws SetLocked if another process holds it.
  explicit StoreLock(const std::string& store);

 private:
  FileHandle file_;
};

/// What pruning removes.
struct Pruned {
  std::vector<std::uint64_t> versions;
  std::vector<std::string> shards;  ///< folders that no version needs any more
  std::vector<std::string> arrays;  ///< files of `bases/` likewise
  std::vector<std::string> works;   ///< half-finished runs
  std::uint64_t bytes = 0;          ///< of the shards and arrays
};

class Store {
 public:
  /// Makes a store where there is nothing or an empty folder, else opens the one there. Throws
  /// IoError where something else lies there.
  static Store create(const std::string& path);
  /// Throws InputError where there is no store of a format that this program reads.
  static Store open(const std::string& path);
  static bool is_store(const std::string& path);
  /// Throws ConfigError for a name that no tag can have.
  static void check_tag_name(const std::string& name);

  const std::string& path() const { return path_; }
  /// Numbers of the versions, ascending.
  std::vector<std::uint64_t> versions() const;
  /// What tags mean. Throws InputError for a damaged one, unless `damaged` takes a sentence on it.
  std::map<std::string, std::uint64_t> tags(std::vector<std::string>* damaged = nullptr) const;
  /// "7", "v7" or a tag. Throws InputError naming what there is.
  std::uint64_t resolve(const std::string& reference) const;
  std::string version_file(std::uint64_t number) const;
  /// Its JSON. Throws InputError where the file is damaged.
  std::string manifest(std::uint64_t number) const;
  /// The identity of the run that made it; "" where none is recorded.
  std::string identity(std::uint64_t number) const;
  NegativeSet read(std::uint64_t number, bool verify) const;

  // Each changes the store in steps after any of which it is whole; the caller holds the lock.

  /// Where shards of a run with this identity are made, and its journal.
  std::string work_folder(const std::string& identity) const;
  std::string shard_folder(const std::string& digest) const;
  /// Puts a finished folder in its place, which its content names. True: it was there already,
  /// whole, and the folder is removed; one that is damaged is replaced.
  bool keep_shard(const std::string& folder, const ShardFacts& facts, const SetSchema& schema);
  /// Adds the next version: a set's manifest, whose shards are kept, with its number and time.
  /// Moves the tag `latest` and those of `tags` to it.
  std::uint64_t commit(const std::string& manifest, const std::vector<std::string>& tags);
  /// The rest of a commit whose process was killed: log and tags, which mean it from here on.
  void finish_commit(std::uint64_t number, const std::vector<std::string>& tags);
  /// Damages of versions, tags and log, each in a sentence; if `only` is given, of that version and
  /// the log alone. Reads every byte.
  std::vector<std::string> verify(std::optional<std::uint64_t> only) const;
  /// The name means this version from here on. Throws ConfigError for a name that no tag can have.
  void tag(const std::string& name, std::uint64_t number);
  /// Throws InputError where there is no such tag.
  void remove_tag(const std::string& name);
  /// What would go if only the newest `keep` versions and those with a tag stayed, with
  /// `unfinished` also what runs that were stopped have made.
  Pruned to_prune(std::uint64_t keep, bool unfinished) const;
  void prune(const Pruned& pruned);
  /// Adds an event, a JSON object, with its time to the store's log.
  void record(const std::string& event);
  /// The log, oldest first: JSON objects.
  std::vector<std::string> events() const;

 private:
  explicit Store(std::string path) : path_(std::move(path)) {}
  static bool is_tag_name(const std::string& name);
  void check_parts() const;
  std::uint64_t read_tag(const std::string& name) const;
  bool is_whole(const ShardFacts& facts, const SetSchema& schema) const;
  void discard_shard(const std::string& digest);
  std::string path_;
};

/// "STORE@REFERENCE" taken apart, or STORE alone, which means its tag `latest`; false if `text`
/// names no store.
bool split_reference(const std::string& text, std::string* store, std::string* reference);

}  // namespace quarry
