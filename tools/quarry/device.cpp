// Choosing where work runs.
#include "tools/quarry/device.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <map>
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

/// The numbers behind `cuda:`; `cuda` alone is the first device.
std::vector<int> device_numbers(const std::string& device) {
  if (device == "cuda") return {0};
  const auto refuse = [&device] {
    throw ConfigError("--device: '" + device +
                      "' is not auto, cpu or cuda:N,M... with different numbers from 0");
  };
  if (device.rfind("cuda:", 0) != 0) refuse();
  std::vector<int> numbers;
  for (const char *at = device.data() + 5, *end = device.data() + device.size();; ++at) {
    int number = -1;
    const auto [stop, error] = std::from_chars(at, end, number);
    if (error != std::errc() || number < 0) refuse();
    if (std::find(numbers.begin(), numbers.end(), number) != numbers.end()) refuse();
    numbers.push_back(number);
    at = stop;
    if (at == end) return numbers;
    if (*at != ',') refuse();
  }
}

/// A device of this process: opened once, and kept, since buffers of a run may live until its end.
Exec open_device(int number, int threads) {
  static std::map<int, CudaExec> opened;
  const auto at = opened.find(number);
  Exec exec = (at != opened.end() ? at->second
                                  : opened.emplace(number, CudaExec(number, threads)).first->second)
                  .exec();
  exec.threads = threads;
  return exec;
}

}  // namespace

std::vector<Exec> choose_devices(const std::string& device, int threads) {
  Exec cpu;
  cpu.threads = threads > 0 ? threads : available_threads();
  if (device == "cpu") return {cpu};
  const bool automatic = device == "auto";
  const std::vector<int> numbers = automatic ? std::vector<int>{0} : device_numbers(device);
  const GpuInfo info = gpu_info();
  const int largest = *std::max_element(numbers.begin(), numbers.end());
  if (largest < info.devices) {
    // The threads of the host are shared among the devices.
    const int share = std::max(1, cpu.threads / static_cast<int>(numbers.size()));
    std::vector<Exec> execs;
    execs.reserve(numbers.size());
    for (const int number : numbers) execs.push_back(open_device(number, share));
    return execs;
  }
  if (!automatic) {
    throw DeviceError(
        "--device " + device + ": " +
        (info.devices > 0 ? "there are only " + std::to_string(info.devices) + " devices: " : "") +
        info.words + "; use --device auto or cpu");
  }
  if (info.built_with_cuda)
    std::fprintf(stderr, "quarry: %s; running on the CPU\n", info.words.c_str());
  return {cpu};
}

}  // namespace quarry
