// The matched comparison of held-out positives.
#include "host/audit/matched.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "kernels/core/exact_math.h"
#include "kernels/core/exec.h"
#include "kernels/core/ids.h"

namespace quarry {
namespace {

constexpr std::uint32_t kPopularityBins = 50;
constexpr std::uint32_t kBands = 8;  ///< as shown; rank_band without "drawn"

struct BandedCell {
  MatchedCell cell;
  std::uint32_t band = 0;
};

/// Bands a fifth of the rank wide, at least 4.
std::vector<std::uint32_t> fine_bands(std::uint32_t num_items) {
  std::vector<std::uint32_t> band(std::size_t{num_items} + 1, 0);
  std::uint32_t number = 0;
  for (std::uint64_t r = 1, end = 4; r <= num_items; ++r) {
    if (r > end) {
      ++number;
      end = r - 1 + std::max<std::uint64_t>(4, r / 5);
    }
    band[r] = number;
  }
  return band;
}

/// Whether the branch picks by rank, score, popularity and chance alone.
bool is_comparable(const Recipe& recipe, std::size_t branch) {
  const BranchSpec& b = recipe.branches[branch];
  const SourceKind source = b.source.kind;
  if (source == SourceKind::kExposed || source == SourceKind::kRun || source == SourceKind::kNear)
    return false;
  for (const WeightSpec& w : b.weights) {
    if (w.kind == WeightKind::kPairColumn || w.kind == WeightKind::kClass) return false;
  }
  for (const FilterSpec* f : filters_of(recipe, branch)) {
    if (f->type == FilterType::kSegment) return false;
  }
  return true;
}

/// The column filters of branches that are compared, in words.
std::string column_filters(const Recipe& recipe) {
  std::string words;
  for (std::size_t b = 0; b < recipe.branches.size(); ++b) {
    if (!is_comparable(recipe, b)) continue;
    for (const FilterSpec* f : filters_of(recipe, b)) {
      const std::string name = "'" + f->table + "'";
      if (f->type == FilterType::kColumn && words.find(name) == std::string::npos)
        words += (words.empty() ? "" : ", ") + name;
    }
  }
  return words;
}

/// Of the items by descending score, those that a branch may look at.
std::uint64_t places_of(const JudgeTables& tables, const BranchSpec& branch) {
  const bool all = branch.source.kind != SourceKind::kTopk || branch.source.all;
  return all ? tables.num_items : std::min<std::uint64_t>(branch.source.max_rank, tables.num_items);
}

bool weighs_popularity(const BranchSpec& b) {
  bool weighs = b.source.kind == SourceKind::kPopularity || b.source.popularity_base;
  for (const WeightSpec& w : b.weights) weighs = weighs || w.kind == WeightKind::kPopularity;
  return weighs;
}

class Matcher {
 public:
  Matcher(const NegativeSet& set, const JudgeTables& tables, const HeldOut& held_out,
          const WantedStrata* strata, const std::vector<std::uint32_t>& bands,
          const std::vector<std::uint32_t>& popularity)
      : set_(set),
        t_(tables),
        held_out_(held_out),
        strata_(strata),
        bands_(bands),
        popularity_(popularity),
        judge_(tables),
        branch_of_(tables.num_items, 0xFF) {
    for (const CapSpec& cap : t_.recipe.caps) caps_.push_back(t_.column(cap.column));
  }

  std::vector<BandedCell> compare(std::uint64_t index, ColumnCount& columns) {
    columns_ = &columns;
    row_ = set_.row(index);
    fresh_ = HeldOut::of(held_out_.fresh, row_.user);
    judge_.begin(row_.user, row_.time, row_.row_key, row_.positives, fresh_);
    keys_.resize(t_.num_items);
    for (std::uint32_t item = 0; item < t_.num_items; ++item)
      keys_[item] = score_key(judge_.score(item), item);
    std::sort(keys_.begin(), keys_.end(), std::greater<>());
    find_full_codes();
    for (std::uint32_t j = 0; j < row_.count; ++j) {
      if (row_.item[j] < t_.num_items) branch_of_[row_.item[j]] = row_.branch[j];
    }
    std::vector<BandedCell> cells;
    for (std::uint32_t b = 0; b < t_.recipe.branches.size(); ++b) {
      if (is_comparable(t_.recipe, b)) compare_branch(b, cells);
    }
    for (std::uint32_t j = 0; j < row_.count; ++j) {
      if (row_.item[j] < t_.num_items) branch_of_[row_.item[j]] = 0xFF;
    }
    return cells;
  }

 private:
  using Key = std::array<std::uint64_t, 3>;

  void find_full_codes() {
    full_.clear();
    for (std::size_t c = 0; c < caps_.size(); ++c) {
      if (caps_[c] == nullptr) continue;
      std::map<std::uint32_t, std::uint32_t> count;
      for (std::uint32_t j = 0; j < row_.count; ++j) {
        if (row_.item[j] < t_.num_items) ++count[caps_[c]->codes[row_.item[j]]];
      }
      for (const auto& [code, n] : count) {
        if (code != 0 && n >= t_.recipe.caps[c].per_row)
          full_.push_back(std::uint64_t{c + 1} << 32 | code);
      }
    }
  }

  std::uint64_t full_code(std::uint32_t item) const {
    for (const std::uint64_t full : full_) {
      const std::size_t c = static_cast<std::size_t>(full >> 32) - 1;
      if (caps_[c]->codes[item] == static_cast<std::uint32_t>(full)) return full;
    }
    return 0;
  }

  /// Whether the filters let the item through, windows over survivor ranks left out.
  bool survives(const std::vector<const FilterSpec*>& filters, const JudgedItem& c) {
    if (judge_.is_row_positive(c.item)) return false;
    for (const FilterSpec* f : filters) {
      if ((f->type == FilterType::kRank && f->window.survivors) || f->type == FilterType::kColumn)
        continue;
      if (RowJudge::can_judge(*f, c) && judge_.rejects(*f, c)) return false;
    }
    return !columns_reject(filters, c);
  }

  bool columns_reject(const std::vector<const FilterSpec*>& filters, const JudgedItem& c) {
    bool rejects = false;
    for (const FilterSpec* f : filters)
      rejects = rejects || (f->type == FilterType::kColumn && judge_.rejects(*f, c));
    const bool marked = std::binary_search(fresh_.begin(), fresh_.end(), c.item);
    ++(marked ? columns_->held_out : columns_->others);
    if (rejects) ++(marked ? columns_->held_out_rejected : columns_->others_rejected);
    return rejects;
  }

  void compare_branch(std::uint32_t b, std::vector<BandedCell>& out) {
    const BranchSpec& branch = t_.recipe.branches[b];
    const std::vector<const FilterSpec*> filters = filters_of(t_.recipe, b);
    const bool searches = branch.source.kind == SourceKind::kTopk;
    const std::uint64_t limit = places_of(t_, branch);
    const bool popular = weighs_popularity(branch);
    std::map<Key, BandedCell> cells;
    std::uint32_t survivors = 0;
    for (std::uint32_t place = 0; place < limit; ++place) {
      JudgedItem c{item_of_key(keys_[place]), score_of_key(keys_[place]), searches ? place + 1 : 0,
                   0};
      if (!std::isfinite(c.score) || !survives(filters, c)) continue;
      c.survivor_rank = ++survivors;
      bool inside = true;
      for (const FilterSpec* f : filters) {
        if (f->type == FilterType::kRank && f->window.survivors && searches)
          inside = inside && !judge_.rejects(*f, c);
      }
      // What an earlier branch took was not there any more.
      const std::uint8_t by = branch_of_[c.item];
      if (!inside || by < b) continue;
      const Key key = {
          std::uint64_t{bands_[survivors]} << 32 | (popular ? popularity_[c.item] + 1 : 0),
          strata_ != nullptr ? strata_->of_item[c.item] : 0, full_code(c.item)};
      BandedCell& cell = cells[key];
      cell.band = rank_band(survivors);
      const bool marked = std::binary_search(fresh_.begin(), fresh_.end(), c.item);
      ++cell.cell.all;
      cell.cell.marked += marked ? 1 : 0;
      cell.cell.drawn += by == b ? 1 : 0;
      cell.cell.hits += marked && by == b ? 1 : 0;
    }
    for (const auto& [key, cell] : cells) {
      if (cell.cell.marked > 0 && cell.cell.drawn > 0) out.push_back(cell);
    }
  }

  const NegativeSet& set_;
  const JudgeTables& t_;
  const HeldOut& held_out_;
  const WantedStrata* strata_;
  const std::vector<std::uint32_t>& bands_;
  const std::vector<std::uint32_t>& popularity_;
  RowJudge judge_;
  ColumnCount* columns_ = nullptr;  ///< of this row
  NegativeSet::Row row_ = {};
  std::span<const std::uint32_t> fresh_;
  std::vector<std::uint64_t> keys_, full_;
  std::vector<std::uint8_t> branch_of_;  ///< of the row's picks by item; 0xFF: none
  std::vector<const CatalogueColumn*> caps_;
};

/// One row of each user that has fresh held-out positives, in an order without pattern.
std::vector<std::uint64_t> row_of_each_user(const NegativeSet& set, const HeldOut& held_out) {
  struct Choice {
    std::uint64_t hash = UINT64_MAX, row = 0;
  };
  std::vector<Choice> of_user(held_out.fresh.offsets.size());
  for (std::uint64_t r = 0; r < set.rows(); ++r) {
    const NegativeSet::Row row = set.row(r);
    if (row.count == 0 || HeldOut::of(held_out.fresh, row.user).empty()) continue;
    const std::uint64_t hash = sample_hash(row.row_key);
    if (hash < of_user[row.user].hash) of_user[row.user] = {hash, r};
  }
  std::erase_if(of_user, [](const Choice& c) { return c.hash == UINT64_MAX; });
  std::sort(of_user.begin(), of_user.end(),
            [](const Choice& a, const Choice& b) { return a.hash < b.hash; });
  std::vector<std::uint64_t> rows;
  rows.reserve(of_user.size());
  for (const Choice& c : of_user) rows.push_back(c.row);
  return rows;
}

/// As many of the first as the settings allow, one at least, in the order of the set.
std::vector<std::uint64_t> affordable(const NegativeSet& set, const JudgeTables& tables,
                                      const AuditSettings& settings,
                                      std::vector<std::uint64_t> rows, double* work) {
  std::size_t taken = 0;
  while (taken < rows.size() && static_cast<double>(taken) < settings.matched_rows) {
    const double more = matched_row_work(tables, set.row(rows[taken]).positives.size());
    if (taken > 0 && *work + more > settings.matched_work) break;
    *work += more;
    ++taken;
  }
  rows.resize(taken);
  std::sort(rows.begin(), rows.end());
  return rows;
}

}  // namespace

std::uint64_t sample_hash(std::uint64_t key) {
  key += 0x9E3779B97F4A7C15u;  // splitmix64
  key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9u;
  key = (key ^ (key >> 27)) * 0x94D049BB133111EBu;
  return key ^ (key >> 31);
}

double branch_work(const JudgeTables& tables, std::size_t branch, std::uint64_t positives) {
  const auto p = static_cast<double>(positives);
  double of_item = p;  // is it one of them?
  for (const FilterSpec* f : filters_of(tables.recipe, branch)) {
    if (f->type == FilterType::kNearDuplicate || f->type == FilterType::kSimilarity) {
      of_item += p * tables.unit_rows(f->table).dim();
    } else if (f->type == FilterType::kOverlap) {
      of_item += p * static_cast<double>(f->columns.size());
    }
  }
  return static_cast<double>(places_of(tables, tables.recipe.branches[branch])) * of_item;
}

double matched_row_work(const JudgeTables& tables, std::uint64_t positives) {
  double work = static_cast<double>(tables.num_items) * tables.items.dim();
  for (std::size_t b = 0; b < tables.recipe.branches.size(); ++b) {
    if (is_comparable(tables.recipe, b)) work += branch_work(tables, b, positives);
  }
  return work;
}

MatchedResult compare_matched(const NegativeSet& set, const JudgeTables& tables,
                              const HeldOut& held_out, const WantedStrata* strata,
                              const AuditSettings& settings, const Exec& exec,
                              const std::atomic<bool>* stop) {
  MatchedResult result;
  for (std::uint32_t b = 0; b < tables.recipe.branches.size(); ++b) {
    if (!is_comparable(tables.recipe, b)) result.left_out.push_back(tables.recipe.branches[b].name);
  }
  if (result.left_out.size() == tables.recipe.branches.size()) {
    result.why_not = "No branch of the recipe picks by rank or chance alone.";
    return result;
  }
  std::vector<std::uint64_t> of_users = row_of_each_user(set, held_out);
  result.users = of_users.size();
  const std::vector<std::uint64_t> rows =
      affordable(set, tables, settings, std::move(of_users), &result.work);
  result.rows = rows.size();
  const std::vector<std::uint32_t> bands = fine_bands(tables.num_items);
  const std::vector<std::uint32_t> popularity =
      popularity_bins_of(tables.frozen_popularity, tables.num_items, kPopularityBins);
  std::vector<Matcher> matchers;
  matchers.reserve(static_cast<std::size_t>(exec.threads));
  for (int i = 0; i < exec.threads; ++i)
    matchers.emplace_back(set, tables, held_out, strata, bands, popularity);
  std::vector<std::vector<BandedCell>> of_row(rows.size());
  std::vector<ColumnCount> columns(rows.size());
  parallel_for(exec, rows.size(), 1, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t i = begin; i < end; ++i) {
      stop_audit_if_asked(stop);
      of_row[i] = matchers[static_cast<std::size_t>(worker_index())].compare(rows[i], columns[i]);
    }
  });
  result.columns.filters = column_filters(tables.recipe);
  for (const ColumnCount& row : columns) {
    result.columns.held_out += row.held_out;
    result.columns.held_out_rejected += row.held_out_rejected;
    result.columns.others += row.others;
    result.columns.others_rejected += row.others_rejected;
  }
  std::vector<MatchedCell> cells;
  for (std::uint32_t band = 0; band < kBands; ++band)
    result.bands.push_back({rank_band_name(band), 0, 0, 0});
  for (const auto& row : of_row) {
    for (const BandedCell& cell : row) {
      cells.push_back(cell.cell);
      MatchedBand& band = result.bands[cell.band];
      band.held_out += cell.cell.marked;
      band.expected += static_cast<double>(cell.cell.drawn) * cell.cell.marked / cell.cell.all;
      band.observed += cell.cell.hits;
    }
  }
  result.cells = cells.size();
  result.test = matched_test(cells);
  return result;
}

}  // namespace quarry
