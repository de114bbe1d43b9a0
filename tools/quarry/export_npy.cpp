// A set as a folder of NumPy arrays.
#include "tools/quarry/export_npy.h"

#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <system_error>

#include "host/store/files.h"
#include "host/store/set_lock.h"
#include "tools/quarry/export_file.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

}  // namespace

NpyExport::NpyExport(const NegativeSet& set, const std::string& out, bool overwrite)
    : set_(set), target_(set_folder(out)), overwrite_(overwrite) {
  check_export_target(out, overwrite_, true);
  aside_ = beside("partial");
  remove_folder(aside_);
  make_folder(aside_);
  const auto branches = static_cast<std::uint32_t>(set.schema().branches.size());
  for (std::size_t c = 0; c < kNumColumns; ++c) {
    const auto column = static_cast<Column>(c);
    columns_.emplace_back(aside_, column, column_width(column, set.k(), branches));
  }
  put(Column::kPositiveOffset, &positives_, 1);
}

NpyExport::~NpyExport() {
  std::error_code ignored;
  columns_.clear();
  if (!aside_.empty()) fs::remove_all(aside_, ignored);
}

void NpyExport::add(const NegativeSet::Row& row) {
  const std::uint32_t k = set_.k();
  positives_ += row.positives.size();
  put(Column::kRowKey, &row.row_key, 1);
  put(Column::kUser, &row.user, 1);
  put(Column::kTime, &row.time, 1);
  put(Column::kPositiveOffset, &positives_, 1);
  put(Column::kPositive, row.positives.data(), row.positives.size());
  put(Column::kCount, &row.count, 1);
  put(Column::kPositiveMin, &row.positive_min, 1);
  put(Column::kKappa, row.kappa, set_.schema().branches.size());
  put(Column::kCertified, &row.certified, 1);
  put(Column::kItem, row.item, k);
  put(Column::kScore, row.score, k);
  put(Column::kGap, row.gap, k);
  put(Column::kBranch, row.branch, k);
  put(Column::kRawRank, row.raw_rank, k);
  put(Column::kSurvivorRank, row.survivor_rank, k);
  put(Column::kQuantile, row.quantile, k);
  put(Column::kStratum, row.stratum, k);
  put(Column::kLogq, row.logq, k);
  put(Column::kFill, row.fill, k);
  ++rows_;
}

std::string NpyExport::finish(Json meta) {
  Json files = Json::object();
  for (std::size_t c = 0; c < kNumColumns; ++c) {
    const auto column = static_cast<Column>(c);
    columns_[c].finish(column_length(column, rows_, positives_));
    files[column_type(column).name] = {{"bytes", columns_[c].file_bytes()},
                                       {"xxh3_128", columns_[c].digest().hex()}};
  }
  meta["branches"] = set_.schema().branches;
  meta["strata"] = set_.schema().strata;
  meta["columns"] = std::move(files);
  std::string text = meta.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  write_new_file(aside_ + "/meta.json", text);
  sync_folder(aside_);
  move_into_place();
  return text;
}

std::string NpyExport::beside(const char* what) const {
  return (target_.parent_path() /
          fmt::format(".{}.{}-{}", target_.filename().string(), what, ::getpid()))
      .string();
}

void NpyExport::move_into_place() {
  check_export_target(target_.string(), overwrite_, true);
  std::error_code error;
  const std::string old = beside("old");
  const bool replaces = fs::exists(target_, error);
  if (replaces) rename_path(target_.string(), old);
  try {
    rename_path(aside_, target_.string());
  } catch (const IoError&) {
    if (replaces) rename_path(old, target_.string());  // the earlier export stays
    throw;
  }
  aside_.clear();
  sync_folder(target_.parent_path().string());
  if (replaces) remove_folder(old);
}

}  // namespace quarry
