// SetWriter: shards into a temporary folder, manifest last, one rename.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "host/store/column_file.h"
#include "host/store/negative_set.h"
#include "host/store/set_hash.h"
#include "host/store/set_lock.h"
#include "kernels/core/errors.h"
#include "kernels/core/ids.h"

namespace quarry {
namespace {

/// Slots whose columns are made at a time, so that the writer's memory does not grow with k.
constexpr std::uint64_t kChunkSlots = 32768;

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Sets tell what persons did: for their owner only, until he says otherwise.
constexpr mode_t kFolderMode = 0700;
constexpr std::uint32_t kNoUser = 0xFFFFFFFFu;
constexpr float kNan = std::bit_cast<float>(0x7FC00000u);

/// One NaN for all, so that equal sets have equal bytes.
float canonical(float value) { return std::isnan(value) ? kNan : value; }

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

void rename_or_throw(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    throw IoError(io_message(from.string(), "cannot rename to " + to.string()));
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
    if (::mkdir(folder.c_str(), kFolderMode) == 0) return folder;
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

Json column_list() {
  Json columns = Json::array();
  for (std::size_t c = 0; c < kNumColumns; ++c) {
    const ColumnType& type = column_type(static_cast<Column>(c));
    columns.push_back(
        {{"name", type.name}, {"dtype", type.descr}, {"shape", shape_words(type.shape)}});
  }
  return columns;
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

  std::uint64_t rows = 0;        ///< in all
  std::uint64_t shard_rows = 0;  ///< in the open shard
  std::uint64_t shard_positives = 0;
  std::vector<ColumnWriter> open;  ///< the open shard's columns; empty: none
  Json shards = Json::array();
  std::optional<ContentHash> content;

  // Columns of the rows being appended, [rows] or [rows, k].
  std::vector<std::uint32_t> item, raw_rank, survivor_rank, stratum;
  std::vector<std::uint64_t> positive_offset;
  std::vector<float> positive_min, kappa, score, gap, quantile, logq;
  std::vector<std::uint8_t> branch, fill;

  ~State() {
    open.clear();
    std::error_code ignored;  // a destructor reports nothing; the folder's name says what it is
    if (!partial.empty()) fs::remove_all(partial, ignored);
  }

  fs::path open_folder() const { return partial / "shard"; }

  void start_shard() {
    if (shards.size() >= kMaxShards) {
      throw ConfigError("a set holds at most " + std::to_string(kMaxShards) + " shards; " +
                        std::to_string(rows_per_shard) +
                        " rows per shard are too few for these rows");
    }
    const fs::path folder = open_folder();
    if (::mkdir(folder.c_str(), kFolderMode) != 0)
      throw IoError(io_message(folder.string(), "cannot make the folder"));
    for (std::size_t c = 0; c < kNumColumns; ++c) {
      const auto column = static_cast<Column>(c);
      open.emplace_back(
          folder.string(), column,
          column_width(column, schema.k, static_cast<std::uint32_t>(schema.branches.size())));
    }
    shard_rows = shard_positives = 0;
    put(Column::kPositiveOffset, &shard_positives, 1);
  }

  void close_shard() {
    Json columns = Json::object();
    DigestStream shard_digest;
    for (std::size_t c = 0; c < kNumColumns; ++c) {
      open[c].finish(column_length(static_cast<Column>(c), shard_rows, shard_positives));
      const Digest digest = open[c].digest();
      shard_digest.update(digest.bytes, sizeof(digest.bytes));
      columns[column_type(static_cast<Column>(c)).name] = {{"bytes", open[c].file_bytes()},
                                                           {"xxh3_128", digest.hex()}};
    }
    open.clear();
    char number[16];
    std::snprintf(number, sizeof(number), "%08llu", static_cast<unsigned long long>(shards.size()));
    const std::string name =
        std::string("s") + number + "-" + shard_digest.digest().hex().substr(0, 16);
    sync_folder(open_folder().string());
    rename_or_throw(open_folder(), partial / name);
    shards.push_back({{"path", name},
                      {"first_row", rows - shard_rows},
                      {"rows", shard_rows},
                      {"positives", shard_positives},
                      {"columns", std::move(columns)}});
  }

  template <class T>
  void put(Column column, const std::vector<T>& values) {
    put(column, values.data(), values.size());
  }
  template <class T>
  void put(Column column, const T* values, std::size_t count) {
    open[static_cast<std::size_t>(column)].append(values, count * sizeof(T));
  }

  /// Copies rows [begin, begin + count) of the batch into the column vectors, empty slots as
  /// FORMAT.md wants them.
  void canonicalise(const NegativeBatch& batch, std::uint64_t begin, std::uint64_t count);
  void put_positives(const SetRows& of, std::uint64_t begin, std::uint64_t count);
  void append_rows(const NegativeBatch& batch, const SetRows& of, std::uint64_t begin,
                   std::uint64_t count);
  void move_into_place();
};

void SetWriter::State::canonicalise(const NegativeBatch& batch, std::uint64_t begin,
                                    std::uint64_t count) {
  const std::uint64_t k = schema.k;
  for (auto* column : {&item, &raw_rank, &survivor_rank, &stratum}) column->resize(count * k);
  for (auto* column : {&score, &gap, &quantile, &logq}) column->resize(count * k);
  for (auto* column : {&branch, &fill}) column->resize(count * k);
  positive_min.resize(count);
  for (std::uint64_t r = 0; r < count; ++r) {
    const std::uint64_t row = begin + r;
    positive_min[r] = canonical(batch.positive_min[row]);
    for (std::uint64_t j = 0; j < k; ++j) {
      const std::uint64_t from = row * k + j;
      const std::uint64_t to = r * k + j;
      const bool filled = j < batch.count[row];
      QUARRY_CHECK(filled == (batch.item[from] != kNoItem));
      QUARRY_CHECK(filled == (batch.fill[from] == static_cast<std::uint8_t>(FillCode::kFilled)));
      item[to] = batch.item[from];
      fill[to] = batch.fill[from];
      stratum[to] = batch.stratum[from];
      branch[to] = filled ? batch.branch[from] : 0xFF;
      raw_rank[to] = filled ? batch.raw_rank[from] : 0;
      survivor_rank[to] = filled ? batch.survivor_rank[from] : 0;
      score[to] = filled ? canonical(batch.score[from]) : kNan;
      gap[to] = filled ? canonical(positive_min[r] - batch.score[from]) : kNan;
      logq[to] = filled ? canonical(batch.logq[from]) : kNan;
      quantile[to] = raw_rank[to] != 0 && schema.num_items != 0
                         ? static_cast<float>(raw_rank[to]) / static_cast<float>(schema.num_items)
                         : kNan;
    }
  }
  const std::uint64_t branches = schema.branches.size();
  kappa.resize(count * branches);
  for (std::uint64_t i = 0; i < count * branches; ++i)
    kappa[i] = canonical(batch.kappa[begin * branches + i]);
}

/// Where each row's positives end in the shard's column, and the positives.
void SetWriter::State::put_positives(const SetRows& of, std::uint64_t begin, std::uint64_t count) {
  if (of.positive_offsets == nullptr) {
    positive_offset.assign(count, shard_positives);
    put(Column::kPositiveOffset, positive_offset);
    return;
  }
  const std::uint64_t* from = of.positive_offsets + begin;
  positive_offset.resize(count);
  for (std::uint64_t r = 0; r < count; ++r)
    positive_offset[r] = shard_positives + (from[r + 1] - from[0]);
  put(Column::kPositiveOffset, positive_offset);
  put(Column::kPositive, of.positives + from[0], from[count] - from[0]);
  shard_positives += from[count] - from[0];
}

void SetWriter::State::append_rows(const NegativeBatch& batch, const SetRows& of,
                                   std::uint64_t begin, std::uint64_t count) {
  canonicalise(batch, begin, count);
  put(Column::kRowKey, of.key + begin, count);
  if (of.user != nullptr) {
    put(Column::kUser, of.user + begin, count);
  } else {
    put(Column::kUser, std::vector<std::uint32_t>(count, kNoUser));
  }
  if (of.time != nullptr) {
    put(Column::kTime, of.time + begin, count);
  } else {
    put(Column::kTime, std::vector<std::int64_t>(count, INT64_MAX));
  }
  put_positives(of, begin, count);
  put(Column::kCount, batch.count.data() + begin, count);
  put(Column::kPositiveMin, positive_min);
  put(Column::kKappa, kappa);
  put(Column::kCertified, batch.certified.data() + begin, count);
  put(Column::kItem, item);
  put(Column::kScore, score);
  put(Column::kGap, gap);
  put(Column::kBranch, branch);
  put(Column::kRawRank, raw_rank);
  put(Column::kSurvivorRank, survivor_rank);
  put(Column::kQuantile, quantile);
  put(Column::kStratum, stratum);
  put(Column::kLogq, logq);
  put(Column::kFill, fill);
  content->update(count, item.data(), score.data(), stratum.data(), fill.data());
  rows += count;
  shard_rows += count;
}

void SetWriter::State::move_into_place() {
  check_target(target, existing);  // something may have appeared meanwhile
  std::error_code error;
  if (!fs::exists(target, error) || is_empty_folder(target)) {
    rename_or_throw(partial, target);  // atomic; replaces an empty folder, refuses a full one
    partial.clear();
    return;
  }
  const fs::path old = free_old_name(target);
  if (::renameat2(AT_FDCWD, partial.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) {
    fs::path exchanged;
    std::swap(exchanged, partial);  // holds the old set from here on: never to be removed
    rename_or_throw(exchanged, old);
  } else {
    rename_or_throw(
        target, old);  // a file system without exchange: two steps, both sets complete throughout
    rename_or_throw(partial, target);
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
    if (s.open.empty()) s.start_shard();
    const std::uint64_t count =
        std::min({std::uint64_t{batch.num_rows} - begin, s.rows_per_shard - s.shard_rows,
                  std::max<std::uint64_t>(kChunkSlots / batch.k, 1)});
    s.append_rows(batch, rows, begin, count);
    begin += count;
    if (s.shard_rows == s.rows_per_shard) s.close_shard();
  }
}

std::string SetWriter::finish(const std::string& run_json) {
  State& s = *state_;
  if (!s.open.empty()) s.close_shard();
  std::string hash = s.content->hex();
  Json manifest = {
      {"format", "quarry.negative_set"},
      {"format_version", kFormatVersion},
      {"rows", s.rows},
      {"k", s.schema.k},
      {"num_items", s.schema.num_items},
      {"branches", s.schema.branches},
      {"strata", s.schema.strata},
      {"fill_codes", {"filled", "exhausted", "max_rank", "cap", "quota", "bad_row"}},
      {"exposure_classes", {"non_consumption", "positive", "aversion", "disinterest", "ambiguous"}},
      {"content_hash", hash},
      {"columns", column_list()},
      {"shards", s.shards},
      {"run", Json::parse(run_json)},
  };
  write_new_file((s.partial / "manifest.json").string(),
                 manifest.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  sync_folder(s.partial.string());
  s.move_into_place();
  sync_folder(s.target.parent_path().string());
  return hash;
}

const std::string& SetWriter::moved_aside() const { return state_->moved_aside; }

}  // namespace quarry
