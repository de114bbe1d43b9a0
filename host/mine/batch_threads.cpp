// As many threads as a batch has work for.
#include "host/mine/batch_threads.h"

#include <algorithm>

namespace quarry {
namespace {

/// Multiplications and additions that a thread should have for itself: about a millisecond, some
/// ten times what starting and awaiting a team takes in all steps of a batch on a quiet machine.
constexpr double kLeastWork = 3.0e7;
/// Of a row beside its scores: its filters, draws and sorting.
constexpr double kRowWork = 2.0e4;

double work_of(const Compiled& compiled, const RowsView& rows) {
  double items = compiled.plan.k;
  for (std::uint32_t b = 0; b < compiled.plan.num_branches; ++b) {
    const Branch& branch = compiled.plan.branches[b];
    items += branch.source == SourceKind::kTopk ? compiled.world.num_items : branch.capacity;
    if (is_shared(branch.source)) items += rows.pools[b].count;
  }
  return static_cast<double>(rows.num_rows) * (2.0 * items * compiled.world.dim + kRowWork);
}

}  // namespace

BatchThreads::BatchThreads(Miner::State& s, const RowsView& rows) : s_(s) {
  const int threads = s.exec.threads;
  if (s.exec.device != Device::kCpu || threads <= 1) return;
  const double most = work_of(*s.compiled, rows) / kLeastWork;
  if (most < threads) s.exec.threads = std::max(1, static_cast<int>(most));
}

BatchThreads::~BatchThreads() { s_.exec.threads = s_.options.exec.threads; }

}  // namespace quarry
