// Searches of slices of the items.
#include "tools/quarry/search_slice.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "host/store/run_part.h"
#include "host/store/slice_file.h"
#include "kernels/core/errors.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/row_feed.h"
#include "tools/quarry/run_report.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

/// The files of a shard's searches and what is in them.
struct OpenSearches {
  std::vector<std::unique_ptr<SliceFile>> files;
  std::unique_ptr<SlicedLists> lists;
};

std::string path_of_search(const ShardPlan& plan, std::uint64_t search) {
  return plan.outputs + "/" + plan.search_file(search);
}

ItemSlice slice_of_search(const ShardPlan& plan, std::uint64_t search) {
  return plan.slices[search % plan.slices.size()];
}

/// Opened, and of this plan. Throws InputError, IoError.
std::unique_ptr<SliceFile> open_search(const ShardPlan& plan, std::uint64_t search) {
  const std::string path = path_of_search(plan, search);
  auto file = std::make_unique<SliceFile>(path, slice_of_search(plan, search));
  const Json about = Json::parse(file->about(), nullptr, false);
  if (!about.is_object() || about.value("plan", Json()) != plan.hash ||
      about.value("search", Json()) != search) {
    throw InputError(
        fmt::format("{}: is not search {} of {}; search again", path, search, plan.file));
  }
  return file;
}

void tell_search(const ShardPlan& plan, std::uint64_t search, std::uint64_t entries, bool was_there,
                 double seconds, bool json) {
  const std::uint64_t id = search / plan.slices.size();
  const PlannedShard& shard = plan.shards[id];
  const ItemSlice slice = slice_of_search(plan, search);
  fmt::print(stderr, "{} search {} of {}: items {} to {} for shard {}, {} entries\n",
             was_there ? "there already:" : "wrote", search, plan.searches(), slice.first,
             slice.end - 1, id, words_of_count(entries));
  if (!json) return;
  const Json out = {{"plan_hash", plan.hash},
                    {"search", search},
                    {"searches", plan.searches()},
                    {"shard", id},
                    {"first_item", slice.first},
                    {"end_item", slice.end},
                    {"first_row", shard.first_row},
                    {"end_row", shard.end_row},
                    {"rows", shard.rows},
                    {"output", path_of_search(plan, search)},
                    {"entries", entries},
                    {"was_there", was_there},
                    {"seconds", seconds}};
  std::puts(out.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
}

}  // namespace

bool is_searched(const ShardPlan& plan, std::uint64_t search) {
  return RunPart::is_there(plan.outputs, plan.search_file(search));
}

std::string damage_of_search(const ShardPlan& plan, std::uint64_t search) {
  try {
    open_search(plan, search);
    return {};
  } catch (const std::runtime_error& problem) {  // damaged, or not to be read
    return problem.what();
  }
}

int search_planned_slice(const ShardPlan& plan, std::uint64_t search, const RunOptions& flags,
                         bool json, const CLI::App& verb, const Context& context) {
  const auto start = std::chrono::steady_clock::now();
  const std::string path = path_of_search(plan, search);
  if (is_searched(plan, search)) {
    try {
      const std::uint64_t entries = open_search(plan, search)->entries();
      tell_search(plan, search, entries, true, seconds_since(start), json);
      return 0;
    } catch (const InputError& problem) {
      fmt::print(stderr, "note: {}\nnote: the slice is searched again\n", problem.what());
    }
  }
  plan.check_sizes();
  const PlannedShard& shard = plan.shards[search / plan.slices.size()];
  RunRequest request = plan.request(verb, flags);
  request.miner.slice = slice_of_search(plan, search);
  MiningRun run(std::move(request), plan.rows_per_shard, path, context);
  plan.check_inputs(run);
  const std::optional<TakeOver> passed_over = plan.passed_over();
  RowFeed feed(*run.inputs, *run.miner, run.request.recipe.k, shard.first_row, shard.end_row,
               nullptr, passed_over ? &*passed_over : nullptr, 0,
               run.request.miner.host_memory / kStretchShare);
  SliceFileWriter writer(plan.outputs, plan.search_file(search));
  Progress progress("rows", shard.rows);
  std::uint64_t rows = 0;
  feed.find(
      [&](const FoundLists& lists, const std::uint64_t* row_key) {
        writer.append(lists, row_key);
        rows += lists.num_rows;
        progress.update(rows);
      },
      context.stop);
  check_unchanged(*run.inputs);
  const Json about = {{"plan", plan.hash}, {"search", search}, {"seconds", seconds_since(start)}};
  writer.commit(about.dump());
  tell_search(plan, search, writer.entries(), false, seconds_since(start), json);
  return 0;
}

std::shared_ptr<const SlicedLists> lists_of_shard(const ShardPlan& plan, std::uint64_t shard,
                                                  std::vector<std::uint64_t>& missing,
                                                  std::string& words) {
  auto open = std::make_shared<OpenSearches>();
  std::vector<SliceLists> lists;
  for (std::uint64_t s = 0; s < plan.slices.size(); ++s) {
    const std::uint64_t search = shard * plan.slices.size() + s;
    if (!is_searched(plan, search)) {
      missing.push_back(search);
      continue;
    }
    try {
      open->files.push_back(open_search(plan, search));
      lists.push_back(open->files.back()->lists());
    } catch (const InputError& problem) {
      const std::string aside = move_damaged_part_aside(plan.outputs, plan.search_file(search));
      words += fmt::format("note: {}\nnote: it is now {}\n", problem.what(), aside);
      missing.push_back(search);
    }
  }
  if (!missing.empty()) return nullptr;
  try {
    open->lists = std::make_unique<SlicedLists>(std::move(lists));
  } catch (const InputError& problem) {
    throw InputError(fmt::format("{}: {}; delete the files {}.items-* and search them again",
                                 plan.outputs, problem.what(), plan.shards[shard].name));
  }
  return {open, open->lists.get()};
}

}  // namespace quarry
