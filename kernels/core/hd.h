// Marks for code that runs on the host and on a CUDA device.
#pragma once

#if defined(__CUDACC__)
#define QUARRY_HD __host__ __device__ inline
#else
#define QUARRY_HD inline
#endif
