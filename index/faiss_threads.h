// The number of threads FAISS may use while an object lives. Private: includes OpenMP, which FAISS
// brings.
#pragma once

#include <omp.h>

namespace quarry {

/// FAISS takes its threads from OpenMP's setting of the calling thread, which by default is every
/// core.
class OmpThreads {
 public:
  explicit OmpThreads(int threads) : saved_(omp_get_max_threads()) {
    omp_set_num_threads(threads < 1 ? 1 : threads);
  }
  ~OmpThreads() { omp_set_num_threads(saved_); }
  OmpThreads(const OmpThreads&) = delete;
  OmpThreads& operator=(const OmpThreads&) = delete;

 private:
  int saved_;
};

}  // namespace quarry
