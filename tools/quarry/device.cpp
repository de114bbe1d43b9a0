// Choosing where work runs.
#include "tools/quarry/device.h"

#include <sched.h>

#include <charconv>
#include <cstdio>
#include <memory>
#include <thread>

#include "kernels/core/device.h"
#include "kernels/core/errors.h"

namespace quarry {

int available_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) {
    const int count = CPU_COUNT(&set);
    if (count > 0) return count;
  }
  const unsigned count = std::thread::hardware_concurrency();
  return count > 0 ? static_cast<int>(count) : 1;
}

GpuInfo gpu_info() {
  GpuInfo info;
#if defined(QUARRY_HAS_CUDA)
  info.built_with_cuda = true;
#endif
  std::string why;
  info.devices = cuda_device_count(&why);
  if (!info.built_with_cuda) {
    info.words = "this build has no CUDA: everything runs on the CPU";
  } else if (info.devices == 0) {
    info.words = "this build has CUDA, but there is no usable CUDA device (" + why + ")";
  }
  try {
    for (int d = 0; d < info.devices; ++d) {
      const DeviceInfo device = cuda_device_info(d);
      info.words += (d > 0 ? "; " : "") + ("cuda:" + std::to_string(d)) + " " + device.name +
                    ", compute capability " + std::to_string(device.major) + "." +
                    std::to_string(device.minor) + ", " + std::to_string(device.total_bytes >> 20) +
                    " MiB";
    }
  } catch (const DeviceError& error) {  // listed, but in use by another process or broken
    info.devices = 0;
    info.words = std::string("no usable CUDA device (") + error.what() + ")";
  }
  return info;
}

namespace {

/// Number behind `cuda:`; `cuda` alone is the first device.
int device_number(const std::string& device) {
  if (device == "cuda") return 0;
  int number = -1;
  const char* end = device.data() + device.size();
  if (device.size() > 5 && device[4] == ':') {
    const auto [stop, error] = std::from_chars(device.data() + 5, end, number);
    if (error == std::errc() && stop == end && number >= 0) return number;
  }
  throw ConfigError("--device: '" + device + "' is not auto, cpu or cuda:N with a number N from 0");
}

/// The device of this process: opened once, and kept, since buffers of a run may live until its
/// end.
Exec open_device(int number, int threads) {
  static std::unique_ptr<CudaExec> opened;
  if (!opened || opened->exec().cuda_device != number)
    opened = std::make_unique<CudaExec>(number, threads);
  Exec exec = opened->exec();
  exec.threads = threads;
  return exec;
}

}  // namespace

Exec choose_device(const std::string& device, int threads) {
  Exec exec;
  exec.threads = threads > 0 ? threads : available_threads();
  if (device == "cpu") return exec;
  const bool automatic = device == "auto";
  if (!automatic && device.rfind("cuda", 0) != 0) {
    throw ConfigError("--device: '" + device + "' is not auto, cpu or cuda:N");
  }
  const int number = automatic ? 0 : device_number(device);
  const GpuInfo info = gpu_info();
  if (number < info.devices) return open_device(number, exec.threads);
  if (!automatic) {
    throw DeviceError(
        "--device " + device + ": " +
        (info.devices > 0 ? "there are only " + std::to_string(info.devices) + " devices: " : "") +
        info.words + "; use --device auto or cpu");
  }
  if (info.built_with_cuda)
    std::fprintf(stderr, "quarry: %s; running on the CPU\n", info.words.c_str());
  return exec;
}

}  // namespace quarry
