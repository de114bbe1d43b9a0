// Explaining one item of one row.
#include "host/mine/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "host/mine/explain_filter.h"
#include "host/mine/state.h"
#include "kernels/core/errors.h"
#include "kernels/exclude/exclude_row.h"
#include "kernels/sample/draw_row.h"
#include "kernels/score/score_row.h"
#include "kernels/select/select_row.h"

namespace quarry {
namespace {

/// All candidates of a branch for the row, in the order of the contract.
struct CandidateList {
  std::vector<std::uint32_t> items;
  std::vector<float> scores;
  std::vector<std::uint32_t> raw_rank;  ///< empty: place + 1
};

class Explainer {
 public:
  Explainer(Miner& miner, const RowsView& row, std::uint32_t item, const ExplainNames& names)
      : miner_(miner),
        state_(miner.state()),
        world_(state_.compiled->world),
        plan_(state_.compiled->plan),
        rows_(row),
        names_(names) {
    if (item >= world_.num_items)
      throw InputError(fmt::format("item index {} does not exist", item));
    if (state_.options.exec.device != Device::kCpu)
      throw ConfigError("rows are explained on the CPU; give --device cpu");
    out_.item = item;
    make_context();
  }

  Explanation run() {
    miner_.mine(rows_, [this](const NegativeBatch& batch) { out_.row = batch; });
    out_.row_key = context_.key;
    out_.user = context_.user;
    out_.score = score_of(out_.item);
    out_.num_positives = context_.num_positives;
    out_.positive_min = positive_scores_[0];
    out_.positive_max = positive_scores_[1];
    out_.positive_mean = positive_scores_[2];
    out_.positive_random = positive_scores_[3];
    const auto strata = miner_.stratum_names();
    out_.stratum = strata[stratum_of(world_, out_.item)];
    find_slot();
    rooms(strata);
    for (std::uint32_t b = 0; b < plan_.num_branches; ++b) out_.branches.push_back(judge(b));
    conclude();
    return std::move(out_);
  }

 private:
  void make_context() {
    query_.resize(world_.dim);
    const std::uint32_t user = rows_.user[0];
    if (rows_.queries != nullptr) {
      const MatrixView view{rows_.queries, 1, world_.dim, Dtype::kF32};
      prepare_rows(view, 0, 1, world_.metric == Metric::kCosine, query_.data());
    } else {
      prepare_rows(state_.inputs.users, user, std::uint64_t{user} + 1,
                   world_.metric == Metric::kCosine, query_.data());
    }
    context_.key = rows_.key[0];
    context_.user = user;
    context_.segment = rows_.segment != nullptr ? rows_.segment[0] : 0;
    context_.time = rows_.time != nullptr ? rows_.time[0] : INT64_MAX;
    if (context_.time == INT64_MAX) context_.time = world_.as_of;
    context_.query = query_.data();
    context_.positives = nullptr;
    context_.num_positives = 0;
    if (rows_.positive_offsets != nullptr) {
      context_.positives = rows_.positives + rows_.positive_offsets[0];
      context_.num_positives =
          static_cast<std::uint32_t>(rows_.positive_offsets[1] - rows_.positive_offsets[0]);
    }
    positive_scores_row(
        plan_, context_, [this](std::uint32_t item) { return score_of(item); }, positive_scores_);
    context_.positive_scores = positive_scores_;
  }

  float score_of(std::uint32_t item) const {
    return exact_score(world_.metric, query_.data(),
                       world_.items + std::uint64_t{item} * world_.dim, world_.dim);
  }

  void find_slot() {
    for (std::uint32_t j = 0; j < out_.row.count[0]; ++j) {
      if (out_.row.item[j] != out_.item) continue;
      out_.slot = static_cast<int>(j);
      out_.picked_by = miner_.branch_names()[out_.row.branch[j]];
      return;
    }
  }

  /// Strata and caps that the item would have to fit into.
  void rooms(const std::vector<std::string>& strata) {
    if (plan_.has_quota != 0) {
      const std::uint32_t stratum = stratum_of(world_, out_.item);
      RoomVerdict room{"stratum " + strata[stratum], 0, 0, false};
      for (std::uint32_t j = 0; j < plan_.k; ++j) {
        if (out_.row.stratum[j] != stratum) continue;
        ++room.limit;
        if (j < out_.row.count[0]) ++room.taken;
      }
      room.full = room.taken == room.limit;
      out_.rooms.push_back(room);
    }
    for (std::uint32_t c = 0; c < plan_.num_caps; ++c) {
      const std::uint32_t* codes =
          world_.columns + std::uint64_t{plan_.caps[c].column} * world_.num_items;
      const std::uint32_t code = codes[out_.item];
      if (code == 0) continue;
      const std::string& name = state_.recipe.caps[c].column;
      const CatalogueColumn* column = state_.inputs.catalogue->find(name);
      RoomVerdict room{fmt::format("cap on {} '{}'", name, column->names[code]), 0,
                       plan_.caps[c].per_row, false};
      for (std::uint32_t j = 0; j < out_.row.count[0]; ++j) {
        if (codes[out_.row.item[j]] == code) ++room.taken;
      }
      room.full = room.taken >= room.limit;
      out_.rooms.push_back(room);
    }
  }

  void order_by_key(CandidateList& list, bool keep_place) const {
    std::vector<SortEntry> entries(list.items.size());
    list.scores.resize(list.items.size());
    if (keep_place) list.raw_rank.resize(list.items.size());
    SoloGroup g;
    score_and_order_row(g, world_, query_.data(), static_cast<std::uint32_t>(list.items.size()),
                        list.items.data(), list.scores.data(),
                        keep_place ? list.raw_rank.data() : nullptr, entries.data());
  }

  CandidateList candidates(std::uint32_t b) const {
    const Branch& branch = plan_.branches[b];
    CandidateList list;
    switch (branch.source) {
      case SourceKind::kTopk:
        list.items.resize(world_.num_items);
        for (std::uint32_t i = 0; i < world_.num_items; ++i) list.items[i] = i;
        order_by_key(list, false);
        break;
      case SourceKind::kExposed: {
        const Exposure* e = state_.inputs.exposure;
        for (std::uint64_t i = e != nullptr ? e->offsets[context_.user] : 0;
             e != nullptr && i < e->offsets[context_.user + 1]; ++i) {
          if ((branch.class_mask >> e->classes[i] & 1u) != 0 && e->last_time[i] >= branch.oldest) {
            list.items.push_back(e->items[i]);
          }
        }
        order_by_key(list, false);
        break;
      }
      case SourceKind::kPool: {
        list.items.resize(branch.draws);
        std::vector<std::uint64_t> area(sample_row_bytes(branch.draws) / sizeof(std::uint64_t) + 1);
        const SampleScratch scratch = sample_scratch_at(area.data(), 0, branch.draws);
        SoloGroup g;
        list.items.resize(
            pool_draws_row(g, world_, plan_, branch, context_, scratch, list.items.data()));
        order_by_key(list, branch.select == SelectKind::kFirstViolator);
        break;
      }
      case SourceKind::kRun: {
        const RunLists& run = *state_.compiled->runs[b];
        list.items.assign(
            run.items.begin() + static_cast<std::ptrdiff_t>(run.offsets[context_.user]),
            run.items.begin() + static_cast<std::ptrdiff_t>(run.offsets[context_.user + 1]));
        score_in_place(list);
        break;
      }
      case SourceKind::kNear:
        near_positives(branch, list);
        score_in_place(list);
        break;
      case SourceKind::kUniform:
      case SourceKind::kPopularity:
        break;
      case SourceKind::kBatch:
      case SourceKind::kQueue:
        break;  // refused before: a table's row has no batch
    }
    return list;
  }

  void score_in_place(CandidateList& list) const {
    list.scores.resize(list.items.size());
    for (std::size_t j = 0; j < list.items.size(); ++j) list.scores[j] = score_of(list.items[j]);
  }

  void near_positives(const Branch& branch, CandidateList& list) const {
    if (context_.num_positives == 0) return;
    const float* rows = state_.compiled->host_unit_items;
    std::vector<std::pair<float, std::uint32_t>> all(world_.num_items);
    for (std::uint32_t i = 0; i < world_.num_items; ++i) {
      float best = -std::numeric_limits<float>::infinity();
      for (std::uint32_t p = 0; p < context_.num_positives; ++p) {
        best = std::max(
            best, exact_dot(rows + std::uint64_t{i} * world_.dim,
                            rows + std::uint64_t{context_.positives[p]} * world_.dim, world_.dim));
      }
      all[i] = {-best, i};
    }
    std::sort(all.begin(), all.end());
    all.resize(std::min<std::size_t>(all.size(), branch.draws));
    for (const auto& entry : all) list.items.push_back(entry.second);
  }

  BranchVerdict judge(std::uint32_t b) {
    const Branch& branch = plan_.branches[b];
    BranchVerdict v;
    v.branch = miner_.branch_names()[b];
    v.sampled = is_sampled(branch);
    for (std::uint32_t j = 0; j < out_.row.count[0]; ++j)
      v.picked += out_.row.branch[j] == b ? 1 : 0;
    if (is_draw(branch)) {
      judge_draw(b, v);
    } else {
      judge_list(b, v);
    }
    const bool by_this =
        out_.slot >= 0 && out_.row.branch[static_cast<std::size_t>(out_.slot)] == b;
    if (by_this) v.outcome = fmt::format("picked as negative {} of the row", out_.slot + 1);
    return v;
  }

  void judge_draw(std::uint32_t b, BranchVerdict& v) {
    const Branch& branch = plan_.branches[b];
    const DrawSpace& space = world_.draws[branch.draw];
    SoloGroup g;
    const std::uint64_t total = total_draw_weight(g, space, context_);
    const std::uint64_t own = draw_weight(space, context_, out_.item);
    v.candidate = own > 0;
    v.num_candidates = space.size;
    v.draw_probability =
        total > 0 ? static_cast<float>(static_cast<double>(own) / static_cast<double>(total)) : 0;
    v.source = branch.source == SourceKind::kUniform ? "uniform draws" : "draws by popularity";
    filters(b, {out_.item, out_.score, 0, 0}, v);
    if (!is_finite(out_.score)) {
      v.outcome = "its score is not finite";
    } else if (v.rejected_by >= 0) {
      v.outcome = "rejected by " + v.filters[static_cast<std::size_t>(v.rejected_by)].filter;
    } else if (!v.candidate) {
      v.outcome = "not in the space that this user's draws come from";
    } else {
      v.outcome = fmt::format("could be drawn, with probability {:.3g} per draw; {}",
                              v.draw_probability, lost_words());
    }
  }

  void judge_list(std::uint32_t b, BranchVerdict& v) {
    const Branch& branch = plan_.branches[b];
    const CandidateList list = candidates(b);
    static constexpr const char* kSources[] = {"nearest items of the user",
                                               "",
                                               "",
                                               "random pool",
                                               "exposed items of the user",
                                               "items of a named run",
                                               "items near the positives"};
    v.source = kSources[static_cast<std::size_t>(branch.source)];
    v.num_candidates = list.items.size();
    const auto count = static_cast<std::uint32_t>(list.items.size());
    const auto at = std::find(list.items.begin(), list.items.end(), out_.item);
    v.candidate = at != list.items.end();
    if (!v.candidate) {
      filters(b, {out_.item, out_.score, 0, 0}, v);
      v.outcome = branch.source == SourceKind::kPool
                      ? fmt::format("not among the {} items that were drawn for this row", count)
                      : "the source does not offer it";
      return;
    }
    const auto place = static_cast<std::uint32_t>(at - list.items.begin());
    v.raw_rank = list.raw_rank.empty() ? place + 1 : list.raw_rank[place];
    select_list(b, list, count, place, v);
  }

  /// Runs exclude and select over the whole list, as the engine does over its prefix.
  void select_list(std::uint32_t b, const CandidateList& list, std::uint32_t count,
                   std::uint32_t place, BranchVerdict& v) {
    const Branch& branch = plan_.branches[b];
    const std::uint32_t* raw = list.raw_rank.empty() ? nullptr : list.raw_rank.data();
    SoloGroup g;
    std::vector<std::uint8_t> reasons(count);
    exclude_row(g, world_, plan_, branch, context_, list.items.data(), list.scores.data(), raw,
                count, reasons.data());
    if (reasons[place] == 0) {
      v.survivor_rank =
          static_cast<std::uint32_t>(std::count(reasons.begin(), reasons.begin() + place + 1, 0));
    }
    filters(b, {out_.item, out_.score, v.raw_rank, v.survivor_rank}, v);

    const std::size_t capacity = std::max<std::size_t>(count, plan_.k);
    std::vector<std::uint32_t> pool_place(capacity), pool_rank(capacity), order(capacity);
    std::vector<float> log_weights(capacity), keys(capacity);
    std::vector<SortEntry> entries(capacity);
    std::vector<std::uint64_t> sums(capacity);
    const OrderRow slices{pool_place.data(), pool_rank.data(), log_weights.data(), order.data(),
                          keys.data()};
    float log_total = 0;
    const PoolEnd end = select_row(g, world_, plan_, branch, context_, list.items.data(),
                                   list.scores.data(), raw, count, reasons.data(),
                                   {entries.data(), sums.data()}, slices, &v.ordered, &log_total);
    v.pool_size = end.pool_size;
    const auto member = std::find(pool_place.begin(), pool_place.begin() + end.pool_size, place);
    v.in_pool = member != pool_place.begin() + end.pool_size;
    if (v.in_pool) {
      const auto index = static_cast<std::uint32_t>(member - pool_place.begin());
      v.log_weight = log_weights[index];
      for (std::uint32_t i = 0; i < v.ordered && v.place == 0; ++i) {
        if (order[i] != index) continue;
        v.place = i + 1;
        v.sampling_key = keys[i];
      }
    }
    describe_list(branch, count, place, v);
  }

  void describe_list(const Branch& branch, std::uint32_t count, std::uint32_t place,
                     BranchVerdict& v) const {
    if (!is_finite(out_.score)) {
      v.outcome = "its score is not finite";
    } else if (v.rejected_by >= 0) {
      v.outcome = "rejected by " + v.filters[static_cast<std::size_t>(v.rejected_by)].filter;
    } else if (place >= place_limit(branch, count)) {
      v.outcome = fmt::format("rank {} is beyond max_rank {}", place + 1, branch.max_rank);
    } else if (!v.in_pool) {
      v.outcome = fmt::format("survives, but the pool of {} is full before it (survivor rank {})",
                              v.pool_size, v.survivor_rank);
    } else if (v.place == 0) {
      v.outcome = "in the pool, but the selection does not take it";
    } else {
      v.outcome = fmt::format(
          "in the pool, place {} of {} in the order of selection; the branch gave {} negatives; {}",
          v.place, v.ordered, v.picked, lost_words());
    }
  }

  std::string lost_words() const {
    for (const RoomVerdict& room : out_.rooms) {
      if (room.full) return fmt::format("{} is full ({} of {})", room.what, room.taken, room.limit);
    }
    return out_.row.count[0] == plan_.k ? "the row was full before its turn"
                                        : "the row is short, yet it was not reached";
  }

  void filters(std::uint32_t b, const CandidateFacts& facts, BranchVerdict& v) const {
    const Branch& branch = plan_.branches[b];
    const auto names = miner_.filter_names(b);
    const std::size_t num_safety = state_.recipe.safety.size();
    for (std::uint32_t i = 0; i < branch.num_filters; ++i) {
      const Filter& f = plan_.filters[branch.first_filter + i];
      const FilterSpec& spec = i < num_safety ? state_.recipe.safety[i]
                                              : state_.recipe.branches[b].filters[i - num_safety];
      FilterVerdict verdict;
      verdict.filter = names[i];
      verdict.rejects = rejects(world_, f, context_, facts.item, facts.score, facts.raw_rank);
      const bool unranked = (f.kind == FilterKind::kRawRank && facts.raw_rank == 0) ||
                            (f.kind == FilterKind::kSurvivorRank && facts.survivor_rank == 0);
      if (unranked) {  // draws have no rank, what another filter rejects has none among survivors
        verdict.judged = false;
        verdict.rejects = false;
      }
      if (f.kind == FilterKind::kSurvivorRank && facts.survivor_rank != 0) {
        verdict.rejects = facts.survivor_rank < f.lo || facts.survivor_rank > f.hi;
      }
      verdict.because = filter_reason(state_, spec, f, context_, facts, names_);
      if (verdict.rejects && v.rejected_by < 0 && f.kind != FilterKind::kSurvivorRank) {
        v.rejected_by = static_cast<int>(i);
      }
      v.filters.push_back(std::move(verdict));
    }
    // The survivor window is judged after all others, wherever it stands.
    for (std::uint32_t i = 0; i < branch.num_filters && v.rejected_by < 0; ++i) {
      if (v.filters[i].rejects) v.rejected_by = static_cast<int>(i);
    }
  }

  void conclude() {
    if (out_.slot >= 0) {
      out_.verdict =
          fmt::format("{} is negative {} of {} of this row, from branch '{}'",
                      names_.item(out_.item), out_.slot + 1, out_.row.count[0], out_.picked_by);
      return;
    }
    const bool all_reject = std::all_of(out_.branches.begin(), out_.branches.end(),
                                        [](const BranchVerdict& v) { return v.rejected_by >= 0; });
    out_.verdict = names_.item(out_.item) + " is not a negative of this row: ";
    if (all_reject) {
      const BranchVerdict& first = out_.branches.front();
      const FilterVerdict& filter = first.filters[static_cast<std::size_t>(first.rejected_by)];
      out_.verdict += fmt::format("every branch rejects it, '{}' by {} ({})", first.branch,
                                  filter.filter, filter.because);
      return;
    }
    for (const BranchVerdict& v : out_.branches) {
      out_.verdict +=
          fmt::format("{}'{}': {}", &v == &out_.branches.front() ? "" : "; ", v.branch, v.outcome);
    }
  }

  Miner& miner_;
  const Miner::State& state_;
  const World& world_;
  const Plan& plan_;
  RowsView rows_;
  const ExplainNames& names_;
  std::vector<float> query_;
  float positive_scores_[kNumPositiveScores] = {};
  RowContext context_ = {};
  Explanation out_;
};

}  // namespace

Explanation explain(Miner& miner, const RowsView& row, std::uint32_t item,
                    const ExplainNames& names) {
  QUARRY_CHECK(row.num_rows == 1);
  return Explainer(miner, row, item, names).run();
}

}  // namespace quarry
