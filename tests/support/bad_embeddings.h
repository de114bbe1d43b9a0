// What tests of malformed embedding files share: how a table is read and judged, and paths that are
// wrong whatever the format.
#pragma once

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "host/data/embeddings.h"
#include "kernels/core/errors.h"
#include "tests/support/bad_input.h"
#include "tests/support/files.h"

namespace quarry::testing {

inline const std::string kFour(16, '\0');  // the payload of a 2 x 2 fp32 table
inline const std::string kSix(24, '\0');   // of a 3 x 2 one
inline constexpr float nan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float inf = std::numeric_limits<float>::infinity();

/// A reader of tables that also judges the rows by the metric of the flags.
inline BadInputSuite table_suite(const std::string& name,
                                 std::vector<std::pair<std::string, std::string>> good) {
  BadInputSuite suite{name, "--items", "", "", std::move(good), {}};
  suite.read = [](const std::string& path, const Flags& flags) {
    const auto tensor = flags.find("--items-tensor");
    const Embeddings table = Embeddings::open(path, tensor == flags.end() ? "" : tensor->second);
    const auto set = flags.find("--set");
    const Metric metric = set == flags.end()           ? Metric::kInnerProduct
                          : set->second == "metric=l2" ? Metric::kL2
                                                       : Metric::kCosine;
    check_rows(table.view(), metric, BadRows::kReject, path);
  };
  return suite;
}

/// What is wrong with the path, not the content.
inline std::vector<BadInputCase> place_cases(const std::string& file, const std::string& good) {
  return {
      {"directory", file, "", {"Is a directory", "check the path"}, 5, {}, Place::kDirectory},
      {"missing", file, "", {"No such file", "check the path"}, 5, {}, Place::kNothing},
      {"link to itself", file, "", {"symbolic links", "check the path"}, 5, {}, Place::kLinkLoop},
      {"link to nothing", file, "", {"No such file", "check the path"}, 5, {}, Place::kBrokenLink},
      {"file as a folder", file, "", {"Not a directory", "check"}, 5, {}, Place::kBelowFile},
      {"long name", file, "", {"File name too long", "check the path"}, 5, {}, Place::kLongName},
      {"no permission",
       file,
       good,
       {"Permission denied", "permissions"},
       5,
       {},
       Place::kUnreadable},
      {"pipe", file, "", {"not a regular file", "save it to disk"}, 5, {}, Place::kPipe},
      {"empty", file, "", {"is empty (0 bytes)", "Write it again"}},
      {"another extension", file + ".bak", good, {"'.bak'", ".npy, .fbin and .safetensors"}},
  };
}

}  // namespace quarry::testing
