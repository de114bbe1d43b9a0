// Tables of malformed inputs: each line must give an InputError whose text names the file, the
// place and a remedy.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/core/errors.h"
#include "tests/support/files.h"

namespace quarry::testing {

inline std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

struct BadInputCase {
  std::string name;  ///< what is wrong
  std::string file;  ///< with the extension that picks the reader
  std::string content;
  std::vector<std::string> needles;  ///< besides the path: place, value, remedy
};

inline void expect_refused(const std::vector<BadInputCase>& cases,
                           const std::function<void(const std::string&)>& read) {
  const TempDir dir;
  for (const BadInputCase& c : cases) {
    SCOPED_TRACE(c.name);
    const std::string path = dir.write(c.file, c.content);
    std::vector<std::string> needles = c.needles;
    needles.push_back(path);
    expect_error<InputError>([&] { read(path); }, needles);
  }
}

}  // namespace quarry::testing
