// Texts aside and into place.
#include "tools/quarry/new_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "host/store/files.h"
#include "host/store/set_lock.h"
#include "kernels/core/errors.h"

namespace quarry {

void check_new_file(const std::string& path, bool overwrite) {
  namespace fs = std::filesystem;
  const fs::path target = set_folder(path);
  const fs::path folder = target.parent_path();
  std::error_code error;
  if (!fs::is_directory(folder, error))
    throw IoError(fmt::format(
        "{}: is not a folder, so {} cannot be made in it; make it first or choose another --out",
        folder.string(), target.filename().string()));
  if (fs::exists(folder / "store.json", error))
    throw IoError(fmt::format("{}: is a store, in which nothing else belongs; choose another --out",
                              folder.string()));
  const fs::file_type type = fs::symlink_status(target, error).type();
  if (type == fs::file_type::not_found) return;
  if (!overwrite)
    throw IoError(fmt::format("{}: exists; choose another --out, or give --overwrite to replace it",
                              target.string()));
  if (type != fs::file_type::regular)
    throw IoError(fmt::format("{}: is no regular file, so it is not replaced; choose another --out",
                              target.string()));
}

void place_text_file(const std::string& path, const std::string& text, bool overwrite) {
  check_new_file(path, overwrite);
  const std::filesystem::path target = set_folder(path);
  const std::string folder = target.parent_path().string();
  const std::string aside =
      fmt::format("{}/.{}.partial-{}", folder, target.filename().string(), ::getpid());
  std::error_code ignored;
  std::filesystem::remove(aside, ignored);  // of a killed run whose process had this number
  try {
    write_new_file(aside, text);
    if (overwrite) {
      rename_path(aside, target.string());
    } else {
      // Never in the place of what appeared meanwhile.
      if (!link_file(aside, target.string()))
        throw IoError(target.string() + ": appeared meanwhile; choose another --out");
      remove_path(aside);
    }
  } catch (const IoError&) {
    std::filesystem::remove(aside, ignored);
    throw;
  }
  sync_folder(folder);
}

}  // namespace quarry
