// Small text files that people write: recipes and configs.
#pragma once

#include <cstddef>
#include <string>

namespace quarry {

/// The whole text of a regular file of at most `most` bytes. `what` names its kind in messages
/// ("recipe"). Never waits: a folder, pipe or device is refused before anything is read. Throws
/// IoError, and ConfigError if the file is too large.
std::string read_text_file(const std::string& path, const std::string& what, std::size_t most);

}  // namespace quarry
