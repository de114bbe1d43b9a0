// Random small mining problems by seed.
#include "tests/support/problems.h"

#include "tests/support/problem_parts.h"

namespace quarry::test {

std::uint64_t Rng::next() {
  std::uint64_t z = state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

std::unique_ptr<Problem> make_problem(std::uint64_t number, ProblemSize size) {
  auto problem = std::make_unique<Problem>();
  Problem& p = *problem;
  Rng rng{number * 7919 + 1};
  p.number = number;
  p.seed = static_cast<std::uint32_t>(rng.next());
  p.round = static_cast<std::uint32_t>(rng.in(0, 3));
  fill_world(rng, p, size);
  fill_recipe(rng, p);
  if (rng.chance(40)) p.inputs.rows = nullptr;  // the rows' positives come with the rows alone
  return problem;
}

std::unique_ptr<Problem> make_starved_pool(std::uint64_t number) {
  auto p = make_problem(3000 + number);
  p->exposure.item_count.at(number % p->exposure.item_count.size()) = 1000000;
  if (!p->snapshot.popularity.empty()) p->snapshot.popularity[0] = 1000000;
  BranchSpec& b = p->recipe.branches[0];
  b.source = {};
  b.source.kind = SourceKind::kPool;
  b.source.popularity_base = true;
  b.source.beta = 2.0;
  b.source.draws = 2 + static_cast<std::uint32_t>(number % 3);
  b.select = number % 4 == 0 ? SelectKind::kFirstViolator : SelectKind::kTop;
  b.weights.clear();
  b.filters.clear();
  return p;
}

}  // namespace quarry::test
