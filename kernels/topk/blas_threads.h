// The BLAS on one thread while an object lives.
#pragma once

namespace quarry {

/// A tile per worker scales, a tile over threads does not, so whoever calls the BLAS from workers
/// holds one of these. The setting is the process's: the first of those alive makes it 1, the last
/// puts the former value back. Nested and concurrent use is safe. Without effect on a BLAS other
/// than OpenBLAS. Who else sets the number meanwhile is overruled at the end.
///
/// OpenBLAS asks again and again, forever, for memory that a limit on the address space denies it:
/// where there is such a limit (ulimit -v), OutOfMemory is thrown if the work areas of `workers`
/// cannot be had.
class OneBlasThread {
 public:
  explicit OneBlasThread(int workers);
  ~OneBlasThread();
  OneBlasThread(const OneBlasThread&) = delete;
  OneBlasThread& operator=(const OneBlasThread&) = delete;
};

/// What the BLAS is set to now; 0 if it cannot tell.
int blas_threads();

}  // namespace quarry
