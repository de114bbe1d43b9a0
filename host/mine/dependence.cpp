// Hashes of what rows depend on.
#include "host/mine/dependence.h"

#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <set>

#include "host/mine/snapshot.h"

namespace quarry {
namespace {

/// Bytes to hash, one after another, each text with its length.
class Bytes {
 public:
  template <class T>
  void add(const T& value) {
    static_assert(std::has_unique_object_representations_v<T> || std::is_floating_point_v<T>);
    add(&value, sizeof value);
  }
  void add(const void* data, std::size_t bytes) {
    const auto* from = static_cast<const unsigned char*>(data);
    bytes_.insert(bytes_.end(), from, from + bytes);
  }
  void add(std::string_view text) {
    add(std::uint64_t{text.size()});
    add(text.data(), text.size());
  }
  void add(std::span<const std::uint32_t> values) {
    add(std::uint64_t{values.size()});
    add(values.data(), values.size_bytes());
  }
  std::uint64_t hash() const { return XXH3_64bits(bytes_.data(), bytes_.size()); }
  void clear() { bytes_.clear(); }

 private:
  std::vector<unsigned char> bytes_;
};

void add_row(Bytes& bytes, const MatrixView& table, std::uint64_t row) {
  const std::size_t width = table.row_bytes();
  bytes.add(static_cast<std::uint8_t>(table.dtype));
  bytes.add(static_cast<const unsigned char*>(table.data) + row * width, width);
}

template <class Visit>
void each_filter(const Recipe& recipe, Visit&& visit) {
  for (const FilterSpec& spec : recipe.safety) visit(spec);
  for (const BranchSpec& branch : recipe.branches) {
    for (const FilterSpec& spec : branch.filters) visit(spec);
  }
}

std::set<std::string> columns_read(const Recipe& recipe) {
  std::set<std::string> names;
  each_filter(recipe, [&](const FilterSpec& spec) {
    if (!spec.column.empty()) names.insert(spec.column);
    names.insert(spec.columns.begin(), spec.columns.end());
  });
  for (const CapSpec& cap : recipe.caps) names.insert(cap.column);
  return names;
}

std::uint64_t next_number() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

/// The last raw rank that a branch looks at, as compile() has it; the largest number: any.
std::uint32_t max_rank_of(const Recipe& recipe, const BranchSpec& branch,
                          std::uint32_t snapshot_items) {
  std::uint32_t rank = branch.source.all ? 0xFFFFFFFFu : branch.source.max_rank;
  const auto narrow = [&](const FilterSpec& spec) {
    if (spec.type != FilterType::kRank || spec.window.survivors) return;
    const std::uint64_t high =
        spec.window.quantile ? spec.window.hi * snapshot_items / 1'000'000u : spec.window.hi;
    rank = static_cast<std::uint32_t>(std::min<std::uint64_t>(rank, high));
  };
  for (const FilterSpec& spec : recipe.safety) narrow(spec);
  for (const FilterSpec& spec : branch.filters) narrow(spec);
  return rank;
}

/// Names of item lists, feature tables and pair tables that the recipe reads.
struct TablesRead {
  std::set<std::string> lists, features, pairs;
};

TablesRead tables_read(const Recipe& recipe) {
  TablesRead read;
  each_filter(recipe, [&](const FilterSpec& spec) {
    if (spec.type == FilterType::kAllowList) read.lists.insert(spec.table);
    if (spec.type == FilterType::kColumn) read.pairs.insert(spec.table);
    if (spec.type == FilterType::kNearDuplicate || spec.type == FilterType::kSimilarity)
      read.features.insert(spec.table);
  });
  for (const BranchSpec& branch : recipe.branches) {
    if (branch.source.kind == SourceKind::kRun) read.pairs.insert(branch.source.table);
    for (const WeightSpec& weight : branch.weights) {
      if (weight.kind == WeightKind::kPairColumn) read.pairs.insert(weight.table);
    }
  }
  return read;
}

}  // namespace

Dependence::Dependence(const Recipe& recipe, const MinerInputs& inputs, const IdMap& ids,
                       std::uint32_t seed, std::uint32_t round, const Exec& exec)
    : number_(next_number()), recipe_(recipe), in_(inputs), exec_(exec), ids_(ids) {
  exec_.device = Device::kCpu;
  const TablesRead read = tables_read(recipe);
  std::erase_if(in_.item_lists, [&](const auto& e) { return !read.lists.contains(e.first); });
  std::erase_if(in_.features, [&](const auto& e) { return !read.features.contains(e.first); });
  std::erase_if(in_.pairs, [&](const auto& e) { return !read.pairs.contains(e.first); });
  const auto num_items = static_cast<std::uint32_t>(in_.items.rows);
  if (in_.snapshot != nullptr) {
    snapshot_ = *in_.snapshot;
  } else if (in_.exposure != nullptr) {
    snapshot_ = make_snapshot(*in_.exposure, num_items);
  } else {
    snapshot_.num_items = num_items;
  }
  snapshot_.popularity.resize(num_items, 0);
  snapshot_.num_items = std::min(snapshot_.num_items, num_items);
  as_of_ = in_.exposure != nullptr ? in_.exposure->as_of : snapshot_.as_of;
  find_selectors();
  list_positives();
  describe(seed, round);
  hash_items();
}

bool Dependence::has_filter(FilterType type) const {
  bool found = false;
  each_filter(recipe_, [&](const FilterSpec& spec) { found = found || spec.type == type; });
  return found;
}

bool Dependence::reads_times() const { return has_filter(FilterType::kTime); }

bool Dependence::draws() const {
  return std::any_of(recipe_.branches.begin(), recipe_.branches.end(), [](const BranchSpec& b) {
    return b.source.kind == SourceKind::kUniform || b.source.kind == SourceKind::kPopularity ||
           b.source.kind == SourceKind::kPool;
  });
}

bool Dependence::has_near() const {
  return std::any_of(recipe_.branches.begin(), recipe_.branches.end(),
                     [](const BranchSpec& b) { return b.source.kind == SourceKind::kNear; });
}

void Dependence::find_selectors() {
  const auto oldest = [&](const std::optional<std::int64_t>& max_age) {
    return max_age ? as_of_ - *max_age : INT64_MIN;
  };
  each_filter(recipe_, [&](const FilterSpec& spec) {
    if (spec.type == FilterType::kExposed)
      selectors_.push_back({spec.classes, oldest(spec.max_age)});
  });
  for (const BranchSpec& branch : recipe_.branches) {
    if (branch.source.kind == SourceKind::kExposed)
      selectors_.push_back({branch.source.classes, oldest(branch.source.max_age)});
    for (const WeightSpec& weight : branch.weights) {
      if (weight.kind == WeightKind::kClass) selectors_.push_back({0xFFFFFFFFu, INT64_MIN});
    }
  }
}

/// A number for the selectors that an event answers to; 0: none reads it.
std::uint64_t Dependence::selected(std::uint64_t event) const {
  std::uint64_t answers = 0;
  for (std::size_t s = 0; s < selectors_.size(); ++s) {
    const bool reads = (selectors_[s].classes >> in_.exposure->classes[event] & 1u) != 0 &&
                       in_.exposure->last_time[event] >= selectors_[s].oldest;
    if (reads) answers = (answers * 1'000'003 + s + 1) | std::uint64_t{1} << 63;
  }
  return answers;
}

/// Positives of each user, of events and of the rows of the run, as the miner joins them.
void Dependence::list_positives() {
  const std::uint64_t users = num_users_of(in_);
  const auto each = [&](auto&& visit) {
    const Exposure* e = in_.exposure;
    for (std::uint64_t u = 0; e != nullptr && u + 1 < e->offsets.size(); ++u) {
      for (std::uint64_t i = e->offsets[u]; i < e->offsets[u + 1]; ++i) {
        if (e->classes[i] == static_cast<std::uint8_t>(ExposureClass::kPositive))
          visit(u, e->items[i]);
      }
    }
    const Lists* more = in_.row_positives;
    for (std::uint64_t u = 0; more != nullptr && u + 1 < more->offsets.size(); ++u) {
      for (std::uint64_t i = more->offsets[u]; i < more->offsets[u + 1]; ++i)
        visit(u, more->values[i]);
    }
    const RowTable* rows = in_.rows;
    for (std::uint64_t r = 0; rows != nullptr && r < rows->size(); ++r) {
      for (std::uint64_t i = rows->positive_offsets[r]; i < rows->positive_offsets[r + 1]; ++i)
        visit(std::uint64_t{rows->user[r]}, rows->positives[i]);
    }
  };
  std::vector<std::uint64_t> ends(users + 1, 0);
  each([&](std::uint64_t user, std::uint32_t) { ends[user + 1] += 1; });
  for (std::uint64_t u = 0; u < users; ++u) ends[u + 1] += ends[u];
  positives_.resize(ends[users]);
  std::vector<std::uint64_t> next(ends.begin(), ends.end() - 1);
  each([&](std::uint64_t user, std::uint32_t item) { positives_[next[user]++] = item; });
  positive_offsets_.assign(users + 1, 0);
  std::uint64_t kept = 0;
  for (std::uint64_t u = 0; u < users; ++u) {
    const auto begin = positives_.begin() + static_cast<std::ptrdiff_t>(ends[u]);
    const auto end = positives_.begin() + static_cast<std::ptrdiff_t>(ends[u + 1]);
    std::sort(begin, end);
    const auto unique = static_cast<std::uint64_t>(std::unique(begin, end) - begin);
    std::copy_n(begin, unique, positives_.begin() + static_cast<std::ptrdiff_t>(kept));
    kept += unique;
    positive_offsets_[u + 1] = kept;
  }
  positives_.resize(kept);
}

std::span<const std::uint32_t> Dependence::positives_of(std::uint32_t user) const {
  if (std::uint64_t{user} + 1 >= positive_offsets_.size()) return {};
  return std::span(positives_)
      .subspan(positive_offsets_[user], positive_offsets_[user + 1] - positive_offsets_[user]);
}

void Dependence::describe(std::uint32_t seed, std::uint32_t round) {
  const auto add = [&](const std::string& name, const std::string& value) {
    common_.emplace_back(name, value);
  };
  const auto hash = [&](const auto& fill) {
    Bytes bytes;
    fill(bytes);
    return std::to_string(bytes.hash());
  };
  add("recipe", hash([&](Bytes& b) { b.add(std::string_view(recipe_.text)); }));
  add("seed", std::to_string(seed));
  add("round", std::to_string(round));
  add("dimensions", std::to_string(in_.items.dim));
  add("snapshot", hash([&](Bytes& b) {
        b.add(snapshot_.popularity.data(),
              std::size_t{snapshot_.num_items} * sizeof(std::uint32_t));
        b.add(snapshot_.num_items);
        b.add(snapshot_.as_of);
        b.add(snapshot_.positive_users.value_or(~std::uint64_t{0}));
      }));
  if (recipe_.quota) {
    Placement cells(exec_);
    Strata strata = make_strata(exec_, recipe_, snapshot_, snapshot_.popularity.data(),
                                in_.catalogue, static_cast<std::uint32_t>(in_.items.rows), cells);
    add("strata", hash([&](Bytes& b) {
          for (const std::string& name : strata.names) b.add(std::string_view(name));
          for (const std::uint64_t weight : strata.weight) b.add(weight);
        }));
    stratum_ = std::move(strata.of_item);
  }
  if (has_filter(FilterType::kUniversal) && !snapshot_.positive_users && in_.exposure != nullptr)
    add("users with a positive", std::to_string(users_with_a_positive(*in_.exposure)));
  for (const BranchSpec& branch : recipe_.branches) {
    // Short rows say whether it was the rank or the catalogue that ended.
    if (branch.source.kind == SourceKind::kTopk) {
      const std::uint32_t rank = max_rank_of(recipe_, branch, snapshot_.num_items);
      add("ranks of " + branch.name, rank < in_.items.rows ? "to max_rank" : "all");
    }
    // As many as there are items, where that is less.
    if (branch.source.kind == SourceKind::kPool)
      add("draws of " + branch.name,
          std::to_string(std::min<std::uint64_t>(branch.source.draws, in_.items.rows)));
  }
}

void Dependence::hash_items() {
  const std::uint64_t num_items = in_.items.rows;
  std::vector<const CatalogueColumn*> columns;
  const bool times = reads_times() && in_.catalogue != nullptr;
  if (in_.catalogue != nullptr) {
    const std::set<std::string> names = columns_read(recipe_);
    for (const std::string& name : names) {
      if (const CatalogueColumn* column = in_.catalogue->find(name)) columns.push_back(column);
    }
  }
  std::vector<std::vector<bool>> denied;
  for (const auto& [name, list] : in_.item_lists) {
    denied.emplace_back(num_items, true);
    for (const std::uint32_t item : list) denied.back()[item] = false;
  }
  items_.resize(num_items);
  parallel_for(exec_, num_items, 4096, [&](std::uint64_t begin, std::uint64_t end) {
    Bytes bytes;
    for (std::uint64_t i = begin; i < end; ++i) {
      bytes.clear();
      add_row(bytes, in_.items, i);
      items_[i].vector = bytes.hash();
      bytes.clear();
      bytes.add(std::string_view(ids_.id_of(static_cast<std::uint32_t>(i))));
      for (const CatalogueColumn* column : columns) {
        bytes.add(std::string_view(column->name));
        bytes.add(std::string_view(column->names[column->codes[i]]));
      }
      if (times) {
        const Catalogue& c = *in_.catalogue;
        bytes.add(c.first_seen.empty() ? INT64_MIN : c.first_seen[i]);
        bytes.add(c.retired.empty() ? INT64_MAX : c.retired[i]);
      }
      if (!stratum_.empty()) bytes.add(stratum_[i]);
      std::size_t list = 0;
      for (const auto& named : in_.item_lists) {
        if (denied[list++][i]) bytes.add(std::string_view(named.first));
      }
      for (const auto& [name, table] : in_.features) {
        bytes.add(std::string_view(name));
        add_row(bytes, table, i);
      }
      items_[i].facts = bytes.hash();
    }
  });
}

/// Of what is known by user. Rows of one user mostly follow each other.
std::uint64_t Dependence::of_user(std::uint32_t user) const {
  struct Last {
    std::uint64_t number = 0;
    std::uint32_t user = 0;
    std::uint64_t hash = 0;
  };
  thread_local Last last;
  if (last.number == number_ && last.user == user) return last.hash;
  Bytes bytes;
  if (user < in_.users.rows) add_row(bytes, in_.users, user);
  bytes.add(positives_of(user));
  const Exposure* e = in_.exposure;
  if (e != nullptr && std::uint64_t{user} + 1 < e->offsets.size()) {
    for (std::uint64_t i = e->offsets[user]; i < e->offsets[user + 1]; ++i) {
      const std::uint64_t answers = selected(i);
      if (answers == 0) continue;
      bytes.add(e->items[i]);
      bytes.add(answers);
      bytes.add(e->classes[i]);
    }
  }
  for (const auto& [name, pairs] : in_.pairs) {
    bytes.add(std::string_view(name));
    if (std::uint64_t{user} + 1 >= pairs->offsets.size()) continue;
    const std::uint64_t begin = pairs->offsets[user];
    const std::uint64_t count = pairs->offsets[user + 1] - begin;
    bytes.add(std::span(pairs->items).subspan(begin, count));
    bytes.add(pairs->values.data() + begin, count * sizeof(float));
  }
  last = {number_, user, bytes.hash()};
  return last.hash;
}

std::uint64_t Dependence::of_row(const RowFacts& row) const {
  thread_local Bytes bytes;
  bytes.clear();
  bytes.add(row.user);
  bytes.add(of_user(row.user));
  bytes.add(row.time);
  bytes.add(row.segment);
  bytes.add(row.positives);
  bytes.add(row.unusable);
  return bytes.hash();
}

bool Dependence::names_any(const RowFacts& row, const std::vector<std::uint32_t>& marks) const {
  const auto marked = [&](std::uint32_t item) { return (marks[item / 32] >> item % 32 & 1u) != 0; };
  const auto any = [&](std::span<const std::uint32_t> items) {
    return std::any_of(items.begin(), items.end(), marked);
  };
  if (any(row.positives) || any(positives_of(row.user))) return true;
  const Exposure* e = in_.exposure;
  if (e != nullptr && std::uint64_t{row.user} + 1 < e->offsets.size()) {
    for (std::uint64_t i = e->offsets[row.user]; i < e->offsets[row.user + 1]; ++i) {
      if (marked(e->items[i]) && selected(i) != 0) return true;
    }
  }
  for (const auto& [name, pairs] : in_.pairs) {
    if (std::uint64_t{row.user} + 1 >= pairs->offsets.size()) continue;
    const std::uint64_t begin = pairs->offsets[row.user];
    if (any(std::span(pairs->items).subspan(begin, pairs->offsets[row.user + 1] - begin)))
      return true;
  }
  return false;
}

}  // namespace quarry
