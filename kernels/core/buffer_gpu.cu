// Device memory and stream-ordered copies.
#include <string>

#include "kernels/core/buffer.h"
#include "kernels/core/device.h"
#include "kernels/core/launch.cuh"

namespace quarry {
namespace {

[[noreturn]] void out_of_memory(std::size_t wanted) {
  static_cast<void>(cudaGetLastError());  // a refused allocation leaves the device usable
  std::size_t free = 0;
  std::size_t total = 0;
  const bool known = cudaMemGetInfo(&free, &total) == cudaSuccess;
  throw OutOfMemory(
      "no device memory for " + std::to_string(wanted) + " bytes" +
      (known ? " (" + std::to_string(free) + " of " + std::to_string(total) + " are free)" : "") +
      "; try a smaller --tile");
}

void* allocate_unpooled(void*, std::size_t bytes, const Exec&) {
  void* pointer = nullptr;
  const cudaError_t error = cudaMalloc(&pointer, bytes);
  if (error == cudaErrorMemoryAllocation) return nullptr;
  QUARRY_CUDA(error);
  return pointer;
}

void release_unpooled(void*, void* pointer, std::size_t, const Exec&) noexcept {
  static_cast<void>(
      cudaFree(pointer));  // waits for the device; a fault shows at the next checked call
}

}  // namespace

void require_cuda(int code, const char* call, const char* file, int line) {
  if (code == cudaSuccess) return;
  const auto error = static_cast<cudaError_t>(code);
  static_cast<void>(cudaGetLastError());
  const std::string text = std::string(cudaGetErrorName(error)) + " (" + cudaGetErrorString(error) +
                           ") from " + call + " at " + file + ":" + std::to_string(line);
  if (error == cudaErrorMemoryAllocation)
    throw OutOfMemory("the device ran out of memory: " + text);
  throw DeviceError("CUDA: " + text +
                    "; the device may be unusable for this process. Try --device cpu");
}

const Allocator* unpooled_device_memory() {
  static const Allocator allocator{allocate_unpooled, release_unpooled, nullptr};
  return &allocator;
}

template <>
void* allocate_bytes<DeviceSpace>(const Exec& exec, std::size_t bytes) {
  if (bytes == 0) return nullptr;
  const DeviceScope scope(exec);
  void* pointer = nullptr;
  if (exec.allocator != nullptr) {
    pointer = exec.allocator->allocate(exec.allocator->self, bytes, exec);
  } else {
    const cudaError_t error = cudaMallocAsync(&pointer, bytes, exec.stream);
    if (error != cudaErrorMemoryAllocation) QUARRY_CUDA(error);
  }
  if (pointer == nullptr) out_of_memory(bytes);
  return pointer;
}

template <>
void release_bytes<DeviceSpace>(const Exec& exec, void* pointer, std::size_t bytes) noexcept {
  if (pointer == nullptr) return;
  try {
    const DeviceScope scope(exec);
    if (exec.allocator != nullptr) {
      exec.allocator->release(exec.allocator->self, pointer, bytes, exec);
    } else {
      static_cast<void>(cudaFreeAsync(pointer, exec.stream));
    }
  } catch (...) {  // the device is gone, and its memory with it
  }
}

void copy_to_device(const Exec& exec, void* device, const void* host, std::size_t bytes) {
  if (bytes == 0) return;
  const DeviceScope scope(exec);
  QUARRY_CUDA(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, exec.stream));
}

void copy_to_host(const Exec& exec, void* host, const void* device, std::size_t bytes) {
  if (bytes == 0) return;
  const DeviceScope scope(exec);
  QUARRY_CUDA(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, exec.stream));
}

void fill_device(const Exec& exec, void* device, int byte, std::size_t bytes) {
  if (bytes == 0) return;
  const DeviceScope scope(exec);
  QUARRY_CUDA(cudaMemsetAsync(device, byte, bytes, exec.stream));
}

void synchronize(const Exec& exec) {
  if (exec.device == Device::kCpu) return;
  const DeviceScope scope(exec);
  QUARRY_CUDA(cudaStreamSynchronize(exec.stream));
}

}  // namespace quarry
