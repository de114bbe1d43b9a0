// A file for results that is either the whole new one or what was there before.
#pragma once

#include <string>

namespace quarry {

/// Throws IoError where `path` would lie in the folder of a store, in which nothing else belongs.
void check_not_in_store(const std::string& path, const std::string& flag);

/// Made aside before anything is measured, so that minutes of work do not end at a folder that does
/// not exist, and renamed into place when it is written; removed if it never is. Devices and pipes
/// are written to as they are.
class OutputFile {
 public:
  /// "": no file. `flag` goes into errors. Throws IoError, also where it would lie in a store.
  OutputFile(const std::string& path, std::string flag);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// The whole text, once. Throws IoError; what was there before is then unharmed.
  void write(const std::string& text);

 private:
  [[noreturn]] void fail(int error) const;

  std::string path_, flag_;
  std::string aside_;  ///< "": not made, or renamed
  int file_ = -1;
};

}  // namespace quarry
