// Where the work of a command runs, from the flags --device and --threads.
#pragma once

#include <string>
#include <vector>

#include "kernels/core/exec.h"

namespace quarry {

/// `auto`, `cpu`, `cuda:N` or `cuda:N,M...`; threads 0: every processor this process may use,
/// shared among the devices. Throws ConfigError for another text, DeviceError for a device that
/// this build or this machine does not have.
std::vector<Exec> choose_devices(const std::string& device, int threads);

/// Processors that this process may use.
int available_threads();

/// "built without CUDA", "no usable CUDA device (reason)" or the names of the devices; for doctor
/// and messages.
struct GpuInfo {
  bool built_with_cuda = false;
  int devices = 0;
  std::string words;
};
GpuInfo gpu_info();

}  // namespace quarry
