// Counts kernel launches. The linker (--wrap, cmake/QuarryTests.cmake) sends what nvcc's stubs call
// through here: each kernel registers its name before main, asks for a handle once, and launches.
#include <cuda_runtime.h>
#include <cxxabi.h>

#include <cstdlib>
#include <mutex>

#include "tests/support/launches.h"

extern "C" {
void __real___cudaRegisterFunction(void** binary, const char* host, char* device, const char* name,
                                   int limit, uint3* thread, uint3* block, dim3* block_size,
                                   dim3* grid_size, int* warp_size);
cudaError_t __real_cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block, void** arguments,
                                    size_t shared, cudaStream_t stream);
cudaError_t __real_cudaLaunchKernelExC(const cudaLaunchConfig_t* configuration, const void* kernel,
                                       void** arguments);
#if CUDART_VERSION >= 13000
cudaError_t __real___cudaGetKernel(cudaKernel_t* handle, const void* kernel);
cudaError_t __real___cudaLaunchKernel(cudaKernel_t handle, dim3 grid, dim3 block, void** arguments,
                                      size_t shared, cudaStream_t stream);
#endif
}

namespace quarry::test {
namespace {

struct Book {
  std::mutex mutex;
  std::map<const void*, std::string> name_of;  ///< by the host's address of a kernel, or a handle
  std::map<std::string, std::uint64_t> launches;
};
/// Made on first use: kernels register before main, in any order.
Book& book() {
  static Book* const all = new Book;
  return *all;
}

std::string short_name(const char* mangled) {
  int status = -1;
  char* text = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name = status == 0 ? text : mangled;
  std::free(text);
  if (name.find("quarry::") == std::string::npos || name.find("cub::") < name.find("quarry::") ||
      name.find("thrust::") < name.find("quarry::")) {
    return std::string("library:") + mangled;
  }
  name = name.substr(0, name.find_first_of("<("));
  const std::size_t scope = name.rfind("::");
  return scope == std::string::npos ? name : name.substr(scope + 2);
}

void note(const void* kernel, const char* mangled) {
  Book& b = book();
  const std::lock_guard<std::mutex> lock(b.mutex);
  const std::string name = short_name(mangled);
  b.name_of[kernel] = name;
  b.launches[name] += 0;
}

void alias(const void* handle, const void* kernel) {
  Book& b = book();
  const std::lock_guard<std::mutex> lock(b.mutex);
  b.name_of[handle] = b.name_of[kernel];
}

void count(const void* kernel) {
  Book& b = book();
  const std::lock_guard<std::mutex> lock(b.mutex);
  const auto at = b.name_of.find(kernel);
  b.launches[at == b.name_of.end() ? "unknown" : at->second] += 1;
}

}  // namespace

std::map<std::string, std::uint64_t> kernel_launches() {
  Book& b = book();
  const std::lock_guard<std::mutex> lock(b.mutex);
  return b.launches;
}

}  // namespace quarry::test

extern "C" {
void __wrap___cudaRegisterFunction(void** binary, const char* host, char* device, const char* name,
                                   int limit, uint3* thread, uint3* block, dim3* block_size,
                                   dim3* grid_size, int* warp_size) {
  quarry::test::note(host, name);
  __real___cudaRegisterFunction(binary, host, device, name, limit, thread, block, block_size,
                                grid_size, warp_size);
}
cudaError_t __wrap_cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block, void** arguments,
                                    size_t shared, cudaStream_t stream) {
  quarry::test::count(kernel);
  return __real_cudaLaunchKernel(kernel, grid, block, arguments, shared, stream);
}
cudaError_t __wrap_cudaLaunchKernelExC(const cudaLaunchConfig_t* configuration, const void* kernel,
                                       void** arguments) {
  quarry::test::count(kernel);
  return __real_cudaLaunchKernelExC(configuration, kernel, arguments);
}
#if CUDART_VERSION >= 13000
cudaError_t __wrap___cudaGetKernel(cudaKernel_t* handle, const void* kernel) {
  const cudaError_t error = __real___cudaGetKernel(handle, kernel);
  if (error == cudaSuccess) quarry::test::alias(*handle, kernel);
  return error;
}
cudaError_t __wrap___cudaLaunchKernel(cudaKernel_t handle, dim3 grid, dim3 block, void** arguments,
                                      size_t shared, cudaStream_t stream) {
  quarry::test::count(handle);
  return __real___cudaLaunchKernel(handle, grid, block, arguments, shared, stream);
}
#endif
}
