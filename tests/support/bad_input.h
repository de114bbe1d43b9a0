// Tables of malformed inputs: each must be refused with its stated exit code and a text that names
// the file, the place and a remedy, by the reader alone and by `quarry mine` as a process.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "kernels/core/errors.h"
#include "tests/support/files.h"

namespace quarry::testing {

/// What stands at the path.
enum class Place : std::uint8_t {
  kFile,
  kDirectory,
  kNothing,     ///< no such file
  kLinkLoop,    ///< a symbolic link to itself
  kBrokenLink,  ///< a symbolic link to nothing
  kBelowFile,   ///< the folder of the path is a file
  kLongName,    ///< longer than the file system allows
  kUnreadable,  ///< without permission to read; left out for root, who may read everything
  kPipe,        ///< a named pipe that nobody writes to
};

using Flags = std::map<std::string, std::string>;

struct BadInputCase {
  std::string name;  ///< what is wrong
  std::string file;  ///< with the extension that picks the reader
  std::string content;
  /// Besides the path: place, value, remedy. ":7" is line 7 of the file.
  std::vector<std::string> needles;
  int code = 3;      ///< exit code of the program
  Flags flags = {};  ///< of the program besides the reader's own
  Place place = Place::kFile;
};

/// A reader, as a function and as a flag of the program.
struct BadInputSuite {
  std::string name;
  std::string flag;    ///< "--events"
  std::string before;  ///< of the path in the flag's value: "teacher="
  std::string behind;  ///< ":item"
  /// Contents that must be accepted, so that the cases are refused for what is wrong with them.
  std::vector<std::pair<std::string, std::string>> good;
  std::function<void(const std::string& path, const Flags& flags)> read;
};

/// Runs every case both ways, prints their number, and fails if there are less than `at_least` or
/// if two are the same.
void expect_refused(const BadInputSuite& suite, const std::vector<BadInputCase>& cases,
                    std::size_t at_least = 60);

std::string repeated(const std::string& text, int times);

/// A table to be damaged: names of the columns and fields of two valid rows.
struct SmallTable {
  std::string stem;  ///< "events"
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;

  /// With one field of one row replaced. Fields are written as they are.
  std::string with(std::size_t row, const std::string& column, const std::string& field) const;
  std::string text(char separator = ',', const std::string& line_end = "\n") const;
  std::string header(char separator = ',') const;
};

/// What can be wrong with any CSV or TSV file.
std::vector<BadInputCase> container_cases(const SmallTable& table);
/// Ids that name no embedding, in one column of the second row.
std::vector<BadInputCase> id_cases(const SmallTable& table, const std::string& column,
                                   const std::string& what);
/// Texts that are no time, or one out of range.
std::vector<BadInputCase> time_cases(const SmallTable& table, const std::string& column);
/// Texts that are no finite number.
std::vector<BadInputCase> number_cases(const SmallTable& table, const std::string& column);
/// A column that is not there, but others with names like it.
std::vector<BadInputCase> column_cases(const SmallTable& table, const std::string& column,
                                       const std::string& remedy);
/// A good table whose `key` is mapped to a column that is not there.
BadInputCase mapped_case(const SmallTable& table, const std::string& key, const std::string& flag);
/// The column that a reader should be told of: from a flag "key=COLUMN", if it names this key.
std::string mapped(const Flags& flags, const std::string& flag, const std::string& key);

template <class T>
std::vector<T>& operator+=(std::vector<T>& all, const std::vector<T>& more) {
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace quarry::testing
