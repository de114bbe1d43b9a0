// Every change that the store makes on disk, step by step. A step passes an observer first and
// after it is done, so that tests can end the process there, make it fail, or record it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace quarry {

/// A file descriptor that closes itself.
class FileHandle {
 public:
  FileHandle() = default;
  explicit FileHandle(int fd) : fd_(fd) {}
  ~FileHandle();
  FileHandle(FileHandle&& other) noexcept : fd_(other.release()) {}
  FileHandle& operator=(FileHandle&& other) noexcept;
  FileHandle(const FileHandle&) = delete;
  FileHandle& operator=(const FileHandle&) = delete;
  int get() const { return fd_; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_ = -1;
};

enum class FileAct : std::uint8_t {
  kCreate,      ///< a new file
  kWrite,       ///< `bytes` of `data` at `offset`
  kTruncate,    ///< to `offset` bytes
  kSync,        ///< what was written to a file, and its length
  kMakeFolder,  ///< a new folder
  kRename,      ///< `path` to `other`, which it replaces
  kLink,        ///< `other` as a second name of `path`
  kRemove,      ///< a file or an empty folder
  kSyncFolder,  ///< the names in a folder
};
struct FileStep {
  FileAct act;
  const std::string& path;
  const std::string& other;
  const void* data = nullptr;
  std::size_t bytes = 0;
  std::uint64_t offset = 0;
};
class FileObserver {
 public:
  virtual ~FileObserver() = default;
  /// May throw IoError instead of the step.
  virtual void before(const FileStep&) {}
  virtual void after(const FileStep&) {}
};
/// Of the whole process, until another is named; null: none. Not while another thread writes.
void observe_files(FileObserver* observer);

// Each throws IoError with path and reason. Files are made with mode 0600, folders with 0700: a set
// tells what persons did.

/// For writing; the file must not exist.
FileHandle create_file(const std::string& path);
/// For writing and reading; makes the file where there is none.
FileHandle open_file(const std::string& path);
void write_to(const FileHandle& file, const std::string& path, const void* data, std::size_t bytes,
              std::uint64_t offset);
void truncate_file(const FileHandle& file, const std::string& path, std::uint64_t bytes);
/// Never tried again where it fails: the kernel may have dropped the pages and would then succeed.
void sync_file(const FileHandle& file, const std::string& path);
/// The last chance of a file system to report a lost write.
void close_file(FileHandle& file, const std::string& path);
/// False: it was there already.
bool make_folder(const std::string& path);
void rename_path(const std::string& from, const std::string& to);
/// False: there is something of that name already.
bool link_file(const std::string& from, const std::string& to);
void remove_path(const std::string& path);
/// Files and folders in a folder, then itself; nothing where it is missing.
void remove_folder(const std::string& path);
/// Makes a folder's entries durable.
void sync_folder(const std::string& path);

/// Writes all of `text` to a new file and syncs it.
void write_new_file(const std::string& path, const std::string& text);
/// A regular file of at most `most` bytes, whole. Throws InputError where it is larger or no
/// regular file, IoError where it cannot be read.
std::string read_text(const std::string& path, std::uint64_t most);

/// "path: what: reason of errno".
std::string io_message(const std::string& path, const std::string& what);

}  // namespace quarry
