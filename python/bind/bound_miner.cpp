// A Miner as Python has it.
#include "python/bind/bound_miner.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <string_view>
#include <thread>

#include "kernels/core/errors.h"
#include "kernels/core/ids.h"

namespace quarry {
namespace {

constexpr int kMostThreads = 4096;
constexpr std::uint64_t kRowsBetweenPauses = 65536;

std::atomic<int> chosen_threads{0};
/// The process that first made a miner; 0: none has.
std::atomic<pid_t> first_process{0};

void check_process() {
  pid_t none = 0;
  if (first_process.compare_exchange_strong(none, ::getpid())) return;
  if (none == ::getpid()) return;
  throw ForkError(
      "this process was forked from process " + std::to_string(none) +
      " after that had made a Miner, and lacks its threads; mine in the process that forked, or "
      "start workers with the method 'spawn' and make a Miner in each");
}

int threads_of(const MinerRequest& request) {
  if (request.threads < 0 || request.threads > kMostThreads) {
    throw ConfigError("threads: " + std::to_string(request.threads) +
                      " is out of range; 0 (the default of set_num_threads) to 4096");
  }
  return request.threads > 0 ? request.threads : default_threads();
}

template <class Bad>
void refuse_rows(std::uint64_t count, const std::string& what, Bad&& bad) {
  std::string list;
  std::uint64_t found = 0;
  for (std::uint64_t row = 0; row < count; ++row) {
    if (!bad(row)) continue;
    if (found++ < 10) list += (list.empty() ? "" : ", ") + std::to_string(row);
  }
  if (found > 0)
    throw InputError(std::to_string(found) + " rows " + what + "; the first: rows " + list);
}

/// The same columns from row `first` on.
Picks part_of(const Picks& all, std::uint64_t first, std::uint32_t k, std::uint32_t branches) {
  Picks part = all;
  const auto move = [first](auto*& column, std::uint64_t width) {
    if (column != nullptr) column += first * width;
  };
  move(part.item, k), move(part.score, k), move(part.branch, k), move(part.raw_rank, k);
  move(part.survivor_rank, k), move(part.stratum, k), move(part.logq, k), move(part.fill, k);
  move(part.count, 1), move(part.kappa, branches), move(part.positive_min, 1);
  move(part.certified, 1), move(part.floor, 1);
  return part;
}

/// What sets on disk hold (host/store/FORMAT.md): one NaN for all, and in empty slots.
void write_nans(const Picks& out, std::uint64_t rows, std::uint32_t k, std::uint32_t branches) {
  const auto canonical = [](float& value, bool there) {
    if (!there || std::isnan(value)) value = std::bit_cast<float>(0x7FC00000u);
  };
  for (std::uint64_t slot = 0; slot < rows * k; ++slot) {
    const bool filled = out.item[slot] != kNoItem;
    canonical(out.score[slot], filled);
    canonical(out.logq[slot], filled);
  }
  for (std::uint64_t i = 0; i < rows * branches; ++i) canonical(out.kappa[i], true);
  for (std::uint64_t row = 0; row < rows; ++row) canonical(out.positive_min[row], true);
}

}  // namespace

void set_default_threads(int threads) {
  if (threads < 0 || threads > kMostThreads) {
    throw ConfigError("set_num_threads: " + std::to_string(threads) +
                      " is out of range; 0 (as many as the process may use) to 4096");
  }
  chosen_threads = threads;
}

int default_threads() {
  if (const int chosen = chosen_threads; chosen > 0) return chosen;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

BoundMiner::BoundMiner(const MinerRequest& request, const Pause& pause)
    : request_(request),
      threads_((check_process(), threads_of(request))),
      loaded_(request_, threads_, pause) {
  options_.exec.threads = threads_;
  options_.seed = request_.seed;
  options_.round = request_.round;
  options_.retriever = request_.retriever;
  miner_ = std::make_unique<Miner>(loaded_.recipe, loaded_.inputs, options_);
  retriever_ = miner_->plan(1).retriever;  // asked for while another thread mines
  pause();
}

Miner& BoundMiner::miner_of(std::uint32_t k) {
  if (k == loaded_.recipe.k) return *miner_;
  std::unique_ptr<Miner>& other = other_k_[k];
  if (!other) {
    try {
      const Recipe recipe = recipe_of(request_, {"k=" + std::to_string(k)});
      other = std::make_unique<Miner>(recipe, loaded_.inputs, options_);
    } catch (...) {
      other_k_.erase(k);
      throw;
    }
  }
  return *other;
}

void BoundMiner::check(const RowsView& rows) const {
  const std::uint64_t num_users = loaded_.user_ids ? loaded_.user_ids->size() : 0;
  const std::uint64_t num_items = loaded_.inputs.items.rows;
  if (rows.user == nullptr && (loaded_.user_ids || rows.queries == nullptr)) {
    throw InputError(
        "users: none are given; give the row number of each row's user (a Miner without users, "
        "user_ids and events takes queries alone)");
  }
  if (rows.user != nullptr && loaded_.user_ids) {
    refuse_rows(rows.num_rows,
                "name a user outside of the " + std::to_string(num_users) +
                    " that are known, numbered from 0",
                [&](std::uint64_t r) { return rows.user[r] >= num_users; });
  }
  if (rows.queries == nullptr && loaded_.inputs.users.data == nullptr) {
    throw InputError(
        "queries: none are given, and the Miner has no vectors of users; give queries= here or "
        "users= to the Miner");
  }
  if (rows.positive_offsets == nullptr) return;
  refuse_rows(
      rows.num_rows,
      "name a positive outside of the " + std::to_string(num_items) + " items, numbered from 0",
      [&](std::uint64_t r) {
        return std::any_of(rows.positives + rows.positive_offsets[r],
                           rows.positives + rows.positive_offsets[r + 1],
                           [&](std::uint32_t item) { return item >= num_items; });
      });
}

void BoundMiner::name_rows(const RowsView& rows, std::uint64_t* keys, const Pause& pause) const {
  if (rows.user == nullptr || !loaded_.user_ids) {
    throw InputError(
        "keys: none are given, and without known users none can be made; give a different number "
        "for each row");
  }
  std::vector<std::string> ids;
  std::vector<std::string_view> views;
  for (std::uint64_t row = 0; row < rows.num_rows; ++row) {
    if (row % kRowsBetweenPauses == kRowsBetweenPauses - 1) pause();
    ids.clear();
    if (rows.positive_offsets != nullptr) {
      for (std::uint64_t p = rows.positive_offsets[row]; p < rows.positive_offsets[row + 1]; ++p)
        ids.push_back(loaded_.item_ids.id_of(rows.positives[p]));
    }
    views.assign(ids.begin(), ids.end());
    const std::int64_t time = rows.time != nullptr ? rows.time[row] : INT64_MAX;
    keys[row] = row_key_of(loaded_.user_ids->id_of(rows.user[row]), views, time);
  }
}

void BoundMiner::mine(RowsView rows, std::uint64_t* keys, std::uint32_t k, const Picks& out,
                      const Pause& pause) {
  check_process();
  check(rows);
  if (rows.key == nullptr) {
    name_rows(rows, keys, pause);
    rows.key = keys;
  }
  if (!loaded_.user_ids) rows.user = nullptr;
  const auto branches = static_cast<std::uint32_t>(loaded_.recipe.branches.size());
  const std::uint32_t dim = loaded_.inputs.items.dim;
  // A tile at a time, so that a stop is heard within a second or two; rows come out the same. The
  // lock is free during a pause, which may run Python that mines.
  for (std::uint64_t first = 0; first < rows.num_rows; pause()) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Miner& miner = miner_of(k);
    const std::uint64_t tile = std::max<std::uint32_t>(1, miner.plan(rows.num_rows).tile_rows);
    const std::uint64_t count = std::min(tile, rows.num_rows - first);
    miner.mine_batch(quarry::part_of(rows, first, count, dim), part_of(out, first, k, branches));
    first += count;
  }
  write_nans(out, rows.num_rows, k, branches);
}

}  // namespace quarry
