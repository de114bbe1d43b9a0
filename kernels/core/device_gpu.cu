// CUDA devices, and the stream and cuBLAS handle of an Exec.
#include <cublas_v2.h>

#include <utility>

#include "kernels/core/device.h"
#include "kernels/core/errors.h"
#include "kernels/core/launch.cuh"

namespace quarry {
namespace {

/// What cuBLAS recommends for Hopper; enough for every architecture.
constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;

void require_blas(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const std::string text =
      std::string("cuBLAS: ") + what + " failed with " + cublasGetStatusString(status);
  if (status == CUBLAS_STATUS_ALLOC_FAILED)
    throw OutOfMemory(text + "; free device memory and try again");
  throw DeviceError(text + "; try --device cpu");
}

}  // namespace

int cuda_device_count(std::string* why) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return count;
  static_cast<void>(cudaGetLastError());
  if (why != nullptr) {
    *why = error == cudaSuccess
               ? "the driver lists no device"
               : std::string(cudaGetErrorString(error)) + " (" + cudaGetErrorName(error) + ")";
  }
  return 0;
}

DeviceInfo cuda_device_info(int ordinal) {
  Exec exec;
  exec.cuda_device = ordinal;
  cudaDeviceProp properties;
  QUARRY_CUDA(cudaGetDeviceProperties(&properties, ordinal));
  const DeviceScope scope(exec);
  DeviceInfo info;
  info.name = properties.name;
  info.major = properties.major;
  info.minor = properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  std::size_t free = 0;
  std::size_t total = 0;
  QUARRY_CUDA(cudaMemGetInfo(&free, &total));
  info.free_bytes = free;
  info.total_bytes = total;
  QUARRY_CUDA(cudaDriverGetVersion(&info.driver_version));
  QUARRY_CUDA(cudaRuntimeGetVersion(&info.runtime_version));
  return info;
}

namespace {

/// Makes `waiting` wait for what `first` holds now. An event lives until its work is done, also
/// when it is destroyed at once.
void order(CUstream_st* first, CUstream_st* waiting) {
  cudaEvent_t event = nullptr;
  QUARRY_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  const cudaError_t recorded = cudaEventRecord(event, first);
  const cudaError_t waited =
      recorded == cudaSuccess ? cudaStreamWaitEvent(waiting, event, 0) : recorded;
  static_cast<void>(cudaEventDestroy(event));
  QUARRY_CUDA(waited);
}

}  // namespace

StreamOrder::StreamOrder(const Exec& exec, CUstream_st* caller) : exec_(exec), caller_(caller) {
  if (exec_.device != Device::kCuda || caller_ == exec_.stream) return;
  const DeviceScope scope(exec_);
  order(caller_, exec_.stream);
}

StreamOrder::~StreamOrder() {
  if (exec_.device != Device::kCuda || caller_ == exec_.stream) return;
  try {
    const DeviceScope scope(exec_);
    order(exec_.stream, caller_);
  } catch (...) {  // the device is lost: the caller's next checked call says so
  }
}

CudaExec::CudaExec(int ordinal, int threads, const Allocator* allocator) {
  exec_.device = Device::kCuda;
  exec_.threads = threads > 0 ? threads : 1;
  exec_.cuda_device = ordinal;
  exec_.allocator = allocator;
  try {
    const DeviceScope scope(exec_);
    QUARRY_CUDA(cudaStreamCreateWithFlags(&exec_.stream, cudaStreamNonBlocking));
    cublasHandle_t handle = nullptr;
    require_blas(cublasCreate(&handle), "creating a handle");
    exec_.blas = handle;
    require_blas(cublasSetStream(handle, exec_.stream), "binding the stream");
    QUARRY_CUDA(cudaMalloc(&workspace_, kWorkspaceBytes));
    // The stream first: setting it drops the workspace. A workspace of its own keeps the choice of
    // algorithm stable.
    require_blas(cublasSetWorkspace(handle, workspace_, kWorkspaceBytes), "setting the workspace");
    require_blas(cublasSetPointerMode(handle, CUBLAS_POINTER_MODE_HOST),
                 "setting the pointer mode");
    // No TF32, no emulation by half precision: the error bound of index/certificate.h is that of
    // fp32.
    require_blas(cublasSetMathMode(handle, CUBLAS_PEDANTIC_MATH), "setting the math mode");
  } catch (...) {
    release();
    throw;
  }
}

CudaExec::~CudaExec() { release(); }

CudaExec::CudaExec(CudaExec&& other) noexcept
    : exec_(std::exchange(other.exec_, Exec{})),
      workspace_(std::exchange(other.workspace_, nullptr)) {}

CudaExec& CudaExec::operator=(CudaExec&& other) noexcept {
  if (this != &other) {
    release();
    exec_ = std::exchange(other.exec_, Exec{});
    workspace_ = std::exchange(other.workspace_, nullptr);
  }
  return *this;
}

void CudaExec::release() noexcept {
  if (exec_.device != Device::kCuda) return;
  try {
    const DeviceScope scope(exec_);
    if (exec_.stream != nullptr) static_cast<void>(cudaStreamSynchronize(exec_.stream));
    if (exec_.blas != nullptr)
      static_cast<void>(cublasDestroy(static_cast<cublasHandle_t>(exec_.blas)));
    if (workspace_ != nullptr) static_cast<void>(cudaFree(workspace_));
    if (exec_.stream != nullptr) static_cast<void>(cudaStreamDestroy(exec_.stream));
  } catch (...) {  // the device is gone, and all of it with it
  }
  exec_ = Exec{};
  workspace_ = nullptr;
}

}  // namespace quarry
