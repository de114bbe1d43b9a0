// Which kernels a program launched, and how often: evidence that a golden run used them.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace quarry::test {

/// Launches by kernel name without namespace, template arguments and parameters; those of libraries
/// (CUB, Thrust) by "library:" and the mangled name, each instantiation for itself. Kernels that
/// were linked in but not launched have 0. Only in programs linked with the wrappers of
/// launches_gpu.cu; cuBLAS is not seen.
std::map<std::string, std::uint64_t> kernel_launches();

}  // namespace quarry::test
