// Exports aside and into place.
#include "tools/quarry/export_file.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "host/store/set_lock.h"
#include "kernels/core/errors.h"
#include "tools/quarry/output_file.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBuffer = std::size_t{1} << 20;

std::string beside(const std::string& path, const std::string& ending) {
  const fs::path target(path);
  return (target.parent_path() / ("." + target.filename().string() + ending)).string();
}

/// Unless it is to be replaced, never in the place of what appeared meanwhile. What stands beside
/// it goes again where the file does not get there; "": nothing does.
void put_in_place(const std::string& aside, const std::string& path, bool overwrite,
                  const std::string& beside_it) {
  if (overwrite) {
    rename_path(aside, path);
  } else {
    try {
      if (!link_file(aside, path))
        throw IoError(path + ": appeared meanwhile; choose another --out");
    } catch (const IoError&) {
      std::error_code ignored;
      if (!beside_it.empty()) fs::remove(beside_it, ignored);
      throw;
    }
    remove_path(aside);
  }
  sync_folder(fs::path(path).parent_path().string());
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
  check_not_in_store(target.string(), "--out");
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

void check_no_input(const std::string& path, const std::vector<std::string>& inputs,
                    const std::string& flag) {
  if (path.empty()) return;
  for (const std::string& out : {path, sidecar_of(path)}) {
    struct stat mine = {};
    if (::stat(out.c_str(), &mine) != 0) continue;
    for (const std::string& input : inputs) {
      struct stat other = {};
      if (input.empty() || ::stat(input.c_str(), &other) != 0 || other.st_dev != mine.st_dev ||
          other.st_ino != mine.st_ino)
        continue;
      throw ConfigError(
          fmt::format("{} {}: {} is {}, which is read here, or was for the set, "
                      "and would be lost; choose another {}",
                      flag, path, out == path ? "the file" : out,
                      input == out ? "an input" : input + ", an input", flag));
    }
  }
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
  put_in_place(aside_, path_, overwrite_, sidecar_of(path_));
  aside_.clear();
}

void place_text(const std::string& path, const std::string& text, bool overwrite) {
  check_export_target(path, overwrite, false);
  const std::string target = set_folder(path).string();
  const std::string aside = beside(target, fmt::format(".partial-{}", ::getpid()));
  std::error_code ignored;
  fs::remove(aside, ignored);  // of a killed run whose process had this number
  try {
    write_new_file(aside, text);
    put_in_place(aside, target, overwrite, "");
  } catch (const IoError&) {
    fs::remove(aside, ignored);
    throw;
  }
}

}  // namespace quarry
