// What is there of a plan.
#include "tools/quarry/planned_parts.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "host/store/files.h"
#include "host/store/unfinished.h"
#include "tools/quarry/search_slice.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMostPartBytes = 256ull << 20;

/// `part` of a manifest, compared with the plan.
double check_part_json(const ShardPlan& plan, std::uint64_t id, const std::string& where,
                       const Json& part) {
  if (!part.is_object() || part.value("plan", Json()) != plan.hash ||
      part.value("shard", Json()) != id) {
    throw ForeignPart(fmt::format(
        "{}: is not shard {} of {} but of another plan, or another shard; nothing of it is used, "
        "move it away",
        where, id, plan.file));
  }
  const Json seconds = part.value("seconds", Json());
  return seconds.is_number() ? seconds.get<double>() : 0;
}

/// Those that a shard is to be mined from.
void look_at_searches(const ShardPlan& plan, std::uint64_t id, bool verify, PlanState& state) {
  for (std::uint64_t s = 0; s < plan.slices.size(); ++s) {
    const std::uint64_t search = id * plan.slices.size() + s;
    const bool there = is_searched(plan, search);
    const std::string damage = there && verify ? damage_of_search(plan, search) : "";
    if (there && damage.empty()) continue;
    state.searches_missing.push_back(search);
    if (there) state.damages.push_back(fmt::format("search {}: {}", search, damage));
  }
}

}  // namespace

void check_part(const ShardPlan& plan, std::uint64_t id, const RunPart& part) {
  check_part_json(plan, id, part.set().path(), Json::parse(part.about()));
  const PlannedShard& shard = plan.shards[id];
  if (part.set().rows() != shard.rows || part.set().k() != plan.k) {
    throw InputError(fmt::format("{}: has {} rows of {} negatives, the plan's shard has {} of {}",
                                 part.set().path(), part.set().rows(), part.set().k(), shard.rows,
                                 plan.k));
  }
}

PlanState state_of_plan(const ShardPlan& plan, bool verify, const std::atomic<bool>* stop) {
  PlanState state;
  for (std::uint64_t id = 0; id < plan.shards.size(); ++id) {
    if (stop->load()) throw Cancelled("stopped while looking at shards; nothing was written");
    const PlannedShard& shard = plan.shards[id];
    if (!RunPart::is_there(plan.outputs, shard.name)) {
      state.missing.push_back(id);
      look_at_searches(plan, id, verify, state);
      continue;
    }
    try {
      const std::string path = plan.outputs + "/" + shard.name;
      const std::string file = path + "/manifest.json";
      const Json manifest = Json::parse(read_text(file, kMostPartBytes), nullptr, false);
      if (!manifest.is_object()) throw InputError(file + ": is not JSON; it is damaged");
      const double seconds =
          check_part_json(plan, id, path, manifest.value("part", Json::object()));
      if (verify) check_part(plan, id, RunPart(plan.outputs, shard.name, true));
      state.seconds += seconds;
      state.rows_done += shard.rows;
    } catch (const ForeignPart&) {
      throw;
    } catch (const std::runtime_error& error) {  // damaged, or not to be read
      state.damages.push_back(fmt::format("shard {}: {}", id, error.what()));
      state.missing.push_back(id);
      look_at_searches(plan, id, verify, state);
    }
  }
  state.unfinished = unfinished_parts(plan.outputs, plan.hash.substr(0, 16) + "-");
  return state;
}

std::string array_expression(const std::vector<std::uint64_t>& ids) {
  std::string text;
  for (std::size_t i = 0; i < ids.size();) {
    std::size_t end = i + 1;
    while (end < ids.size() && ids[end] == ids[end - 1] + 1) ++end;
    text += (text.empty() ? "" : ",") + std::to_string(ids[i]);
    if (end > i + 1) text += "-" + std::to_string(ids[end - 1]);
    i = end;
  }
  return text;
}

}  // namespace quarry
