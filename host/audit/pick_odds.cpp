// Probabilities and thresholds of picks computed again.
#include "host/audit/pick_odds.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "host/audit/audit.h"
#include "host/audit/log_weight.h"
#include "host/audit/matched.h"
#include "host/audit/odds_tables.h"
#include "kernels/core/exact_math.h"
#include "kernels/core/exec.h"
#include "kernels/core/philox.h"

namespace quarry {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kNothing = -std::numeric_limits<float>::infinity();

/// Why the recipe's probabilities cannot be computed again; "" if they can.
std::string obstacle(const Recipe& recipe) {
  bool any = false;
  for (std::size_t b = 0; b < recipe.branches.size(); ++b) {
    const BranchSpec& branch = recipe.branches[b];
    if (!is_sampled_branch(branch)) continue;
    any = true;
    if (draws_items(branch)) continue;
    if (branch.source.kind == SourceKind::kPool || branch.source.kind == SourceKind::kNear) {
      return fmt::format(
          "Branch '{}' samples from a pool of draws or of near items, which is not "
          "computed again.",
          branch.name);
    }
    for (const FilterSpec* f : filters_of(recipe, b)) {
      if (f->type == FilterType::kSegment)
        return "The recipe has a filter segment, and a set does not hold the rows' segments.";
    }
  }
  return any ? "" : "No branch of the recipe samples.";
}

std::string kappa_obstacle(const Recipe& recipe) {
  if (recipe.quota && recipe.quota->redistribute)
    return "The quota is redistributed: what was left of a stratum is not in the set.";
  if (std::none_of(recipe.branches.begin(), recipe.branches.end(), samples_by_keys))
    return "No branch samples by keys from a list.";
  return "";
}

bool same_bits(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || bits_of_float(a) == bits_of_float(b);
}

/// A pool of a branch that samples from a list.
struct Pool {
  struct Entry {
    JudgedItem item;
    float phi = 0, noisy = 0;
    std::uint64_t key = 0;  ///< of sampling
  };
  std::vector<Entry> entries;                    ///< in key order
  std::map<std::uint32_t, std::size_t> of_item;  ///< place in entries
  float log_total = kNothing;
};

/// Of one row at a time; one object per thread.
class RowOdds {
 public:
  explicit RowOdds(const OddsTables& tables)
      : o_(tables), t_(tables.t), judge_(t_), pools_(t_.recipe.branches.size()) {}

  void look(const NegativeSet::Row& row, std::uint64_t index, OddsResult& out) {
    row_ = row;
    time_ = row.time == INT64_MAX ? t_.as_of : row.time;
    judge_.begin(row.user, row.time, row.row_key, row.positives);
    ++out.rows;
    rank();
    for (std::size_t b = 0; b < pools_.size(); ++b) make_pool(b);
    find_space();
    for (std::uint32_t j = 0; j < row.count; ++j) {
      ++out.logqs;
      const float expected = logq_of(row.item[j], row.branch[j]);
      if (same_bits(expected, row.logq[j])) continue;
      if (out.wrong_logqs++ == 0) {
        out.first_logq =
            fmt::format("slot {} of row {} says {}, it is {}", j, index, row.logq[j], expected);
      }
    }
    if (o_.kappas) compare_kappas(index, out);
  }

 private:
  void rank() {
    keys_.resize(t_.num_items);
    for (std::uint32_t item = 0; item < t_.num_items; ++item)
      keys_[item] = score_key(judge_.score(item), item);
    std::sort(keys_.begin(), keys_.end(), std::greater<>());
  }

  /// Upper end of a window in ranks.
  std::uint64_t end_of(const RankWindow& window) const {
    constexpr std::uint64_t kMillion = 1000000;
    return window.quantile ? window.hi * t_.snapshot_items / kMillion : window.hi;
  }

  /// The keys of what a branch may look at, in the order of its source.
  void list_candidates(const BranchSpec& branch) {
    candidates_.clear();
    if (branch.source.kind == SourceKind::kTopk) {
      candidates_ = keys_;
    } else if (branch.source.kind == SourceKind::kExposed) {
      FilterSpec classes;
      classes.type = FilterType::kExposed;
      classes.classes = branch.source.classes;
      classes.max_age = branch.source.max_age;
      for (const std::uint32_t item : judge_.known_items()) {
        if (judge_.rejects(classes, {item, 0, 0, 0}))
          candidates_.push_back(score_key(judge_.score(item), item));
      }
      std::sort(candidates_.begin(), candidates_.end(), std::greater<>());
    } else {
      for (const std::uint32_t item : items_by_value(t_, branch.source.table, row_.user))
        candidates_.push_back(score_key(judge_.score(item), item));
    }
  }

  void make_pool(std::size_t b) {
    const BranchSpec& branch = t_.recipe.branches[b];
    Pool& pool = pools_[b];
    pool.entries.clear();
    pool.of_item.clear();
    if (!is_sampled_branch(branch) || draws_items(branch)) return;
    const std::vector<const FilterSpec*> filters = filters_of(t_.recipe, b);
    list_candidates(branch);
    const bool searches = branch.source.kind == SourceKind::kTopk && !branch.source.all;
    std::uint64_t limit = candidates_.size();
    if (searches) limit = std::min<std::uint64_t>(limit, branch.source.max_rank);
    for (const FilterSpec* f : filters) {
      if (f->type == FilterType::kRank && !f->window.survivors)
        limit = std::min(limit, end_of(f->window));
    }
    const std::uint64_t room = searches ? branch.source.pool : UINT64_MAX;
    std::uint32_t survivors = 0;
    for (std::uint32_t place = 0; place < limit && pool.entries.size() < room; ++place) {
      JudgedItem c{item_of_key(candidates_[place]), score_of_key(candidates_[place]), place + 1, 0};
      if (!std::isfinite(c.score) || judge_.is_row_positive(c.item)) continue;
      const auto rejects = [&](bool of_survivors) {
        return std::any_of(filters.begin(), filters.end(), [&](const FilterSpec* f) {
          const bool window = f->type == FilterType::kRank && f->window.survivors;
          return window == of_survivors && judge_.rejects(*f, c);
        });
      };
      if (rejects(false)) continue;
      c.survivor_rank = ++survivors;
      if (rejects(true)) continue;
      pool.of_item[c.item] = pool.entries.size();
      pool.entries.push_back(entry_of(b, c));
    }
    total_up(pool);
  }

  Pool::Entry entry_of(std::size_t b, const JudgedItem& c) {
    const PhiloxWords words = random_words({t_.seed, t_.round}, row_.row_key, c.item,
                                           o_.branch_hash[b], Purpose::kSamplingKey);
    Pool::Entry entry;
    entry.item = c;
    entry.phi = log_weight_of(t_, judge_, t_.recipe.branches[b], row_.user, c);
    entry.noisy = entry.phi + gumbel(words.z[0]);
    entry.key = std::uint64_t{ordered(entry.noisy)} << 32 | words.z[1];
    return entry;
  }

  static void total_up(Pool& pool) {
    float most = kNothing;
    for (const Pool::Entry& e : pool.entries) most = std::max(most, e.phi);
    std::vector<float> e;
    for (const Pool::Entry& entry : pool.entries) e.push_back(exact_exp(entry.phi - most));
    for (std::size_t w = e.size() < 2 ? 0 : std::bit_floor(e.size() - 1); w >= 1; w /= 2) {
      for (std::size_t i = 0; i < w && i + w < e.size(); ++i) e[i] += e[i + w];
    }
    pool.log_total = most + exact_log(e.empty() ? 0.0f : e[0]);
  }

  /// Whether the user's lists take an item out of what a branch draws from.
  bool is_taken_out(std::size_t b, std::uint32_t item) {
    for (const FilterSpec* f : filters_of(t_.recipe, b)) {
      if (f->type == FilterType::kPositives && judge_.is_user_positive(item)) return true;
      if (f->type == FilterType::kExposed && judge_.rejects(*f, {item, 0, 0, 0})) return true;
    }
    return false;
  }

  bool is_there(const DrawTable& table, std::uint32_t item) const {
    return item < t_.snapshot_items && (!table.timed || t_.in.catalogue->first_seen[item] <= time_);
  }

  /// The weight that is left to the user of each draw branch.
  void find_space() {
    space_.assign(pools_.size(), 0);
    for (std::size_t b = 0; b < space_.size(); ++b) {
      const DrawTable& table = o_.draws[b];
      if (table.weight.empty()) continue;
      space_[b] = table.total;
      for (std::uint32_t i = 0; table.timed && i < t_.snapshot_items; ++i)
        space_[b] -= is_there(table, i) ? 0 : table.weight[i];
      for (const std::uint32_t item : judge_.known_items()) {
        if (is_there(table, item) && is_taken_out(b, item)) space_[b] -= table.weight[item];
      }
    }
  }

  float logq_of(std::uint32_t item, std::uint32_t by) {
    if (item >= t_.num_items || by >= pools_.size()) return kNan;  // said by other gates
    const BranchSpec& branch = t_.recipe.branches[by];
    if (!is_sampled_branch(branch)) return kNan;
    if (!draws_items(branch) && pools_[by].of_item.count(item) == 0)
      return kNan;  // beyond the pool
    float sum = kNothing;
    for (std::size_t b = 0; b < pools_.size(); ++b) {
      float log_p = kNothing;
      if (const DrawTable& table = o_.draws[b]; !table.weight.empty()) {
        if (!is_there(table, item) || is_taken_out(b, item)) continue;
        log_p = exact_log(static_cast<float>(table.weight[item]) / static_cast<float>(space_[b]));
      } else {
        const auto at = pools_[b].of_item.find(item);
        if (at == pools_[b].of_item.end()) continue;
        const float phi = pools_[b].entries[at->second].phi;
        if (phi == kNothing) continue;
        log_p = phi - pools_[b].log_total;
      }
      const float term = o_.log_expected[b] + log_p;
      const float high = std::max(sum, term);
      const float low = std::min(sum, term);
      sum = low == kNothing ? high : high + exact_log(1.0f + exact_exp(low - high));
    }
    return sum;
  }

  /// How many each branch takes first: systematic rounding of the shares.
  std::vector<std::uint64_t> wanted() const {
    std::uint64_t total = 0;
    for (const BranchSpec& b : t_.recipe.branches) total += b.share;
    const std::uint64_t offset =
        mulhi(as_u64(random_words({t_.seed, t_.round}, row_.row_key, 0, 0, Purpose::kBranchCounts)),
              total);
    std::vector<std::uint64_t> counts;
    std::uint64_t running = 0, before = 0;
    for (const BranchSpec& b : t_.recipe.branches) {
      running += b.share;
      const auto until = static_cast<std::uint64_t>(
          (static_cast<unsigned __int128>(t_.recipe.k) * running + offset) / total);
      counts.push_back(until - before);
      before = until;
    }
    return counts;
  }

  std::uint32_t stratum_of(std::uint32_t item) const {
    return o_.strata != nullptr ? o_.strata->of_item[item] : 0;
  }

  /// Takes a pick into account. What another gate refuses is left out.
  void note(std::uint32_t item) {
    if (item >= t_.num_items) return;
    picked_.push_back(item);
    if (left_[stratum_of(item)] > 0) --left_[stratum_of(item)];
  }

  bool is_acceptable(std::uint32_t item) const {
    if (left_[stratum_of(item)] == 0 ||
        std::find(picked_.begin(), picked_.end(), item) != picked_.end())
      return false;
    for (std::size_t c = 0; c < o_.caps.size(); ++c) {
      const CatalogueColumn* column = o_.caps[c];
      if (column == nullptr || column->codes[item] == 0) continue;
      const auto equal = std::count_if(picked_.begin(), picked_.end(), [&](std::uint32_t other) {
        return column->codes[other] == column->codes[item];
      });
      if (static_cast<std::uint64_t>(equal) >= t_.recipe.caps[c].per_row) return false;
    }
    return true;
  }

  /// The entries of a pool in the order of selection.
  std::vector<std::size_t> order_of(std::size_t b) const {
    const std::vector<Pool::Entry>& all = pools_[b].entries;
    std::vector<std::size_t> order(all.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    const bool best_first =
        t_.recipe.branches[b].select == SelectKind::kTop1Sample && !order.empty();
    if (best_first) {
      const auto best = std::max_element(order.begin(), order.end(), [&](auto x, auto y) {
        return score_key(all[x].item.score, all[x].item.item) <
               score_key(all[y].item.score, all[y].item.item);
      });
      std::iter_swap(order.begin(), best);
    }
    std::sort(order.begin() + (best_first ? 1 : 0), order.end(), [&](std::size_t x, std::size_t y) {
      return all[x].key != all[y].key ? all[x].key > all[y].key
                                      : all[x].item.item < all[y].item.item;
    });
    return order;
  }

  /// Step 1 of section 4. Branches that draw, or take the first of an order, are taken at the word
  /// of the set: their picks stand one behind the other.
  void compare_kappas(std::uint64_t index, OddsResult& out) {
    left_.assign(o_.strata != nullptr ? o_.strata->share.size() : 1, 0);
    picked_.clear();
    for (std::uint32_t j = 0; j < t_.recipe.k; ++j) {
      const std::uint32_t stratum = o_.strata != nullptr ? row_.stratum[j] : 0;
      if (stratum < left_.size()) ++left_[stratum];
    }
    const std::vector<std::uint64_t> counts = wanted();
    std::uint32_t slot = 0;
    for (std::size_t b = 0; b < pools_.size(); ++b) {
      const BranchSpec& branch = t_.recipe.branches[b];
      const auto is_here = [&] { return slot < row_.count && row_.branch[slot] == b; };
      if (!samples_by_keys(branch)) {
        for (std::uint64_t n = 0; n < counts[b] && is_here(); ++n) note(row_.item[slot++]);
        continue;
      }
      ++out.kappas;
      const std::vector<std::size_t> order = order_of(b);
      std::uint64_t taken = 0;
      std::size_t behind = 0;
      bool as_said = true;
      for (std::size_t at = 0; at < order.size() && taken < counts[b]; ++at) {
        const std::uint32_t item = pools_[b].entries[order[at]].item.item;
        if (!is_acceptable(item)) continue;
        as_said = as_said && is_here() && row_.item[slot] == item;
        slot += is_here() ? 1 : 0;
        note(item);
        ++taken;
        behind = at + 1;
      }
      const bool best = branch.select == SelectKind::kTop1Sample && behind == 0;
      const bool known = taken == counts[b] && !best && behind < order.size();
      const float kappa = known ? pools_[b].entries[order[behind]].noisy : kNan;
      if (as_said && same_bits(kappa, row_.kappa[b])) continue;
      if (out.wrong_kappas++ == 0) {
        out.first_kappa = as_said
                              ? fmt::format("branch '{}' of row {} says {}, it is {}", branch.name,
                                            index, row_.kappa[b], kappa)
                              : fmt::format(
                                    "branch '{}' of row {} has other picks than its sampling keys "
                                    "give",
                                    branch.name, index);
      }
    }
  }

  const OddsTables& o_;
  const JudgeTables& t_;
  RowJudge judge_;
  NegativeSet::Row row_ = {};
  std::int64_t time_ = 0;
  std::vector<std::uint64_t> keys_, candidates_;
  std::vector<Pool> pools_;           ///< [branches]; empty where none is computed
  std::vector<std::uint64_t> space_;  ///< [branches] weight left to the user
  std::vector<std::uint64_t> left_;   ///< [strata]
  std::vector<std::uint32_t> picked_;
};

/// Multiplications, and comparisons with positives, that a row takes at most.
double row_work(const JudgeTables& t, std::uint64_t positives) {
  double work = static_cast<double>(t.num_items) * t.items.dim();
  for (std::size_t b = 0; b < t.recipe.branches.size(); ++b) {
    const BranchSpec& branch = t.recipe.branches[b];
    if (is_sampled_branch(branch) && branch.source.kind == SourceKind::kTopk)
      work += branch_work(t, b, positives);
  }
  return work;
}

/// Rows that can be compared, in an order without pattern, as many as the settings allow.
std::vector<std::uint64_t> rows_to_compare(const NegativeSet& set, const JudgeTables& t,
                                           const AuditSettings& settings) {
  bool searches = false;
  for (const BranchSpec& b : t.recipe.branches)
    searches = searches || (is_sampled_branch(b) && b.source.kind == SourceKind::kTopk);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> order;
  for (std::uint64_t r = 0; r < set.rows(); ++r) {
    const NegativeSet::Row row = set.row(r);
    if (row.count == 0 || row.user >= t.in.users.rows || (searches && row.certified == 0)) continue;
    order.emplace_back(sample_hash(row.row_key), r);
  }
  std::sort(order.begin(), order.end());
  std::vector<std::uint64_t> rows;
  double work = 0;
  for (const auto& [hash, r] : order) {
    work += row_work(t, set.row(r).positives.size());
    const bool more = static_cast<double>(rows.size()) < settings.odds_rows &&
                      (rows.empty() || work <= settings.odds_work);
    if (!more) break;
    rows.push_back(r);
  }
  std::sort(rows.begin(), rows.end());
  return rows;
}

}  // namespace

OddsResult check_odds(const NegativeSet& set, const JudgeTables& tables, const WantedStrata* strata,
                      const AuditSettings& settings, const Exec& exec,
                      const std::atomic<bool>* stop) {
  OddsResult all;
  all.why_not = obstacle(tables.recipe);
  all.why_not_kappa = kappa_obstacle(tables.recipe);
  if (all.why_not.empty() && settings.odds_rows == 0)
    all.why_not = all.why_not_kappa = "Not computed again without being asked for.";
  if (!all.why_not.empty()) return all;
  const std::vector<std::uint64_t> rows = rows_to_compare(set, tables, settings);
  if (rows.empty()) {
    all.why_not = "No row has a user, negatives and a search that is proven.";
    return all;
  }
  const OddsTables shared(tables, strata, all.why_not_kappa.empty());
  std::vector<RowOdds> workers;
  workers.reserve(static_cast<std::size_t>(exec.threads));
  for (int i = 0; i < exec.threads; ++i) workers.emplace_back(shared);
  std::vector<OddsResult> of_row(rows.size());
  parallel_for(exec, rows.size(), 1, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t i = begin; i < end; ++i) {
      stop_audit_if_asked(stop);
      workers[static_cast<std::size_t>(worker_index())].look(set.row(rows[i]), rows[i], of_row[i]);
    }
  });
  for (const OddsResult& row : of_row) {
    all.rows += row.rows;
    all.logqs += row.logqs, all.wrong_logqs += row.wrong_logqs;
    all.kappas += row.kappas, all.wrong_kappas += row.wrong_kappas;
    if (all.first_logq.empty()) all.first_logq = row.first_logq;
    if (all.first_kappa.empty()) all.first_kappa = row.first_kappa;
  }
  return all;
}

}  // namespace quarry
