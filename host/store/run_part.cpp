// Parts of a run, committed once.
#include "host/store/run_part.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "host/store/files.h"
#include "host/store/kept_array.h"
#include "host/store/set_hash.h"
#include "host/store/set_manifest.h"
#include "host/store/shard_writer.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// A lock in a writer's folder. Beside the columns, so that it goes with them.
constexpr const char* kWriterLock = "/WRITER";
/// The hash of the manifest, which holds counters that no column tells.
constexpr const char* kSeal = "/seal";

/// Of the running kernel, within which a lock tells who is alive. The host's name alone does not
/// do: pods of one shard on two nodes share it.
std::string machine_name() {
  char name[256] = {};
  std::string text = ::gethostname(name, sizeof(name) - 1) == 0 ? name : "host";
  for (char& c : text) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  return text + "-" + boot.substr(0, 8);
}

std::string seal_of(const std::string& manifest) {
  DigestStream stream;
  stream.update(manifest.data(), manifest.size());
  return stream.digest().hex() + "\n";
}

FileHandle lock_of(const std::string& unfinished, bool* taken) {
  FileHandle file(::open((unfinished + kWriterLock).c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  *taken = file.get() >= 0 && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0;
  return file;
}

/// Rows and answers: what two makings of a part must agree in. Not `certified`, which tells how a
/// row was searched.
std::string what_differs(const NegativeSet& a, const NegativeSet& b) {
  if (a.rows() != b.rows()) return "the number of rows";
  if (a.k() != b.k()) return "k";
  for (std::uint64_t r = 0; r < a.rows(); ++r) {
    const NegativeSet::Row one = a.row(r), other = b.row(r);
    const bool same_row = one.row_key == other.row_key && one.user == other.user &&
                          one.time == other.time &&
                          std::ranges::equal(one.positives, other.positives);
    if (!same_row) return "what row " + std::to_string(r) + " is";
  }
  return a.content_hash() == b.content_hash() ? "" : "the negatives";
}

}  // namespace

struct PartWriter::State {
  fs::path folder, target, hidden;  ///< `hidden` is empty once it was renamed
  SetSchema schema;
  std::uint64_t rows_per_shard = 0, rows = 0;
  FileHandle lock;
  std::optional<ShardWriter> shard;
  std::vector<RowBasis> basis;  ///< of the open shard's rows
  std::vector<std::string> shards, bases;
  std::optional<ContentHash> content;

  ~State() {
    shard.reset();
    std::error_code ignored;
    lock = FileHandle();  // NFS keeps files that are open under other names
    if (!hidden.empty()) fs::remove_all(hidden, ignored);
  }

  std::string open_folder() const { return (hidden / "shard").string(); }

  void close_shard() {
    const ShardFacts facts = shard->finish();
    shard.reset();
    char number[16];
    std::snprintf(number, sizeof(number), "%08llu", static_cast<unsigned long long>(shards.size()));
    const std::string name = std::string("s") + number + "-" + facts.digest.hex().substr(0, 16);
    rename_path(open_folder(), (hidden / name).string());
    shards.push_back(shard_entry(name, rows - facts.rows, facts));
    bases.push_back(keep_sealed(hidden.string(), (hidden / "array.part").string(), number,
                                basis.data(), basis.size()));
    basis.clear();
  }

  /// Removes what writers of this part left who were killed on this machine since it was started:
  /// the kernel has dropped their locks. Those of other machines are left alone; not every file
  /// system carries locks between them.
  void remove_litter(const std::string& prefix) const {
    for (const std::string& path : unfinished_parts(folder.string(), prefix)) {
      bool taken = false;
      const FileHandle held = lock_of(path, &taken);
      std::error_code ignored;
      if (taken) fs::remove_all(path, ignored);
    }
  }

  /// False: another writer that is tidying up came in between; it removes the folder.
  bool hold_hidden() {
    const std::string path = hidden.string() + kWriterLock;
    lock = create_file(path);
    const bool taken = ::flock(lock.get(), LOCK_EX | LOCK_NB) == 0;
    // A file system without locks (Lustre unless mounted with them) leaves what killed writers left
    // to join --clean: nobody's lock can be taken there.
    return (taken || errno != EWOULDBLOCK) && ::access(path.c_str(), F_OK) == 0;
  }

  /// False: something lies at the place, and was there first.
  bool put_in_place() {
    try {
      // Fails where something lies there, but for an empty folder.
      rename_path(hidden.string(), target.string());
    } catch (const IoError&) {
      if (!RunPart::is_there(folder.string(), target.filename().string())) throw;
      // NFS sends a request again whose answer was lost: then it is done and reported as failed.
      std::error_code error;
      if (fs::symlink_status(hidden, error).type() != fs::file_type::not_found) return false;
    }
    hidden.clear();
    lock = FileHandle();
    try {
      remove_path(target.string() + kWriterLock);
    } catch (const IoError&) {
      // The part is in place; an empty file more in it is no harm.
    }
    return true;
  }

  void make_hidden(const std::string& name) {
    const std::string prefix = unfinished_prefix(name);
    remove_litter(prefix.substr(1));
    for (int n = 0; n < 1000; ++n) {
      hidden = folder / (prefix + std::to_string(::getpid()) + "-" + std::to_string(n));
      if (!make_folder(hidden.string())) continue;
      if (hold_hidden()) return;
    }
    hidden.clear();
    throw IoError(folder.string() +
                  ": too many unfinished parts (.*.partial-*) lie here; delete "
                  "them");
  }
};

PartWriter::PartWriter(const std::string& folder, const std::string& name, const SetSchema& schema,
                       std::uint64_t rows_per_shard)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.folder = folder;
  s.target = s.folder / name;
  s.schema = schema;
  s.rows_per_shard = rows_per_shard;
  s.content.emplace(schema.k);
  s.make_hidden(name);
}

PartWriter::~PartWriter() = default;

void PartWriter::append(const NegativeBatch& batch, const SetRows& rows,
                        const std::atomic<bool>* stop) {
  State& s = *state_;
  QUARRY_CHECK(batch.k == s.schema.k && rows.depends != nullptr);
  for (std::uint64_t begin = 0; begin < batch.num_rows;) {
    if (stop != nullptr && stop->load())
      throw Cancelled("stopped while writing; nothing was written to " + s.target.string());
    if (!s.shard) s.shard.emplace(s.open_folder(), s.schema);
    const std::uint64_t count =
        std::min(std::uint64_t{batch.num_rows} - begin, s.rows_per_shard - s.shard->rows());
    s.shard->append(batch, rows, begin, count, &*s.content);
    for (std::uint64_t r = begin; r < begin + count; ++r)
      s.basis.push_back({rows.depends[r], std::bit_cast<std::uint32_t>(batch.floor[r])});
    begin += count;
    s.rows += count;
    if (s.shard->rows() == s.rows_per_shard) s.close_shard();
  }
}

PartCommit PartWriter::commit(const std::string& run_json, const std::string& part_json) {
  State& s = *state_;
  if (s.shard) s.close_shard();
  PartCommit done{s.content->hex(), false};
  Json part = Json::parse(part_json);
  part["bases"] = Json::array();
  for (const std::string& entry : s.bases) part["bases"].push_back(Json::parse(entry));
  const Json more = {{"part", std::move(part)}};
  const std::string manifest =
      set_manifest(s.schema, s.rows, done.content_hash, s.shards, run_json, more.dump());
  write_new_file((s.hidden / "manifest.json").string(), manifest);
  write_new_file(s.hidden.string() + kSeal, seal_of(manifest));
  sync_folder(s.hidden.string());
  done.was_there = !s.put_in_place();
  sync_folder(s.folder.string());
  if (!done.was_there) return done;
  const RunPart there(s.folder.string(), s.target.filename().string(), true);
  const std::string differs =
      what_differs(there.set(), NegativeSet::open(s.hidden.string(), false));
  if (!differs.empty()) {
    throw InputError(s.target.string() +
                     ": was made before and differs from what was made now in " + differs +
                     ": a machine or library computes otherwise, or inputs changed between "
                     "the two. Content hash " +
                     there.set().content_hash() + " there, " + done.content_hash +
                     " now; move the folder away to keep the new one");
  }
  return done;
}

RunPart::RunPart(const std::string& folder, const std::string& name, bool verify)
    : set_(NegativeSet::open((fs::path(folder) / name).string(), verify)),
      shards_(shards_of(set_)) {
  try {
    const Json part = Json::parse(set_.manifest_json()).at("part");
    about_ = part.dump();
    for (const Json& entry : part.at("bases")) bases_.push_back(entry.dump());
  } catch (const nlohmann::json::exception&) {
    throw InputError(set_.manifest_path() + ": is of a set, not of a part of a run");
  }
  std::error_code error;
  const std::string seal = set_.path() + kSeal;
  if (!fs::is_regular_file(seal, error) || read_text(seal, 64) != seal_of(set_.manifest_json()))
    throw InputError(set_.manifest_path() + ": does not have the hash in " + seal +
                     "; the file is damaged");
  if (bases_.size() != shards_.size())
    throw InputError(set_.manifest_path() + ": 'part.bases' does not fit 'shards'; it is damaged");
  for (std::size_t n = 0; verify && n < bases_.size(); ++n) basis(n);
}

bool RunPart::is_there(const std::string& folder, const std::string& name) {
  std::error_code error;
  const fs::path path = fs::path(folder) / name;
  const fs::file_status status = fs::symlink_status(path, error);
  if (status.type() == fs::file_type::not_found) return false;
  return !(status.type() == fs::file_type::directory && fs::is_empty(path, error));
}

std::vector<RowBasis> RunPart::basis(std::size_t shard) const {
  const std::uint64_t rows = shards_.at(shard).facts.rows;
  const std::vector<unsigned char> bytes = read_sealed(set_.path(), bases_.at(shard), rows);
  std::vector<RowBasis> basis(rows);
  std::memcpy(basis.data(), bytes.data(), bytes.size());
  return basis;
}

std::string move_damaged_part_aside(const std::string& folder, const std::string& name) {
  for (int n = 1;; ++n) {
    const fs::path aside = fs::path(folder) / (name + ".damaged-" + std::to_string(n));
    std::error_code error;
    if (fs::symlink_status(aside, error).type() != fs::file_type::not_found) continue;
    try {
      rename_path((fs::path(folder) / name).string(), aside.string());
    } catch (const IoError&) {
      if (RunPart::is_there(folder, name)) throw;  // else another worker was quicker
    }
    return aside.string();
  }
}

std::string unfinished_prefix(const std::string& name) {
  return "." + name + ".partial-" + machine_name() + "-";
}

std::vector<std::string> unfinished_parts(const std::string& folder, const std::string& prefix) {
  std::vector<std::string> all;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with("." + prefix) && name.find(".partial-") != std::string::npos)
      all.push_back(entry->path().string());
  }
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace quarry
