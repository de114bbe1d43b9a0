// What the control groups of this process let it have of memory.
#pragma once

#include <cstdint>
#include <string>

namespace quarry {

/// Bytes that the processes of this one's control groups may have together: the least that any
/// group above it says, of either version; 0: there is no limit, or none that can be seen. cgroups:
/// in which groups it is; root: where their hierarchies lie.
std::uint64_t control_group_limit(const std::string& cgroups = "/proc/self/cgroup",
                                  const std::string& root = "/sys/fs/cgroup");

}  // namespace quarry
