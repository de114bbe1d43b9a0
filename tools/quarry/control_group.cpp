// Limits of control groups.
#include "tools/quarry/control_group.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace quarry {
namespace {

namespace fs = std::filesystem;

/// Where there is none, version 1 writes a number near 2^63 and version 2 "max".
constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 60;

/// What a file says, at most `so_far`.
std::uint64_t limit_in(const fs::path& file, std::uint64_t so_far) {
  std::ifstream in(file);
  std::uint64_t bytes = 0;
  return in >> bytes && bytes > 0 ? std::min(bytes, so_far) : so_far;
}

}  // namespace

std::uint64_t control_group_limit(const std::string& cgroups, const std::string& root) {
  std::uint64_t least = kNoLimit;
  std::ifstream in(cgroups);
  for (std::string line; std::getline(in, line);) {  // number:controllers:path
    const std::size_t first = line.find(':');
    const std::size_t second =
        first == std::string::npos ? std::string::npos : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool unified = controllers == ",,";
    if (!unified && controllers.find(",memory,") == std::string::npos) continue;
    const fs::path top = unified ? fs::path(root) : fs::path(root) / "memory";
    const char* const name = unified ? "memory.max" : "memory.limit_in_bytes";
    // In a container the path may be one that is not to be seen there; its own group is the top.
    for (fs::path group = fs::path(line.substr(second + 1)).relative_path(); !group.empty();
         group = group.parent_path())
      least = limit_in(top / group / name, least);
    least = limit_in(top / name, least);
  }
  return least < kNoLimit ? least : 0;
}

}  // namespace quarry
