// A text per user or item, joined by id from a column of a table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/data/tables.h"

namespace quarry {

class JoinedTexts {
 public:
  /// `from`: FILE:column. Ids stand in `id_column`; those that `ids` does not know are passed over.
  /// Throws ConfigError without a column, InputError for a repeated id or an empty text.
  JoinedTexts(const std::string& from, const std::string& id_column, const IdMap& ids,
              const std::string& flag);
  bool has(std::uint32_t index) const { return index < texts_.size() && !texts_[index].empty(); }
  const std::string& of(std::uint32_t index) const { return texts_[index]; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::vector<std::string> texts_;  ///< empty: none
};

}  // namespace quarry
