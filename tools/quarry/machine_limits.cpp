// Measured limits: GEMM by the library's own tiles, memory by a triad; facts from /proc.
#include "tools/quarry/machine_limits.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>

#include "kernels/core/buffer.h"
#include "kernels/topk/topk.h"
#include "tools/quarry/device.h"

namespace quarry {
namespace {

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  const double middle = n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
  return {middle, values.front(), values.back()};
}

namespace {

/// Rates of `operations` per run of `work`: warmed up, then as many runs per measurement as last
/// kMeasured, so that neither first touches nor a boost of the clock decide.
Spread measure_rate(double operations, std::uint32_t repetitions,
                    const std::function<void()>& work) {
  constexpr double kWarmUp = 0.1, kMeasured = 0.2;
  double warm = 0;
  int runs = 0;
  for (; warm < kWarmUp || runs < 2; ++runs) warm += seconds_of(work);
  const int passes = std::max(1, static_cast<int>(std::ceil(kMeasured * runs / warm)));
  std::vector<double> rates;
  for (std::uint32_t r = 0; r < repetitions; ++r) {
    double seconds = 0;
    int done = 0;
    for (; done < passes || seconds < kMeasured; ++done) seconds += seconds_of(work);
    rates.push_back(operations * done / seconds);
  }
  return spread_of(rates);
}

}  // namespace

Spread measure_gemm(const Exec& exec, std::uint32_t dim, std::uint32_t repetitions) {
  // The same tile for every run, whatever its tables: limits of two runs can be compared.
  constexpr std::uint32_t kQueries = 2048, kItems = 8192;
  HostBuffer<float> items(exec, std::uint64_t{kItems} * dim);
  HostBuffer<float> queries(exec, std::uint64_t{kQueries} * dim);
  const auto fill = [](HostBuffer<float>& buffer, std::uint64_t size) {
    for (std::uint64_t i = 0; i < size; ++i)
      buffer.data()[i] = static_cast<float>(i * 2654435761u % 2048u) / 2048.0f - 0.5f;
  };
  fill(items, std::uint64_t{kItems} * dim);
  fill(queries, std::uint64_t{kQueries} * dim);
  TopkItems table;
  table.rows = items.data();
  table.num_items = kItems;
  table.dim = dim;
  TopkWorkspace workspace;
  return measure_rate(2.0 * kQueries * kItems * dim, repetitions,
                      [&] { topk_gemm_only(exec, table, queries.data(), kQueries, workspace); });
}

Spread measure_memory_bandwidth(const Exec& exec, std::uint32_t repetitions) {
  constexpr std::uint64_t kElements = 24ull << 20;  // 96 MiB each
  HostBuffer<float> a(exec, kElements);
  HostBuffer<float> b(exec, kElements);
  HostBuffer<float> c(exec, kElements);
  parallel_for(exec, kElements, 1u << 20, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t i = begin; i < end; ++i) {
      a.data()[i] = 0;
      b.data()[i] = 1;
      c.data()[i] = 2;
    }
  });
  float factor = 1.0f;
  return measure_rate(3.0 * kElements * sizeof(float), repetitions, [&] {
    factor += 1.0f;
    parallel_for(exec, kElements, 1u << 20, [&](std::uint64_t begin, std::uint64_t end) {
      for (std::uint64_t i = begin; i < end; ++i) a.data()[i] = b.data()[i] + factor * c.data()[i];
    });
  });
}

MachineFacts machine_facts() {
  MachineFacts facts;
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    facts.processor = line.substr(std::min(line.size(), line.find(':') + 2));
    break;
  }
  facts.processors = available_threads();
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page = sysconf(_SC_PAGESIZE);
  if (pages > 0 && page > 0)
    facts.memory_bytes = static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page);
  utsname name{};
  if (uname(&name) == 0) {
    facts.kernel = std::string(name.sysname) + " " + name.release + " " + name.machine;
    facts.node = name.nodename;
  }
  double load = 0;
  if (getloadavg(&load, 1) == 1) facts.load_average = load;
  return facts;
}

bool reset_peak_memory() {
  std::ofstream clear("/proc/self/clear_refs");
  clear << "5\n";
  clear.flush();
  return clear.good();
}

}  // namespace quarry
