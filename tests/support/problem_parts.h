// What problems.h makes its problems of: tables and recipes drawn from a stream of numbers.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/support/problems.h"

namespace quarry::test {

inline constexpr std::int64_t kProblemAsOf = 10000;  ///< events end here

/// [rows, dim]: `fine` numbers, or few that tie; some rows twice, none of norm zero.
std::vector<float> make_table(Rng& rng, std::uint64_t rows, std::uint32_t dim, bool fine);

/// Every input and the rows of `p`.
void fill_world(Rng& rng, Problem& p, ProblemSize size);
/// The recipe of `p`, whose world is filled.
void fill_recipe(Rng& rng, Problem& p);

}  // namespace quarry::test
