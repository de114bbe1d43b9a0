// Exports aside and into place.
#include "tools/quarry/export_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "host/store/set_lock.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBuffer = std::size_t{1} << 20;

std::string beside(const std::string& path, const std::string& ending) {
  const fs::path target(path);
  return (target.parent_path() / ("." + target.filename().string() + ending)).string();
}

}  // namespace

std::string sidecar_of(const std::string& path) { return path + ".meta.json"; }

void check_export_target(const std::string& path, bool overwrite, bool folder) {
  const fs::path target = set_folder(path);
  std::error_code error;
  if (!fs::is_directory(target.parent_path(), error))
    throw IoError(
        fmt::format("{}: is not a folder, so {} cannot be made in it; make it first or "
                    "choose another --out",
                    target.parent_path().string(), target.filename().string()));
  const std::string sidecar = sidecar_of(target.string());
  if (!folder && !overwrite && fs::exists(fs::symlink_status(sidecar, error)))
    throw IoError(fmt::format(
        "{}: exists, and would be replaced; choose another --out, or give --overwrite", sidecar));
  const fs::file_type type = fs::symlink_status(target, error).type();
  if (type == fs::file_type::not_found) return;
  if (!overwrite)
    throw IoError(fmt::format("{}: exists; choose another --out, or give --overwrite to replace it",
                              target.string()));
  const bool replaceable =
      folder ? type == fs::file_type::directory && fs::is_regular_file(target / "meta.json", error)
             : type == fs::file_type::regular;
  if (!replaceable)
    throw IoError(fmt::format(
        "{}: is {}, so it is not replaced; choose another --out", target.string(),
        folder ? "no folder of an earlier export (it has no meta.json)" : "no regular file"));
}

ExportFile::ExportFile(const std::string& path, bool overwrite) : overwrite_(overwrite) {
  check_export_target(path, overwrite, false);
  path_ = set_folder(path).string();
  aside_ = beside(path_, fmt::format(".partial-{}", ::getpid()));
  std::error_code ignored;
  fs::remove(aside_, ignored);  // of a killed run whose process had this number
  file_ = create_file(aside_);
}

ExportFile::~ExportFile() {
  if (aside_.empty()) return;
  std::error_code ignored;  // a destructor reports nothing
  fs::remove(aside_, ignored);
}

void ExportFile::write(std::string_view text) {
  buffer_.append(text);
  if (buffer_.size() >= kBuffer) flush();
}

void ExportFile::flush() {
  if (buffer_.empty()) return;
  digest_.update(buffer_.data(), buffer_.size());
  write_to(file_, aside_, buffer_.data(), buffer_.size(), written_);
  written_ += buffer_.size();
  buffer_.clear();
}

void ExportFile::close() {
  flush();
  sync_file(file_, aside_);
  close_file(file_, aside_);
}

/// Never in the place of what appeared meanwhile; the sidecar goes again where that is so.
void ExportFile::place_new() {
  try {
    if (!link_file(aside_, path_))
      throw IoError(path_ + ": appeared meanwhile; choose another --out");
  } catch (const IoError&) {
    std::error_code ignored;
    fs::remove(sidecar_of(path_), ignored);
    throw;
  }
  remove_path(aside_);
}

void ExportFile::publish(const std::string& sidecar) {
  const std::string draft = beside(path_, fmt::format(".meta-{}", ::getpid()));
  remove_path(draft);
  try {
    write_new_file(draft, sidecar);
    rename_path(draft, sidecar_of(path_));
  } catch (const IoError&) {
    std::error_code ignored;
    fs::remove(draft, ignored);
    throw;
  }
  if (overwrite_) {
    rename_path(aside_, path_);
  } else {
    place_new();
  }
  aside_.clear();
  sync_folder(fs::path(path_).parent_path().string());
}

}  // namespace quarry
