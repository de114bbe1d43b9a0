// The number of BLAS threads of this process, set and put back.
#include "kernels/topk/blas_threads.h"

#include <mutex>

// Weak: another BLAS than OpenBLAS does not have them.
extern "C" [[gnu::weak]] void openblas_set_num_threads(int threads);
extern "C" [[gnu::weak]] int openblas_get_num_threads(void);

namespace quarry {
namespace {

struct Setting {
  std::mutex mutex;
  int users = 0;
  int former = 0;
};
Setting& setting() {
  static Setting s;
  return s;
}
bool can_set() {
  return openblas_set_num_threads != nullptr && openblas_get_num_threads != nullptr;
}

}  // namespace

int blas_threads() { return openblas_get_num_threads != nullptr ? openblas_get_num_threads() : 0; }

OneBlasThread::OneBlasThread() {
  if (!can_set()) return;
  Setting& s = setting();
  const std::lock_guard<std::mutex> lock(s.mutex);
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
