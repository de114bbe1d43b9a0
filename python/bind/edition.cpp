// The tables as of one update, and the miners over them.
#include "python/bind/edition.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <utility>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

/// Miners that are kept of a recipe with schedules, whose rounds go by.
constexpr std::size_t kMostRounds = 4;
/// Of another recipe: one for each k that was asked for.
constexpr std::size_t kMostSizes = 16;
/// The year 2100: later ones are looked at twice.
constexpr std::int64_t kSurelyATime = 4'102'444'800;

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

MinerRequest mapped(MinerRequest request) {
  request.items = mapped(request.items);
  request.users = mapped(request.users);
  for (auto& [name, table] : request.features) table = mapped(table);
  return request;
}

bool same(const ExposureRules& a, const ExposureRules& b) { return a.window == b.window; }

}  // namespace

Edition::Edition(MinerRequest request, const MinerOptions& options, std::int64_t version,
                 const Pause& pause)
    : request_(mapped(std::move(request))),
      loaded_(std::make_shared<const LoadedInputs>(request_, options.exec.threads, pause)),
      options_(options),
      version_(version) {
  // The file of a recipe may change while a training runs; the recipe does not.
  if (!request_.recipe_is_text) request_.recipe_file = request_.recipe;
  request_.recipe = loaded_->recipe.text;
  request_.recipe_is_text = true;
  request_.overrides.clear();
}

Edition::Edition(const Edition& former, MinerRequest request, std::int64_t version)
    : request_(std::move(request)),
      loaded_(std::make_shared<const LoadedInputs>(former.loaded_, request_)),
      options_(former.options_),
      version_(version) {}

std::shared_ptr<const Recipe> Edition::recipe_at(std::uint32_t round) const {
  if (!loaded_->recipe.has_schedules || round == request_.round) return {loaded_, &loaded_->recipe};
  MinerRequest request;
  request.recipe = request_.recipe;
  request.recipe_is_text = true;
  request.recipe_file = request_.recipe_file;
  request.round = round;
  return std::make_shared<const Recipe>(recipe_of(request));
}

void Edition::check_events(const LaterEvents& events) const {
  const std::uint64_t num_users = loaded_->user_ids ? loaded_->user_ids->size() : 0;
  const std::uint64_t num_items = loaded_->inputs.items.rows;
  for (std::uint64_t i = 0; i < events.size(); ++i) {
    if (events.users[i] >= num_users || events.items[i] >= num_items) {
      throw InputError("update_events: event " + std::to_string(i) + " is of user " +
                       std::to_string(events.users[i]) + " and item " +
                       std::to_string(events.items[i]) + "; there are " +
                       std::to_string(num_users) + " users and " + std::to_string(num_items) +
                       " items, numbered from 0");
    }
    if (events.times[i] < 0 || events.times[i] > kSurelyATime)
      check_time(events.times[i], "update_events: event " + std::to_string(i));
  }
}

Edition::Made Edition::make(std::uint32_t round, std::uint32_t k, const Pause& pause) const {
  MinerRequest request = request_;
  request.round = round;
  Made made{k, round_of(round), loaded_, nullptr, nullptr, 0, false};
  std::vector<std::string> overrides;
  Recipe recipe = recipe_of(request);
  if (recipe.k != k) recipe = recipe_of(request, {"k=" + std::to_string(k)});
  // What events mean depends on the round only where the window has a schedule.
  if (!same(recipe.exposure, loaded_->recipe.exposure))
    made.loaded = std::make_shared<const LoadedInputs>(request, options_.exec.threads, pause);
  MinerOptions options = options_;
  options.round = round;
  std::exception_ptr stopped;
  options.faiss.interrupted = [&] {
    try {
      pause();
    } catch (...) {
      stopped = std::current_exception();
    }
    return stopped != nullptr;
  };
  made.former = miner_of(made.loaded);
  try {
    made.miner = made.former ? std::make_shared<Miner>(recipe, *made.former, round,
                                                       options.faiss.interrupted)
                             : std::make_shared<Miner>(recipe, made.loaded->inputs, options);
  } catch (const Cancelled&) {
    if (stopped) std::rethrow_exception(stopped);
    throw;
  }
  pause();
  return made;
}

/// The miner of these tables that was used last; null: there is none.
std::shared_ptr<const Miner> Edition::miner_of(
    const std::shared_ptr<const LoadedInputs>& loaded) const {
  const std::lock_guard<std::mutex> lock(kept_);
  const Made* last = nullptr;
  for (const Made& made : made_) {
    if (made.loaded == loaded && (last == nullptr || made.last_use > last->last_use)) last = &made;
  }
  return last != nullptr ? last->miner : nullptr;
}

/// Under kept_, for as long as it is used.
Edition::Made* Edition::find(std::uint32_t round, std::uint32_t k) {
  for (Made& made : made_) {
    if (made.k != k || made.round != round_of(round)) continue;
    made.last_use = ++uses_;
    return &made;
  }
  return nullptr;
}

/// Under mining_. A copy, which keeps the miner and its tables should others take its place. Its
/// miner is null: it is not made yet.
Edition::Made Edition::to_mine(std::uint32_t round, std::uint32_t k) {
  const std::lock_guard<std::mutex> lock(kept_);
  Made* const made = find(round, k);
  if (made == nullptr) return {};
  made->mined = true;
  if (made->former) made->miner->begin_as(*std::exchange(made->former, nullptr));
  return *made;
}

/// Under kept_. Miners that were not used for longest are let go.
void Edition::keep(Made made) {
  made.last_use = ++uses_;
  if (!first_) {
    first_ = made.miner;
    first_loaded_ = made.loaded;
    retriever_ = first_->plan(1).retriever;  // asked for while another thread mines
  }
  if (made_.size() == (loaded_->recipe.has_schedules ? kMostRounds : kMostSizes)) {
    made_.erase(std::min_element(made_.begin(), made_.end(), [](const Made& a, const Made& b) {
      return a.last_use < b.last_use;
    }));
  }
  made_.push_back(std::move(made));
}

void Edition::prepare(std::uint32_t round, std::uint32_t k, const Pause& pause) {
  const std::lock_guard<std::recursive_mutex> one(making_);
  {
    const std::lock_guard<std::mutex> lock(kept_);
    if (find(round, k)) return;
  }
  Made made = make(round, k, pause);
  const std::lock_guard<std::mutex> lock(kept_);
  if (!find(round, k)) keep(std::move(made));
}

std::size_t Edition::num_miners() {
  const std::lock_guard<std::mutex> lock(kept_);
  return made_.size();
}

void Edition::prepare_like(Edition& former, const Pause& pause) {
  std::vector<Made> wanted;
  {
    const std::lock_guard<std::mutex> lock(former.kept_);
    std::copy_if(former.made_.begin(), former.made_.end(), std::back_inserter(wanted),
                 [](const Made& made) { return made.mined; });
  }
  std::sort(wanted.begin(), wanted.end(),
            [](const Made& a, const Made& b) { return a.last_use < b.last_use; });
  // Rounds go by; that of the last batch is likely that of the next.
  if (loaded_->recipe.has_schedules && wanted.size() > 1)
    wanted.erase(wanted.begin(), wanted.end() - 1);
  for (const Made& made : wanted) prepare(made.round, made.k, pause);
}

void Edition::mine(const RowsView& rows, std::uint32_t round, std::uint32_t k, const Picks& out,
                   const Pause& pause) {
  const auto branches = static_cast<std::uint32_t>(loaded_->recipe.branches.size());
  const std::uint32_t dim = loaded_->inputs.items.dim;
  // A tile at a time, so that a stop is heard within a second or two; rows come out the same. The
  // lock is free during a pause, which may run Python that mines.
  for (std::uint64_t first = 0; first < rows.num_rows;) {
    bool there = false;
    {
      const std::lock_guard<std::mutex> lock(mining_);
      if (const Made made = to_mine(round, k); made.miner) {
        there = true;
        Miner* const miner = made.miner.get();
        if (!loaded_->recipe.has_schedules) miner->set_round(round);
        const std::uint64_t tile = std::max<std::uint32_t>(1, miner->plan(rows.num_rows).tile_rows);
        const std::uint64_t count = std::min(tile, rows.num_rows - first);
        miner->mine_batch(quarry::part_of(rows, first, count, dim),
                          part_of(out, first, k, branches));
        first += count;
      }
    }
    if (there) {
      pause();
    } else {
      prepare(round, k, pause);
    }
  }
}

}  // namespace quarry
