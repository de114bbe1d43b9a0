// What this machine can do at best, measured in the run that is compared with it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/core/exec.h"

namespace quarry {

/// Median and spread of repeated measurements.
struct Spread {
  double median = 0, least = 0, most = 0;
};
Spread spread_of(std::vector<double> values);

/// Floating-point operations per second of the tile GEMM that retrieval uses, on `exec.threads`
/// threads: 2,048 queries by 8,192 items of `dim` numbers, warm, at least 0.2 s per repetition.
Spread measure_gemm(const Exec& exec, std::uint32_t dim, std::uint32_t repetitions);
/// Bytes per second of `a[i] = b[i] + c * d[i]` over arrays far larger than the caches; each
/// element counts three times.
Spread measure_memory_bandwidth(const Exec& exec, std::uint32_t repetitions);

struct MachineFacts {
  std::string node;  ///< its name in the network
  std::string processor;
  int processors = 0;  ///< that this process may use
  std::uint64_t memory_bytes = 0;
  std::string kernel;
  std::optional<double> load_average;  ///< of the last minute, others' programs included
};
MachineFacts machine_facts();

/// Starts a new measurement of the peak of resident memory; false where the system cannot.
bool reset_peak_memory();

}  // namespace quarry
