// Reasons of filters in words.
#include "host/mine/explain_filter.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/exclude/exclude_row.h"

namespace quarry {
namespace {

class Reason {
 public:
  Reason(const Miner::State& state, const FilterSpec& spec, const Filter& filter,
         const RowContext& row, const CandidateFacts& candidate, const ExplainNames& names)
      : state_(state),
        world_(state.compiled->world),
        spec_(spec),
        f_(filter),
        row_(row),
        c_(candidate),
        names_(names) {}

  std::string text() const {
    switch (f_.kind) {
      case FilterKind::kUserList:
        return exposed();
      case FilterKind::kPositives:
        return positive();
      case FilterKind::kUserGroup:
        return group();
      case FilterKind::kSimilarity:
        return similarity();
      case FilterKind::kOverlap:
        return overlap();
      case FilterKind::kTime:
        return time();
      case FilterKind::kBitmapDeny:
        return fmt::format("positive for {} users", world_.popularity[c_.item]);
      case FilterKind::kBitmapAllow:
        return is_marked(world_.bitmaps[f_.table], c_.item) ? "on the list" : "not on the list";
      case FilterKind::kSegment:
        return segment();
      case FilterKind::kScoreWindow:
        return fmt::format("score {} in [{}, {}]?", c_.score, f_.a, f_.b);
      case FilterKind::kAbsoluteMargin:
        return margin(positive_score() - f_.a);
      case FilterKind::kRelativeMargin:
        return margin(fmaf(-f_.a, fabsf(positive_score()), positive_score()));
      case FilterKind::kRawRank:
        return c_.raw_rank == 0
                   ? fmt::format("drawn, not ranked; window {} to {}", f_.lo, f_.hi)
                   : fmt::format("raw rank {}, window {} to {}", c_.raw_rank, f_.lo, f_.hi);
      case FilterKind::kSurvivorRank:
        return c_.survivor_rank == 0
                   ? fmt::format("another filter rejects; window {} to {}", f_.lo, f_.hi)
                   : fmt::format("survivor rank {}, window {} to {}", c_.survivor_rank, f_.lo,
                                 f_.hi);
      case FilterKind::kPairAbsolute:
      case FilterKind::kPairRelative:
        return pair();
    }
    return "";
  }

 private:
  float positive_score() const {
    return row_.positive_scores[static_cast<std::uint32_t>(f_.against)];
  }

  std::string margin(float limit) const {
    if (row_.num_positives == 0) return "the row has no positive, so nothing is rejected";
    return fmt::format("score {} must be below {} (positive {})", c_.score, limit,
                       positive_score());
  }

  /// The user's events on the item, if there were any.
  std::string event() const {
    const Exposure* e = state_.inputs.exposure;
    if (e == nullptr) return "";
    const std::uint64_t begin = e->offsets[row_.user];
    const std::uint64_t n = e->offsets[row_.user + 1] - begin;
    const std::uint64_t at = find_sorted(e->items.data() + begin, n, c_.item);
    if (at == n) return "";
    static constexpr const char* kNames[kNumExposureClasses] = {"not seen", "positive", "aversion",
                                                                "disinterest", "ambiguous"};
    const std::uint8_t cls = e->classes[begin + at];
    return fmt::format("the user's events on it make it {}, the latest at {}",
                       cls < kNumExposureClasses ? kNames[cls] : "?",
                       names_.time(e->last_time[begin + at]));
  }

  std::string positive() const {
    const std::string seen = event();
    if (is_own_positive(row_, c_.item)) return "it is a positive of this row";
    if (!contains(world_.lists[f_.table], row_.user, c_.item)) {
      return seen.empty() ? "the user has no event on it" : seen;
    }
    return seen.find("make it positive") != std::string::npos
               ? seen
               : "it is a positive of another row of this user";
  }

  std::string exposed() const {
    const std::string seen = event();
    return seen.empty() ? "the user never saw it" : seen;
  }

  const CatalogueColumn* column(const std::string& name) const {
    return state_.inputs.catalogue != nullptr ? state_.inputs.catalogue->find(name) : nullptr;
  }
  std::string value_of(const std::string& name, std::uint32_t code) const {
    const CatalogueColumn* c = column(name);
    return c != nullptr && code < c->names.size() ? c->names[code] : std::to_string(code);
  }

  std::string group() const {
    const CatalogueColumn* c = column(spec_.column);
    if (c == nullptr || c->codes[c_.item] == 0) return fmt::format("it has no {}", spec_.column);
    const std::uint32_t code = c->codes[c_.item];
    std::string words = fmt::format("its {} is '{}'", spec_.column, value_of(spec_.column, code));
    for (std::uint32_t p = 0; p < row_.num_positives; ++p) {
      if (c->codes[row_.positives[p]] == code)
        return words + ", as of the positive " + names_.item(row_.positives[p]);
    }
    const Exposure* e = state_.inputs.exposure;
    for (std::uint64_t i = e != nullptr ? e->offsets[row_.user] : 0;
         e != nullptr && i < e->offsets[row_.user + 1]; ++i) {
      if (e->classes[i] == static_cast<std::uint8_t>(ExposureClass::kPositive) &&
          c->codes[e->items[i]] == code) {
        return words + ", as of the user's positive " + names_.item(e->items[i]);
      }
    }
    return words;
  }

  std::string similarity() const {
    if (row_.num_positives == 0) return "the row has no positive";
    const FeatureTable& table = world_.features[f_.table];
    float best = 0;
    std::uint32_t neighbour = row_.positives[0];
    for (std::uint32_t p = 0; p < row_.num_positives; ++p) {
      const float cosine =
          exact_dot(table.rows + std::uint64_t{c_.item} * table.dim,
                    table.rows + std::uint64_t{row_.positives[p]} * table.dim, table.dim);
      if (p == 0 || cosine > best) {
        best = cosine;
        neighbour = row_.positives[p];
      }
    }
    return fmt::format("cosine {:.4f} to the positive {}, bound {}", best, names_.item(neighbour),
                       f_.a);
  }

  std::string overlap() const {
    std::uint32_t most = 0;
    std::uint32_t neighbour = 0;
    std::string columns;
    for (std::uint32_t p = 0; p < row_.num_positives; ++p) {
      std::uint32_t equal = 0;
      std::string names;
      for (const std::string& name : spec_.columns) {
        const CatalogueColumn* c = column(name);
        if (c == nullptr || c->codes[c_.item] == 0 ||
            c->codes[c_.item] != c->codes[row_.positives[p]])
          continue;
        ++equal;
        names += (names.empty() ? "" : ", ") + name;
      }
      if (equal > most) {
        most = equal;
        neighbour = row_.positives[p];
        columns = names;
      }
    }
    if (most == 0)
      return fmt::format("shares none of the columns with a positive; {} would be too many",
                         f_.count);
    return fmt::format("shares {} ({}) with the positive {}; {} are too many", most, columns,
                       names_.item(neighbour), f_.count);
  }

  std::string time() const {
    std::string words = "the row is at " + names_.time(row_.time);
    if (world_.first_seen != nullptr)
      words += ", the item was first seen at " + names_.time(world_.first_seen[c_.item]);
    if (world_.retired != nullptr && world_.retired[c_.item] != INT64_MAX) {
      words += ", retired at " + names_.time(world_.retired[c_.item]);
    }
    return words;
  }

  std::string segment() const {
    const CatalogueColumn* c = column(spec_.column);
    if (c == nullptr) return "";
    return fmt::format("its {} is '{}', the row's segment '{}'", spec_.column,
                       value_of(spec_.column, c->codes[c_.item]),
                       value_of(spec_.column, row_.segment));
  }

  std::string pair() const {
    const PairTable& table = world_.pairs[f_.table];
    float value;
    if (!look_up(table, row_.user, c_.item, &value))
      return fmt::format("no value in '{}'", spec_.table);
    if (f_.kind == FilterKind::kPairAbsolute) {
      return fmt::format("value {} in '{}', bound {}", value, spec_.table, f_.a);
    }
    float least;
    if (!least_positive_value(table, row_, &least))
      return fmt::format("value {} in '{}', but no positive has one", value, spec_.table);
    return fmt::format("value {} in '{}', bound {} by the least of the positives, {}", value,
                       spec_.table, relative_bound(f_.a, least), least);
  }

  const Miner::State& state_;
  const World& world_;
  const FilterSpec& spec_;
  const Filter& f_;
  const RowContext& row_;
  const CandidateFacts& c_;
  const ExplainNames& names_;
};

}  // namespace

std::string filter_reason(const Miner::State& state, const FilterSpec& spec, const Filter& filter,
                          const RowContext& row, const CandidateFacts& candidate,
                          const ExplainNames& names) {
  return Reason(state, spec, filter, row, candidate, names).text();
}

}  // namespace quarry
