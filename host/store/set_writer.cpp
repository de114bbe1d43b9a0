// SetWriter: shards into a temporary folder, manifest last, one rename.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "host/store/files.h"
#include "host/store/negative_set.h"
#include "host/store/set_hash.h"
#include "host/store/set_lock.h"
#include "host/store/set_manifest.h"
#include "host/store/shard_copy.h"
#include "host/store/shard_writer.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;

bool is_empty_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_empty(path, error) && !error;
}

/// Refuses a target that must not be replaced.
void check_target(const fs::path& path, Existing existing) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (status.type() == fs::file_type::not_found) return;
  if (status.type() != fs::file_type::directory) {
    throw IoError(path.string() + ": exists and is not a folder; choose another --out");
  }
  if (is_empty_folder(path)) return;
  if (existing == Existing::kRefuse) {
    throw IoError(path.string() +
                  ": exists and is not empty; choose another --out, or give --overwrite to put the "
                  "new set in its "
                  "place (the old one is kept beside it)");
  }
  if (!fs::is_regular_file(path / "manifest.json", error)) {
    throw IoError(path.string() +
                  ": is not empty and not a negative set (it has no manifest.json), so it is not "
                  "replaced; choose "
                  "another --out");
  }
}

/// Makes a folder `.<name>.partial-<process>-<n>` that did not exist before.
fs::path make_partial_folder(const fs::path& target) {
  static std::atomic<unsigned> counter{0};
  const fs::path parent = target.parent_path();
  for (int attempt = 0; attempt < 1000; ++attempt) {
    fs::path folder =
        parent / ("." + target.filename().string() + ".partial-" + std::to_string(::getpid()) +
                  "-" + std::to_string(counter.fetch_add(1)));
    if (::mkdir(folder.c_str(), 0700) == 0) return folder;
    if (errno != EEXIST) {
      throw IoError(io_message(parent.string(), "cannot make a folder for the output here") +
                    "; check that the folder exists and can be written");
    }
  }
  throw IoError(parent.string() +
                ": too many unfinished sets (.*.partial-*) lie here; delete them");
}

/// The first free name of `<target>.old`, `<target>.old-2` ...
fs::path free_old_name(const fs::path& target) {
  for (int n = 1;; ++n) {
    fs::path name = target;
    name += n == 1 ? ".old" : ".old-" + std::to_string(n);
    std::error_code error;
    if (fs::symlink_status(name, error).type() == fs::file_type::not_found) return name;
  }
}

}  // namespace

void check_set_target(const std::string& path, Existing existing) {
  const fs::path target = set_folder(path);
  check_target(target, existing);
  const fs::path parent = target.parent_path();
  std::error_code error;
  if (!fs::is_directory(parent, error)) {
    throw IoError(parent.string() + ": is not a folder, so " + target.filename().string() +
                  " cannot be made in it; create the folder first or choose another --out");
  }
  if (::access(parent.c_str(), W_OK | X_OK) != 0)
    throw IoError(io_message(parent.string(), "cannot write here"));
}

std::uint64_t set_bytes(const SetSchema& schema, std::uint64_t rows, std::uint64_t positives) {
  std::uint64_t bytes = 0;
  for (std::size_t c = 0; c < kNumColumns; ++c) {
    const auto column = static_cast<Column>(c);
    bytes += column_length(column, rows, positives) *
             column_width(column, schema.k, static_cast<std::uint32_t>(schema.branches.size())) *
             column_type(column).bytes;
  }
  return bytes;
}

struct SetWriter::State {
  fs::path target;
  fs::path partial;  ///< empty once renamed
  SetSchema schema;
  std::uint64_t rows_per_shard = 0;
  Existing existing = Existing::kRefuse;
  std::string moved_aside;

  std::uint64_t rows = 0;            ///< in all
  std::optional<ShardWriter> shard;  ///< the open one
  std::vector<std::string> shards;   ///< entries of the manifest
  std::optional<ContentHash> content;

  ~State() {
    shard.reset();
    std::error_code ignored;  // a destructor reports nothing; the folder's name says what it is
    if (!partial.empty()) fs::remove_all(partial, ignored);
  }

  fs::path open_folder() const { return partial / "shard"; }

  void check_room() const {
    if (shards.size() < kMaxShards) return;
    throw ConfigError("a set holds at most " + std::to_string(kMaxShards) + " shards; " +
                      std::to_string(rows_per_shard) +
                      " rows per shard are too few for these rows");
  }

  void start_shard() {
    check_room();
    shard.emplace(open_folder().string(), schema);
  }

  std::string next_name(const ShardFacts& facts) const {
    char number[16];
    std::snprintf(number, sizeof(number), "%08llu", static_cast<unsigned long long>(shards.size()));
    return std::string("s") + number + "-" + facts.digest.hex().substr(0, 16);
  }

  void close_shard() {
    const ShardFacts facts = shard->finish();
    shard.reset();
    const std::string name = next_name(facts);
    rename_path(open_folder().string(), (partial / name).string());
    shards.push_back(shard_entry(name, rows - facts.rows, facts));
  }

  void take_shard(const FinishedShard& from, const NegativeSet::Row& first) {
    check_room();
    const std::string name = next_name(from.facts);
    copy_shard(from.folder, (partial / name).string());
    shards.push_back(shard_entry(name, rows, from.facts));
    content->update(from.facts.rows, first.item, first.score, first.stratum, first.fill);
    rows += from.facts.rows;
  }

  void move_into_place();
};

void SetWriter::State::move_into_place() {
  check_target(target, existing);  // something may have appeared meanwhile
  std::error_code error;
  if (!fs::exists(target, error) || is_empty_folder(target)) {
    rename_path(partial.string(),
                target.string());  // atomic; replaces an empty folder, refuses a full one
    partial.clear();
    return;
  }
  const fs::path old = free_old_name(target);
  if (::renameat2(AT_FDCWD, partial.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) {
    fs::path exchanged;
    std::swap(exchanged, partial);  // holds the old set from here on: never to be removed
    rename_path(exchanged.string(), old.string());
  } else {
    rename_path(
        target.string(),
        old.string());  // a file system without exchange: two steps, both sets complete throughout
    rename_path(partial.string(), target.string());
    partial.clear();
  }
  moved_aside = old.string();
}

SetWriter::SetWriter(const std::string& path, const SetSchema& schema, std::uint64_t rows_per_shard,
                     Existing existing)
    : state_(std::make_unique<State>()) {
  QUARRY_CHECK(schema.k >= 1 && schema.k <= 65535 && !schema.branches.empty() &&
               rows_per_shard >= 1);
  State& s = *state_;
  s.target = set_folder(path);
  s.schema = schema;
  s.rows_per_shard = rows_per_shard;
  s.existing = existing;
  s.content.emplace(schema.k);
  check_set_target(path, existing);
  s.partial = make_partial_folder(s.target);
}

SetWriter::~SetWriter() = default;

void SetWriter::append(const NegativeBatch& batch, const SetRows& rows,
                       const std::atomic<bool>* stop) {
  State& s = *state_;
  QUARRY_CHECK(batch.k == s.schema.k && batch.num_branches == s.schema.branches.size());
  QUARRY_CHECK(batch.item.size() == std::uint64_t{batch.num_rows} * batch.k);
  for (std::uint64_t r = 0; r < batch.num_rows && rows.positive_offsets != nullptr; ++r)
    QUARRY_CHECK(rows.positive_offsets[r] <= rows.positive_offsets[r + 1]);
  std::uint64_t begin = 0;
  while (begin < batch.num_rows) {
    // Small shards of a large batch are many files, each synced: far longer than a caller waits.
    if (stop != nullptr && stop->load())
      throw Cancelled("stopped while writing; nothing was written to " + s.target.string());
    if (!s.shard) s.start_shard();
    const std::uint64_t count =
        std::min(std::uint64_t{batch.num_rows} - begin, s.rows_per_shard - s.shard->rows());
    s.shard->append(batch, rows, begin, count, &*s.content);
    begin += count;
    s.rows += count;
    if (s.shard->rows() == s.rows_per_shard) s.close_shard();
  }
}

void SetWriter::append_set(const NegativeSet& set, const std::atomic<bool>* stop) {
  State& s = *state_;
  QUARRY_CHECK(!s.shard);
  const SetSchema& of = set.schema();
  if (of.k != s.schema.k || of.num_items != s.schema.num_items ||
      of.branches != s.schema.branches || of.strata != s.schema.strata) {
    throw InputError(set.path() + ": has another k, other branches, strata or items than the set " +
                     "that it is to be a part of");
  }
  for (const FinishedShard& shard : shards_of(set)) {
    if (stop != nullptr && stop->load())
      throw Cancelled("stopped while joining; nothing was written to " + s.target.string());
    s.take_shard(shard, set.row(shard.first_row));  // its columns lie row after row from there on
  }
}

std::string SetWriter::finish(const std::string& run_json) {
  State& s = *state_;
  if (s.shard) s.close_shard();
  std::string hash = s.content->hex();
  write_new_file((s.partial / "manifest.json").string(),
                 set_manifest(s.schema, s.rows, hash, s.shards, run_json));
  sync_folder(s.partial.string());
  s.move_into_place();
  sync_folder(s.target.parent_path().string());
  return hash;
}

const std::string& SetWriter::moved_aside() const { return state_->moved_aside; }

}  // namespace quarry
