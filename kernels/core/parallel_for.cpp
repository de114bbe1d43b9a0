// The one CPU loop: OpenMP, or std::thread where a race detector must see every synchronisation.
#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

#include "kernels/core/exec.h"

#if defined(QUARRY_STD_THREADS)
#include <thread>
#include <vector>
#elif defined(_OPENMP)
#include <omp.h>
#endif

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace quarry {
namespace {

thread_local int current_worker = 0;

/// Clears flush-to-zero and denormals-are-zero for the life of the object: another library may have
/// set them.
class KeepDenormals {
 public:
  KeepDenormals() {
#if defined(__x86_64__)
    saved_ = _mm_getcsr();
    _mm_setcsr(saved_ & ~0x8040u);
#endif
  }
  ~KeepDenormals() {
#if defined(__x86_64__)
    _mm_setcsr(saved_);
#endif
  }
  KeepDenormals(const KeepDenormals&) = delete;
  KeepDenormals& operator=(const KeepDenormals&) = delete;

 private:
  unsigned saved_ = 0;
};

class Loop {
 public:
  Loop(std::uint64_t count, std::uint64_t grain, RangeBody body)
      : count_(count), grain_(std::max<std::uint64_t>(grain, 1)), body_(body) {}

  void work(int worker) {
    const int saved = current_worker;
    current_worker = worker;
    const KeepDenormals keep;
    while (!failed_.load(std::memory_order_relaxed)) {
      const std::uint64_t begin = next_.fetch_add(grain_, std::memory_order_relaxed);
      if (begin >= count_) break;
      try {
        body_(begin, std::min(begin + grain_, count_));
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!error_) error_ = std::current_exception();
        failed_ = true;
      }
    }
    current_worker = saved;
  }

  void finish() {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::uint64_t count_;
  std::uint64_t grain_;
  RangeBody body_;
  std::atomic<std::uint64_t> next_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::exception_ptr error_;
};

}  // namespace

int worker_index() { return current_worker; }

void parallel_ranges(const Exec& exec, std::uint64_t count, std::uint64_t grain, RangeBody body) {
  if (count == 0) return;
  Loop loop(count, grain, body);
  const int threads = static_cast<int>(std::min<std::uint64_t>(
      std::max(exec.threads, 1), (count + grain - 1) / std::max<std::uint64_t>(grain, 1)));
  if (threads <= 1) {
    loop.work(0);
  } else {
#if defined(QUARRY_STD_THREADS)
    std::vector<std::thread> workers;
    for (int t = 1; t < threads; ++t) workers.emplace_back([&loop, t] { loop.work(t); });
    loop.work(0);
    for (auto& worker : workers) worker.join();
#elif defined(_OPENMP)
#pragma omp parallel num_threads(threads)
    loop.work(omp_get_thread_num());
#else
    loop.work(0);
#endif
  }
  loop.finish();
}

}  // namespace quarry
