// The number of BLAS threads of this process, set and put back.
#include "kernels/topk/blas_threads.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <mutex>
#include <string>

#include "kernels/core/errors.h"

// Weak: another BLAS than OpenBLAS does not have them.
extern "C" [[gnu::weak]] void openblas_set_num_threads(int threads);
extern "C" [[gnu::weak]] int openblas_get_num_threads(void);

namespace quarry {
namespace {

struct Setting {
  std::mutex mutex;
  int users = 0;
  int former = 0;
  int workers = 0;  ///< whose work areas are there, or were a moment before they were asked for
};
Setting& setting() {
  static Setting s;
  return s;
}
bool can_set() {
  return openblas_set_num_threads != nullptr && openblas_get_num_threads != nullptr;
}

/// What OpenBLAS maps for each thread that calls it (BUFFER_SIZE of its x86-64 builds, and more
/// than those of others).
constexpr std::size_t kWorkArea = std::size_t{128} << 20;

void require_work_areas(Setting& s, int workers) {
  rlimit limit{};
  if (workers <= s.workers || getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return;
  const std::size_t bytes = kWorkArea * static_cast<std::size_t>(workers - s.workers);
  void* const area = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) {
    throw OutOfMemory("the BLAS needs " + std::to_string(bytes >> 20) +
                      " MiB of address space for " + std::to_string(workers) +
                      " threads, which the limit of " + std::to_string(limit.rlim_cur >> 20) +
                      " MiB denies; raise it (ulimit -v) or take fewer threads");
  }
  munmap(area, bytes);
  s.workers = workers;
}

}  // namespace

int blas_threads() { return openblas_get_num_threads != nullptr ? openblas_get_num_threads() : 0; }

OneBlasThread::OneBlasThread(int workers) {
  if (!can_set()) return;
  Setting& s = setting();
  const std::lock_guard<std::mutex> lock(s.mutex);
  require_work_areas(s, std::max(workers, 1));
  if (s.users++ > 0) return;
  s.former = openblas_get_num_threads();
  if (s.former != 1) openblas_set_num_threads(1);
}

OneBlasThread::~OneBlasThread() {
  if (!can_set()) return;
  Setting& s = setting();
  const std::lock_guard<std::mutex> lock(s.mutex);
  if (--s.users == 0 && s.former != 1) openblas_set_num_threads(s.former);
}

}  // namespace quarry
