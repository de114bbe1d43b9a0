// A Miner as Python has it.
#include "python/bind/bound_miner.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <numeric>
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
    : threads_((check_process(), threads_of(request))), seed_(request.seed), round_(request.round) {
  MinerOptions options;
  options.exec.threads = threads_;
  options.seed = request.seed;
  options.round = request.round;
  options.retriever = request.retriever;
  current_ = std::make_shared<Edition>(request, options, 0, pause);
  current_->prepare(round_, current_->k_at(round_), pause);
}

std::shared_ptr<Edition> BoundMiner::edition() const {
  const std::lock_guard<std::mutex> lock(state_);
  return current_;
}

std::uint32_t BoundMiner::round() const {
  const std::lock_guard<std::mutex> lock(state_);
  return round_;
}

void BoundMiner::set_round(std::uint32_t round, const Pause& pause) {
  check_process();
  const std::shared_ptr<Edition> current = edition();
  current->prepare(round, current->k_at(round), pause);
  const std::lock_guard<std::mutex> lock(state_);
  round_ = round;
}

std::int64_t BoundMiner::update(const Update& update, const Pause& pause) {
  check_process();
  const std::lock_guard<std::recursive_mutex> one(updating_);
  const std::shared_ptr<Edition> former = edition();
  MinerRequest request = former->request();
  bool reload = !update.events.empty() || update.later_events != nullptr ||
                update.item_ids.given() || update.user_ids.given() || !update.features.empty();
  const auto replace = [&](MatrixSource& table, const MatrixSource& by, std::uint64_t rows,
                           const std::string& name) {
    if (!by.given()) return;
    table = mapped(by);
    const std::uint64_t given = table.view.rows;
    if (given < rows) {
      throw InputError(name + ": " + std::to_string(given) + " rows, where the Miner has " +
                       std::to_string(rows) +
                       "; an update may add rows behind those there are, since batches and tables "
                       "name the others by number. Make another Miner for fewer");
    }
    reload = reload || given != rows;
    if (name == "items" && given != rows) request.has_grown = true;
  };
  replace(request.items, update.items, former->loaded().inputs.items.rows, "items");
  replace(request.users, update.users, former->loaded().inputs.users.rows, "users");
  if (update.item_ids.given()) request.item_ids = update.item_ids;
  if (update.user_ids.given()) request.user_ids = update.user_ids;
  for (const auto& [name, table] : update.features) request.features[name] = table;
  request.events.insert(request.events.end(), update.events.begin(), update.events.end());
  if (update.later_events != nullptr) {
    former->check_events(*update.later_events);
    request.later_events.push_back(update.later_events);
  }
  const std::int64_t version =
      update.version.value_or(former->version() + (update.items.given() ? 1 : 0));
  const auto next =
      reload ? std::make_shared<Edition>(std::move(request), former->options(), version, pause)
             : std::make_shared<Edition>(*former, std::move(request), version);
  const std::uint32_t current = round();
  next->prepare(current, next->k_at(current), pause);
  next->prepare_like(*former, pause);
  const std::lock_guard<std::mutex> lock(state_);
  current_ = next;
  return version;
}

void BoundMiner::check(const Edition& edition, const RowsView& rows) const {
  const LoadedInputs& loaded = edition.loaded();
  const std::uint64_t num_users = loaded.user_ids ? loaded.user_ids->size() : 0;
  const std::uint64_t num_items = loaded.inputs.items.rows;
  if (rows.user == nullptr && (loaded.user_ids || rows.queries == nullptr)) {
    throw InputError(
        "users: none are given; give the row number of each row's user (a Miner without users, "
        "user_ids and events takes queries alone)");
  }
  if (rows.user != nullptr && loaded.user_ids) {
    refuse_rows(rows.num_rows,
                "name a user outside of the " + std::to_string(num_users) +
                    " that are known, numbered from 0",
                [&](std::uint64_t r) { return rows.user[r] >= num_users; });
  }
  if (rows.queries == nullptr && loaded.inputs.users.data == nullptr) {
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

void BoundMiner::name_rows(const Edition& edition, const RowsView& rows, std::uint64_t* keys,
                           const Pause& pause) const {
  const LoadedInputs& loaded = edition.loaded();
  if (rows.user == nullptr || !loaded.user_ids) {
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
        ids.push_back(loaded.item_ids->id_of(rows.positives[p]));
    }
    views.assign(ids.begin(), ids.end());
    const std::int64_t time = rows.time != nullptr ? rows.time[row] : INT64_MAX;
    keys[row] = row_key_of(loaded.user_ids->id_of(rows.user[row]), views, time);
  }
}

std::vector<std::vector<std::uint32_t>> BoundMiner::rows_of(const RowsView& rows) {
  std::vector<std::vector<std::uint32_t>> lists(rows.num_rows);
  for (std::uint64_t r = 0; r < rows.num_rows && rows.positive_offsets != nullptr; ++r) {
    lists[r].assign(rows.positives + rows.positive_offsets[r],
                    rows.positives + rows.positive_offsets[r + 1]);
    std::sort(lists[r].begin(), lists[r].end());
  }
  // By key, not as the rows happen to stand: which of them a queue forgets first is then a matter
  // of what the batch holds.
  std::vector<std::uint64_t> order(rows.num_rows);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::uint64_t a, std::uint64_t b) {
    return rows.key[a] != rows.key[b] ? rows.key[a] < rows.key[b] : lists[a] < lists[b];
  });
  std::vector<std::vector<std::uint32_t>> sorted;
  sorted.reserve(order.size());
  for (const std::uint64_t r : order) sorted.push_back(std::move(lists[r]));
  return sorted;
}

bool BoundMiner::has_queue() const {
  const std::shared_ptr<Edition> current = edition();
  const auto& branches = current->loaded().recipe.branches;
  return std::any_of(branches.begin(), branches.end(), [](const BranchSpec& branch) {
    return branch.source.kind == SourceKind::kQueue;
  });
}

void BoundMiner::enqueue(std::vector<std::vector<std::uint32_t>> rows) {
  const std::lock_guard<std::mutex> lock(state_);
  for (auto& row : rows) queue_.push_back(std::move(row));
  while (queue_.size() > queue_depth_) queue_.pop_front();
}

Lists BoundMiner::queue() const {
  const std::lock_guard<std::mutex> lock(state_);
  Lists rows;
  rows.offsets.push_back(0);
  for (const auto& row : queue_) {
    rows.values.insert(rows.values.end(), row.begin(), row.end());
    rows.offsets.push_back(rows.values.size());
  }
  return rows;
}

void BoundMiner::set_queue(const Lists& rows) {
  const std::uint64_t num_items = edition()->loaded().inputs.items.rows;
  std::deque<std::vector<std::uint32_t>> queue;
  for (std::size_t r = 0; r + 1 < rows.offsets.size(); ++r) {
    const auto at = [&](std::size_t i) {
      return rows.values.begin() + static_cast<std::ptrdiff_t>(rows.offsets[i]);
    };
    auto& row = queue.emplace_back(at(r), at(r + 1));
    std::sort(row.begin(), row.end());
    if (!row.empty() && row.back() >= num_items) {
      throw InputError("queue: row " + std::to_string(r) + " holds item " +
                       std::to_string(row.back()) + "; there are " + std::to_string(num_items) +
                       ", numbered from 0");
    }
  }
  const std::lock_guard<std::mutex> lock(state_);
  queue_ = std::move(queue);
}

void BoundMiner::mine(Edition& edition, RowsView rows, std::uint64_t* keys, std::uint32_t round,
                      std::uint32_t k, const Picks& out, const Pause& pause) {
  check_process();
  check(edition, rows);
  if (rows.key == nullptr) {
    name_rows(edition, rows, keys, pause);
    rows.key = keys;
  }
  const std::shared_ptr<const Recipe> recipe = edition.recipe_at(round);
  std::vector<std::vector<std::uint32_t>> items(recipe->branches.size());
  std::vector<SharedPool> pools(items.size());
  bool queues = false;
  for (std::size_t b = 0; b < items.size(); ++b) {
    const SourceSpec& source = recipe->branches[b].source;
    if (source.kind == SourceKind::kBatch && rows.positive_offsets != nullptr) {
      items[b].assign(rows.positives, rows.positives + rows.positive_offsets[rows.num_rows]);
    } else if (source.kind == SourceKind::kQueue) {
      queues = true;
      const std::lock_guard<std::mutex> lock(state_);
      queue_depth_ = std::max(queue_depth_, source.depth);
      for (std::size_t r = queue_.size() - std::min<std::size_t>(source.depth, queue_.size());
           r < queue_.size(); ++r)
        items[b].insert(items[b].end(), queue_[r].begin(), queue_[r].end());
    }
    std::sort(items[b].begin(), items[b].end());
    items[b].erase(std::unique(items[b].begin(), items[b].end()), items[b].end());
    pools[b] = {items[b].data(), static_cast<std::uint32_t>(items[b].size())};
  }
  rows.pools = pools.data();
  if (!edition.loaded().user_ids) rows.user = nullptr;
  edition.mine(rows, round, k, out, pause);
  const auto branches = static_cast<std::uint32_t>(edition.loaded().recipe.branches.size());
  write_nans(out, rows.num_rows, k, branches);
  if (queues) enqueue(rows_of(rows));
}

}  // namespace quarry
