// One writer per set: a lock beside the folder, held from before the inputs are read until the set
// is in place.
#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

namespace quarry {

/// Another process writes this set now. Exit code 4.
struct SetLocked : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The absolute name of a set's folder, without a trailing slash. Throws IoError if `path` names
/// none.
std::filesystem::path set_folder(const std::string& path);

/// Holds `.<name>.lock` beside the set. The kernel drops the lock of a process that was killed, so
/// a file that is left behind locks nobody out.
class SetLock {
 public:
  /// Throws SetLocked if another process holds it, IoError if the file cannot be made.
  explicit SetLock(const std::string& path);
  ~SetLock();
  SetLock(const SetLock&) = delete;
  SetLock& operator=(const SetLock&) = delete;

  /// Folders `.<name>.partial-*` that killed runs left: nobody else writes this set now.
  std::vector<std::string> leftovers() const;

 private:
  std::filesystem::path target_;
  std::string file_;
  int descriptor_ = -1;
};

}  // namespace quarry
