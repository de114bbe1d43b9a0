// What devices, device memory and copies do in a build without CUDA: they say so.
#include <string>

#include "kernels/core/buffer.h"
#include "kernels/core/device.h"

namespace quarry {
namespace {

[[noreturn]] void refuse(const char* what) {
  throw DeviceError(
      std::string(what) +
      ": this build has no CUDA; run on the CPU (--device cpu) or build with -DQUARRY_CUDA=ON");
}

}  // namespace

template <>
void* allocate_bytes<DeviceSpace>(const Exec&, std::size_t bytes) {
  refuse(("cannot allocate " + std::to_string(bytes) + " bytes of device memory").c_str());
}

template <>
void release_bytes<DeviceSpace>(const Exec&, void*, std::size_t) noexcept {
}  // nothing was allocated

void copy_to_device(const Exec&, void*, const void*, std::size_t) {
  refuse("cannot copy to a device");
}
void copy_to_host(const Exec&, void*, const void*, std::size_t) {
  refuse("cannot copy from a device");
}
void fill_device(const Exec&, void*, int, std::size_t) { refuse("cannot fill device memory"); }

void synchronize(const Exec& exec) {
  if (exec.device != Device::kCpu) refuse("cannot wait for a device");
}

int cuda_device_count(std::string* why) {
  if (why != nullptr) *why = "this build has no CUDA";
  return 0;
}

DeviceInfo cuda_device_info(int ordinal) {
  refuse(("cannot describe device " + std::to_string(ordinal)).c_str());
}
const Allocator* unpooled_device_memory() { return nullptr; }

StreamOrder::StreamOrder(const Exec& exec, CUstream_st* caller) : exec_(exec), caller_(caller) {}
StreamOrder::~StreamOrder() = default;

CudaExec::CudaExec(int ordinal, int, const Allocator*) {
  refuse(("cannot open device " + std::to_string(ordinal)).c_str());
}
CudaExec::~CudaExec() = default;
CudaExec::CudaExec(CudaExec&&) noexcept = default;
CudaExec& CudaExec::operator=(CudaExec&&) noexcept = default;

}  // namespace quarry
