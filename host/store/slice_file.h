// Lists that a search of a slice of the items left for rows, as one file that is there whole or not
// at all (host/store/FORMAT.md).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "host/data/input_file.h"
#include "host/mine/sliced_lists.h"
#include "index/item_slice.h"

namespace quarry {

/// Writes the file beside its place and puts it there by one rename. A writer that is destroyed
/// before commit() leaves nothing; one that is killed leaves `.<name>.partial-…`, which nobody
/// takes for a file and the next writer of the name on the machine removes. Holds 12 bytes per row
/// and 17 per list.
class SliceFileWriter {
 public:
  /// folder: must exist. Throws IoError.
  SliceFileWriter(const std::string& folder, const std::string& name);
  ~SliceFileWriter();
  SliceFileWriter(const SliceFileWriter&) = delete;
  SliceFileWriter& operator=(const SliceFileWriter&) = delete;
  /// row_key: [lists.num_rows].
  void append(const FoundLists& lists, const std::uint64_t* row_key);
  /// about: JSON of what it is, for the reader. Replaces a file that is there: lists of other
  /// lengths are as good.
  void commit(const std::string& about);
  std::uint64_t entries() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A committed file, mapped, its bytes compared with its hash.
class SliceFile {
 public:
  /// slice: what its items are of. Throws IoError where there is none, InputError, naming the file,
  /// where it is damaged.
  SliceFile(const std::string& path, ItemSlice slice);
  /// Valid as long as this lives.
  const SliceLists& lists() const { return lists_; }
  const std::string& about() const { return about_; }
  std::uint64_t entries() const { return entries_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  SliceLists lists_;
  std::string about_;
  std::uint64_t entries_ = 0;
};

}  // namespace quarry
