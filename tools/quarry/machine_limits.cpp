// Measured limits: GEMM by the library's own tiles, memory by a triad; facts from /proc.
#include "tools/quarry/machine_limits.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
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

Spread measure_gemm(const Exec& exec, const MatrixView& items, const MatrixView& users,
                    std::uint32_t repetitions) {
  const auto num_queries = static_cast<std::uint32_t>(std::min<std::uint64_t>(users.rows, 4096));
  const auto num_items = static_cast<std::uint32_t>(items.rows);
  HostBuffer<float> item_rows(exec, items.rows * items.dim);
  HostBuffer<float> queries(exec, std::uint64_t{num_queries} * users.dim);
  prepare_rows(items, 0, items.rows, false, item_rows.data());
  prepare_rows(users, 0, num_queries, false, queries.data());
  TopkItems table;
  table.rows = item_rows.data();
  table.num_items = num_items;
  table.dim = items.dim;
  TopkWorkspace workspace;
  const auto once = [&] { topk_gemm_only(exec, table, queries.data(), num_queries, workspace); };
  // The first pass touches the pages; short passes are repeated until the clock's steps do not
  // matter.
  const double first = seconds_of(once);
  const int passes = std::max(1, static_cast<int>(0.05 / std::max(first, 1e-6)));
  const double operations = 2.0 * num_queries * num_items * items.dim * passes;
  std::vector<double> rates;
  for (std::uint32_t r = 0; r < repetitions; ++r) {
    rates.push_back(operations / seconds_of([&] {
                      for (int p = 0; p < passes; ++p) once();
                    }));
  }
  return spread_of(rates);
}

Spread measure_memory_bandwidth(const Exec& exec, std::uint32_t repetitions) {
  constexpr std::uint64_t kElements = 24ull << 20;  // 96 MiB each
  HostBuffer<float> a(exec, kElements);
  HostBuffer<float> b(exec, kElements);
  HostBuffer<float> c(exec, kElements);
  auto fill = [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t i = begin; i < end; ++i) {
      a.data()[i] = 0;
      b.data()[i] = 1;
      c.data()[i] = 2;
    }
  };
  parallel_for(exec, kElements, 1u << 20, fill);
  std::vector<double> rates;
  float factor = 1.0f;
  for (std::uint32_t r = 0; r < repetitions; ++r) {
    factor += 1.0f;
    const double seconds = seconds_of([&] {
      parallel_for(exec, kElements, 1u << 20, [&](std::uint64_t begin, std::uint64_t end) {
        for (std::uint64_t i = begin; i < end; ++i)
          a.data()[i] = b.data()[i] + factor * c.data()[i];
      });
    });
    rates.push_back(3.0 * kElements * sizeof(float) / seconds);
  }
  return spread_of(rates);
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
  if (uname(&name) == 0)
    facts.kernel = std::string(name.sysname) + " " + name.release + " " + name.machine;
  return facts;
}

bool reset_peak_memory() {
  std::ofstream clear("/proc/self/clear_refs");
  clear << "5\n";
  clear.flush();
  return clear.good();
}

}  // namespace quarry
