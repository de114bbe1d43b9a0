// Problems whose searches a scan can filter while it runs: ceilings of scores, heavy items, many
// rows.
#include <limits>
#include <utility>

#include "kernels/core/exact_score.h"
#include "tests/support/problem_parts.h"

namespace quarry::test {
namespace {

/// Items whose norm is far above the others', so that no error bound holds for them.
void make_heavy(Rng& rng, Problem& p) {
  const std::size_t dim = p.inputs.items.dim;
  for (int n = 0; n < 5; ++n) {
    const std::size_t item = rng.in(0, p.inputs.items.rows - 1);
    const float by = n == 0 ? 1e6f : static_cast<float>(rng.in(3, 60));
    for (std::size_t d = 0; d < dim; ++d) p.items[item * dim + d] *= by;
  }
}

/// Many rows that bring their queries: enough for workers to share a search.
void make_many_rows(Rng& rng, Problem& p) {
  const RowTable few = p.rows;
  const std::vector<std::uint32_t> segments = p.segments;
  for (int copy = 1; copy < 8; ++copy) {
    for (std::size_t r = 0; r < few.size(); ++r) {
      p.rows.key.push_back(rng.next());
      p.rows.user.push_back(few.user[r]);
      p.rows.time.push_back(few.time[r]);
      p.segments.push_back(segments[r]);
      p.rows.positives.insert(
          p.rows.positives.end(),
          few.positives.begin() + static_cast<std::ptrdiff_t>(few.positive_offsets[r]),
          few.positives.begin() + static_cast<std::ptrdiff_t>(few.positive_offsets[r + 1]));
      p.rows.positive_offsets.push_back(p.rows.positives.size());
    }
  }
  p.queries = make_table(rng, p.rows.size(), p.inputs.items.dim, true);
  RowsView& v = p.rows_view;
  v.num_rows = p.rows.size();
  v.key = p.rows.key.data();
  v.user = p.rows.user.data();
  if (v.time != nullptr) v.time = p.rows.time.data();
  if (v.segment != nullptr) v.segment = p.segments.data();
  v.positive_offsets = p.rows.positive_offsets.data();
  v.positives = p.rows.positives.data();
  v.queries = p.queries.data();
}

/// The score of a real item for the first row, so that ceilings and scores tie.
double score_of_some_item(Rng& rng, const Problem& p) {
  const std::size_t dim = p.inputs.items.dim;
  const float* query =
      p.rows_view.queries != nullptr ? p.queries.data() : p.users.data() + p.rows.user[0] * dim;
  return exact_score(p.recipe.metric, query,
                     p.items.data() + rng.in(0, p.inputs.items.rows - 1) * dim, p.inputs.items.dim);
}

}  // namespace

std::unique_ptr<Problem> make_scanned(std::uint64_t number) {
  auto p = make_problem(5000 + number, ProblemSize::kLarge);
  Rng rng{number * 104729 + 7};
  if (number % 8 == 1) make_many_rows(rng, *p);
  if (number % 3 == 0 && p->half_items.empty()) make_heavy(rng, *p);
  const auto filter = [&](FilterType type) {
    FilterSpec f;
    f.type = type;
    f.kind_text = "filter" + std::to_string(static_cast<int>(type));
    return f;
  };
  std::vector<FilterSpec>& safety = p->recipe.safety;
  if (!rng.chance(12)) safety.clear();
  const auto scanned = [&](std::vector<FilterSpec>& to) {
    if (rng.chance(70)) to.push_back(filter(FilterType::kPositives));
    if (rng.chance(50)) {
      to.push_back(filter(FilterType::kExposed));
      to.back().classes = static_cast<std::uint32_t>(rng.in(1, 31));
      if (rng.chance(40)) to.back().max_age = static_cast<std::int64_t>(rng.in(100, 9000));
    }
    if (rng.chance(25)) {
      to.push_back(filter(FilterType::kAllowList));
      to.back().table = "allowed";
    }
  };
  scanned(safety);
  for (std::size_t b = 0; b < p->recipe.branches.size() && b < 2; ++b) {
    BranchSpec& branch = p->recipe.branches[b];
    if (b == 1 && rng.chance(50)) break;
    branch.source = {};
    branch.source.kind = SourceKind::kTopk;
    branch.source.pool = static_cast<std::uint32_t>(rng.in(3, 60));
    if (rng.chance(10)) branch.source.max_rank = static_cast<std::uint32_t>(rng.in(50, 2000));
    if (branch.select == SelectKind::kFirstViolator) branch.select = SelectKind::kTop;
    std::vector<FilterSpec> others;
    if (rng.chance(40)) others = std::move(branch.filters);
    branch.filters.clear();
    if (rng.chance(12)) branch.filters = others;
    if (rng.chance(30)) scanned(branch.filters);
    if (!rng.chance(10)) {
      const FilterType types[] = {FilterType::kAbsoluteMargin, FilterType::kRelativeMargin,
                                  FilterType::kScore};
      FilterSpec f = filter(rng.chance(40) ? FilterType::kScore : types[rng.in(0, 2)]);
      f.against = static_cast<PositiveScore>(rng.in(0, 3));
      f.bound = f.type == FilterType::kRelativeMargin ? 0.05 * static_cast<double>(rng.in(4, 20))
                                                      : 0.05 * static_cast<double>(rng.in(0, 20));
      f.lo = rng.chance(80) ? -std::numeric_limits<double>::infinity() : -2.0;
      f.hi = 0.1 * static_cast<double>(rng.in(0, 20));
      if (rng.chance(80)) f.hi = score_of_some_item(rng, *p);
      if (f.lo > f.hi) f.lo = -std::numeric_limits<double>::infinity();
      branch.filters.push_back(f);
      if (rng.chance(15)) {  // a second one, perhaps without an upper end
        f.type = FilterType::kScore;
        f.lo = -3.0;
        f.hi = rng.chance(50) ? std::numeric_limits<double>::infinity() : 1.0;
        const bool first = rng.chance(50);
        branch.filters.insert(first ? branch.filters.begin() : branch.filters.end(), f);
      }
    }
    if (branch.filters.empty() || branch.filters.size() + others.size() < 4)
      branch.filters.insert(branch.filters.end(), others.begin(), others.end());
  }
  return p;
}

}  // namespace quarry::test
