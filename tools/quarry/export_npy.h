// A set as a folder of NumPy arrays that is whole or not there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "host/store/column_file.h"
#include "host/store/negative_set.h"

namespace quarry {

/// The columns of a set, shards joined, in a folder aside; removed unless it is put into place.
class NpyExport {
 public:
  /// out: the folder, as of check_export_target. Throws as that does, IoError.
  NpyExport(const NegativeSet& set, const std::string& out, bool overwrite);
  ~NpyExport();
  NpyExport(const NpyExport&) = delete;
  NpyExport& operator=(const NpyExport&) = delete;

  /// The next row of the set.
  void add(const NegativeSet::Row& row);
  /// Puts the folder into place, with meta.json, whose text it returns: what `meta`, a JSON
  /// object, says and the files. Throws IoError; what was there before stays then.
  std::string finish(nlohmann::ordered_json meta);

 private:
  template <class T>
  void put(Column column, const T* data, std::size_t count) {
    columns_[static_cast<std::size_t>(column)].append(data, count * sizeof(T));
  }
  std::string beside(const char* what) const;
  void move_into_place();

  NegativeSet set_;
  std::filesystem::path target_;
  bool overwrite_;
  std::string aside_;
  std::vector<ColumnWriter> columns_;
  std::uint64_t positives_ = 0, rows_ = 0;
};

}  // namespace quarry
