// Parts of a run, committed once.
#include "host/store/run_part.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "host/store/files.h"
#include "host/store/kept_array.h"
#include "host/store/set_hash.h"
#include "host/store/set_manifest.h"
#include "host/store/shard_writer.h"
#include "host/store/unfinished.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// The hash of the manifest, which holds counters that no column tells.
constexpr const char* kSeal = "/seal";

std::string seal_of(const std::string& manifest) { return digest_of(manifest).hex() + "\n"; }

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
  fs::path folder, target;
  SetSchema schema;
  std::uint64_t rows_per_shard = 0, rows = 0;
  Unfinished part;
  std::optional<ShardWriter> shard;  ///< in the part, and gone before it
  std::vector<RowBasis> basis;       ///< of the open shard's rows
  std::vector<std::string> shards, bases;
  std::optional<ContentHash> content;

  State(const std::string& in, const std::string& name)
      : folder(in), target(folder / name), part(in, name, Unfinished::Kind::kFolder) {}

  std::string open_folder() const { return part.path() + "/shard"; }

  void close_shard() {
    const ShardFacts facts = shard->finish();
    shard.reset();
    char number[16];
    std::snprintf(number, sizeof(number), "%08llu", static_cast<unsigned long long>(shards.size()));
    const std::string name = std::string("s") + number + "-" + facts.digest.hex().substr(0, 16);
    rename_path(open_folder(), part.path() + "/" + name);
    shards.push_back(shard_entry(name, rows - facts.rows, facts));
    bases.push_back(
        keep_sealed(part.path(), part.path() + "/array.part", number, basis.data(), basis.size()));
    basis.clear();
  }

  /// False: something lies at the place, and was there first.
  bool put_in_place() {
    try {
      // Fails where something lies there, but for an empty folder.
      part.put_at(target.string());
    } catch (const IoError&) {
      if (!RunPart::is_there(folder.string(), target.filename().string())) throw;
      return false;
    }
    try {
      remove_path(target.string() + kWriterLock);
    } catch (const IoError&) {
      // The part is in place; an empty file more in it is no harm.
    }
    return true;
  }
};

PartWriter::PartWriter(const std::string& folder, const std::string& name, const SetSchema& schema,
                       std::uint64_t rows_per_shard)
    : state_(std::make_unique<State>(folder, name)) {
  State& s = *state_;
  s.schema = schema;
  s.rows_per_shard = rows_per_shard;
  s.content.emplace(schema.k);
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
  // Here, where columns are on the disk: writing them is a part of a worker's time.
  part["committed"] =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  const Json more = {{"part", std::move(part)}};
  const std::string manifest =
      set_manifest(s.schema, s.rows, done.content_hash, s.shards, run_json, more.dump());
  write_new_file(s.part.path() + "/manifest.json", manifest);
  write_new_file(s.part.path() + kSeal, seal_of(manifest));
  sync_folder(s.part.path());
  done.was_there = !s.put_in_place();
  sync_folder(s.folder.string());
  if (!done.was_there) return done;
  const RunPart there(s.folder.string(), s.target.filename().string(), true);
  const std::string differs = what_differs(there.set(), NegativeSet::open(s.part.path(), false));
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

}  // namespace quarry
