// QUARRY_CUDA: every call of the CUDA runtime is checked. Needs no CUDA header, so it compiles in
// every build.
#pragma once

namespace quarry {

/// Throws for a code other than success (0): OutOfMemory for an exhausted device, else DeviceError
/// with the runtime's name of the error, the call and its place. Clears the runtime's sticky-error
/// slot.
void require_cuda(int code, const char* call, const char* file, int line);

}  // namespace quarry

/// `QUARRY_CUDA(cudaMemcpyAsync(...))`; also after each launch: `QUARRY_CUDA(cudaGetLastError())`.
#define QUARRY_CUDA(call) ::quarry::require_cuda(static_cast<int>(call), #call, __FILE__, __LINE__)
