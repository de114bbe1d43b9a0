// OpenBLAS by name, through the symbols that only it has, so that any BLAS can be linked.
#include "tools/quarry/blas.h"

#include <dlfcn.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

namespace quarry {
namespace {

constexpr const char* kCoreType = "OPENBLAS_CORETYPE";
constexpr const char* kFormerCore = "QUARRY_OPENBLAS_CORE_BEFORE";

std::string ask_openblas(const char* symbol) {
  using Describe = char* (*)();
  const auto describe = reinterpret_cast<Describe>(::dlsym(RTLD_DEFAULT, symbol));
  return describe != nullptr ? describe() : "";
}

}  // namespace

std::string blas_description() {
  const std::string words = ask_openblas("openblas_get_config");
  return words.empty() ? "a BLAS that does not say its name" : words;
}

std::string better_blas_core(const std::string& core, bool avx2_fma, bool avx512) {
  // Kernels from before AVX2. Where the processor has it, OpenBLAS did not know the processor
  // (driver/others/dynamic.c falls back to Prescott, Nehalem, Sandybridge or Barcelona).
  constexpr std::array kOld = {"Katmai",  "Coppermine", "Northwood", "Prescott",
                               "Banias",  "Atom",       "Core2",     "Penryn",
                               "Nehalem", "Dunnington", "Athlon",    "Opteron",
                               "Bobcat",  "Barcelona",  "Bulldozer", "Sandybridge"};
  if (!avx2_fma || std::find(kOld.begin(), kOld.end(), core) == kOld.end()) return "";
  return avx512 ? "SkylakeX" : "Haswell";
}

void restart_with_better_blas(char** argv) {
#if defined(__x86_64__) && defined(__linux__)
  if (std::getenv(kCoreType) != nullptr) return;
  __builtin_cpu_init();
  const bool avx2_fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  // Others have one set of kernels and do not read the variable.
  if (ask_openblas("openblas_get_config").find("DYNAMIC_ARCH") == std::string::npos) return;
  const std::string core = ask_openblas("openblas_get_corename");
  const std::string better = better_blas_core(core, avx2_fma, avx512);
  if (better.empty()) return;
  // By its path, so that the process keeps its name. A loader that was called to load this program
  // has no loader itself, and would be what is started again.
  std::array<char, 4096> path{};
  if (::getauxval(AT_BASE) == 0 || ::readlink("/proc/self/exe", path.data(), path.size() - 1) <= 0)
    return;
  ::setenv(kCoreType, better.c_str(), 1);
  ::setenv(kFormerCore, core.c_str(), 1);
  ::execv(path.data(), argv);
  // Nothing is lost where that is not allowed: slower kernels give the same results.
  ::unsetenv(kCoreType);
  ::unsetenv(kFormerCore);
#else
  static_cast<void>(argv);
#endif
}

std::string blas_core_before_restart() {
  const char* core = std::getenv(kFormerCore);
  return core != nullptr && std::getenv(kCoreType) != nullptr ? core : "";
}

}  // namespace quarry
