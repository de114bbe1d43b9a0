// A text file for review that appears whole or not at all, and takes nothing's place unasked.
#pragma once

#include <string>

namespace quarry {

/// Throws IoError, with what to try, where place_text_file() could not put a file: its folder is
/// missing or a store, something lies there and is not to be replaced, or is no
/// regular file.
void check_new_file(const std::string& path, bool overwrite);

/// Writes the text aside with mode 0600, syncs it and puts it in its place. Throws IoError.
void place_text_file(const std::string& path, const std::string& text, bool overwrite);

}  // namespace quarry
