// Tables and sizes of the branches' sources: depths, capacities, run lists, draw spaces.
#include "host/mine/compile_sources.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <string>
#include <utility>

#include "host/mine/draw_space.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

/// The most events of one user that the branch may take.
std::uint32_t most_exposed(const Exposure& exposure, std::uint32_t num_users, const Branch& b) {
  std::uint32_t most = 0;
  for (std::uint32_t u = 0; u < num_users; ++u) {
    std::uint32_t wanted = 0;
    for (std::uint64_t i = exposure.offsets[u]; i < exposure.offsets[u + 1]; ++i) {
      wanted += (b.class_mask >> exposure.classes[i] & 1u) != 0 && exposure.last_time[i] >= b.oldest
                    ? 1
                    : 0;
    }
    most = std::max(most, wanted);
  }
  return most;
}

RunLists run_lists(const Exec& exec, const PairValues& values, std::uint32_t num_users) {
  RunLists run{values.offsets, std::vector<std::uint32_t>(values.items.size())};
  const auto before = [&](std::uint64_t a, std::uint64_t b) {
    return values.values[a] != values.values[b] ? values.values[a] > values.values[b]
                                                : values.items[a] < values.items[b];
  };
  parallel_for(exec, num_users, 256, [&](std::uint64_t from, std::uint64_t to) {
    std::vector<std::uint64_t> order;
    for (std::uint64_t u = from; u < to; ++u) {
      order.resize(values.offsets[u + 1] - values.offsets[u]);
      std::iota(order.begin(), order.end(), values.offsets[u]);
      std::sort(order.begin(), order.end(), before);
      for (std::size_t i = 0; i < order.size(); ++i)
        run.items[values.offsets[u] + i] = values.items[order[i]];
    }
  });
  return run;
}

std::uint32_t longest(const RunLists& run, std::uint32_t num_users) {
  std::uint32_t most = 0;
  for (std::uint32_t u = 0; u < num_users; ++u)
    most = std::max(most, static_cast<std::uint32_t>(run.offsets[u + 1] - run.offsets[u]));
  return most;
}

}  // namespace

void SourceCompiler::compile(const BranchSpec& spec, std::span<const Filter> filters, Branch& b) {
  const std::uint32_t num_items = out_.world.num_items;
  const std::uint32_t num_users = out_.world.num_users;
  out_.runs.push_back(nullptr);
  std::optional<double> beta;
  if (b.source == SourceKind::kPopularity || spec.source.popularity_base) beta = spec.source.beta;
  switch (b.source) {
    case SourceKind::kTopk: {
      const std::uint64_t reach = std::min<std::uint64_t>({b.pool, b.max_rank, num_items});
      out_.topk_depth = std::max(out_.topk_depth, static_cast<std::uint32_t>(reach));
      break;
    }
    case SourceKind::kUniform:
    case SourceKind::kPopularity:
      b.draw = draw_space(filters, beta, out_.plan.has_quota != 0);
      break;
    case SourceKind::kPool:
      if (b.draws > num_items) b.draws = num_items;
      b.draw = draw_space(filters, beta, false);
      b.capacity = b.draws;
      break;
    case SourceKind::kExposed:
      if (in_.exposure != nullptr) {
        const std::string name =
            "most exposed " + std::to_string(b.class_mask) + " " + std::to_string(b.oldest);
        b.capacity = out_.placement.share<std::uint32_t>(
            name, [&](Placement&) { return most_exposed(*in_.exposure, num_users, b); });
      }
      break;
    case SourceKind::kRun: {
      const std::string who = "branch '" + spec.name + "'";
      const std::string& name = spec.source.table;
      const RunLists& run = out_.placement.share<RunLists>("run lists " + name, [&](Placement&) {
        return run_lists(exec_, tables_.pair_values(name, who), num_users);
      });
      out_.runs.back() = &run;
      b.table = tables_.pair_table(name, who);
      out_.world.runs[b.table] = {
          out_.placement.borrow("run offsets " + name, run.offsets.data(), run.offsets.size()),
          out_.placement.borrow("run items " + name, run.items.data(), run.items.size())};
      b.capacity = longest(run, num_users);
      break;
    }
    case SourceKind::kBatch:
    case SourceKind::kQueue:
      break;  // as many as the caller brings
    case SourceKind::kNear:
      b.draws = std::min(b.draws, num_items);
      b.capacity = b.draws;
      break;
  }
}

/// All that the space depends on besides the inputs.
std::string SourceCompiler::name_of(const DrawSpaceKey& key) const {
  std::string name = "draws";
  if (key.beta) name += " beta " + std::to_string(std::bit_cast<std::uint64_t>(*key.beta));
  if (key.timed) name += " timed";
  name += name_part(key.stratified ? strata_ : "");
  std::set<std::string> lists;  // their places differ between recipes
  for (const std::uint8_t list : key.lists) lists.insert(tables_.user_list_name(list));
  for (const std::string& list : lists) name += name_part(list);
  return name;
}

/// The space of a draw branch, shared by branches with the same lists, weights and cut.
std::uint32_t SourceCompiler::draw_space(std::span<const Filter> filters,
                                         std::optional<double> beta, bool stratified) {
  DrawSpaceKey key{{}, beta, false, stratified};
  for (const Filter& f : filters) {
    if (f.kind == FilterKind::kPositives || f.kind == FilterKind::kUserList)
      key.lists.insert(f.table);
    key.timed = key.timed || f.kind == FilterKind::kTime;
  }
  key.timed = key.timed && in_.catalogue != nullptr && !in_.catalogue->first_seen.empty();
  const auto known = std::find(spaces_.begin(), spaces_.end(), key);
  if (known != spaces_.end()) return static_cast<std::uint32_t>(known - spaces_.begin());
  const auto index = static_cast<std::uint32_t>(spaces_.size());
  if (index == kMaxDrawSpaces) throw ConfigError("at most 6 different draw sources in one recipe");
  DrawSpaceSpec spec;
  spec.num_items = out_.world.num_items;
  spec.num_users = out_.world.num_users;
  spec.snapshot = &out_.snapshot;
  spec.beta = beta;
  if (key.timed) spec.first_seen = out_.world.first_seen;
  if (stratified) {
    spec.stratum = out_.world.stratum;
    spec.num_strata = out_.world.num_strata;
  }
  for (const std::uint8_t list : key.lists) spec.excluded.push_back(tables_.user_list(list));
  out_.world.draws[index] = out_.placement.share<DrawSpace>(
      name_of(key), [&](Placement& arrays) { return make_draw_space(exec_, spec, arrays); });
  spaces_.push_back(std::move(key));
  return index;
}

}  // namespace quarry
