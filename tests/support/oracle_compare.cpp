// Comparison of the oracle's answers with the engine's.
#include <bit>
#include <cmath>
#include <sstream>

#include "kernels/core/ids.h"
#include "tests/support/oracle.h"

namespace quarry::oracle {
namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

}  // namespace

std::string to_string(const Row& row) {
  std::ostringstream text;
  for (const Pick& p : row.picks) {
    text << "\n    item " << p.item << " score " << p.score << " branch " << p.branch << " raw "
         << p.raw_rank << " survivor " << p.survivor_rank << " stratum " << p.stratum << " logq "
         << p.logq;
  }
  for (const int code : row.codes) text << "\n    missing, code " << code;
  return text.str();
}

namespace {
bool close(float x, float y) {
  if (std::isnan(x) || std::isnan(y)) return std::isnan(x) && std::isnan(y);
  if (std::isinf(x) || std::isinf(y)) return x == y;
  return std::fabs(x - y) <= 2e-5f * (1.0f + std::fabs(x));
}
}  // namespace

std::string difference(const Row& expected, const NegativeBatch& batch, u64 row) {
  std::ostringstream text;
  const auto check = [&](bool equal, const std::string& what, auto want, auto got) {
    if (!equal && text.str().empty()) text << what << ": expected " << want << ", got " << got;
  };
  check(expected.picks.size() == batch.count[row], "count", expected.picks.size(),
        batch.count[row]);
  for (u64 slot = 0; slot < batch.k; ++slot) {
    const u64 at = row * batch.k + slot;
    const std::string where = " of slot " + std::to_string(slot);
    const bool filled = slot < expected.picks.size();
    const Pick want = filled ? expected.picks[slot] : Pick{kNoItem, 0, 0xFF, 0, 0, 0, 0};
    const u32 fill = filled ? 0 : expected.codes.at(slot - expected.picks.size());
    check(want.item == batch.item[at], "item" + where, want.item, batch.item[at]);
    check(fill == batch.fill[at], "fill" + where, fill, u32{batch.fill[at]});
    const u32 stratum = filled ? want.stratum : expected.lacks.at(slot - expected.picks.size());
    check(stratum == batch.stratum[at], "stratum" + where, stratum, batch.stratum[at]);
    check(want.branch == batch.branch[at], "branch" + where, want.branch, u32{batch.branch[at]});
    if (!filled) continue;
    check(std::bit_cast<u32>(want.score) == std::bit_cast<u32>(batch.score[at]), "score" + where,
          want.score, batch.score[at]);
    check(want.raw_rank == batch.raw_rank[at], "raw rank" + where, want.raw_rank,
          batch.raw_rank[at]);
    check(want.survivor_rank == batch.survivor_rank[at], "survivor rank" + where,
          want.survivor_rank, batch.survivor_rank[at]);
    check(close(want.logq, batch.logq[at]), "logq" + where, want.logq, batch.logq[at]);
  }
  for (std::size_t b = 0; b < expected.kappa.size(); ++b) {
    const float got = batch.kappa[row * batch.num_branches + b];
    check(close(expected.kappa[b], got), "kappa of branch " + std::to_string(b), expected.kappa[b],
          got);
  }
  const float got = batch.positive_min[row];
  check(std::isnan(expected.positive_min) ? std::isnan(got) : expected.positive_min == got,
        "positive_min", expected.positive_min, got);
  return text.str();
}

std::string difference(const Counters& expected, const Counters& actual, std::size_t num_branches) {
  std::ostringstream text;
  const auto check = [&](const std::string& what, u64 want, u64 got) {
    if (want != got && text.str().empty())
      text << "counter " << what << ": expected " << want << ", got " << got;
  };
  check("rows", expected.rows, actual.rows);
  check("requested", expected.requested, actual.requested);
  check("emitted", expected.emitted, actual.emitted);
  for (u32 c = 1; c < kNumFillCodes; ++c)
    check("missing " + std::to_string(c), expected.missing[c], actual.missing[c]);
  for (std::size_t b = 0; b < num_branches; ++b) {
    const BranchCounters &want = expected.branch[b], &got = actual.branch[b];
    const std::string of = " of branch " + std::to_string(b);
    check("examined" + of, want.examined, got.examined);
    for (u32 f = 0; f < kMaxFilters; ++f)
      check("rejected by " + std::to_string(f) + of, want.rejected[f], got.rejected[f]);
    check("pool" + of, want.pool, got.pool);
    check("picked" + of, want.picked, got.picked);
    check("repeats" + of, want.repeats, got.repeats);
    check("refused" + of, want.refused, got.refused);
    check("enumerated_rows" + of, want.enumerated_rows, got.enumerated_rows);
    check("inert_rows" + of, want.inert_rows, got.inert_rows);
    check("unscored" + of, want.unscored, got.unscored);
  }
  return text.str();
}

std::string difference(const std::vector<StratumCounters>& expected,
                       const std::vector<StratumCounters>& actual) {
  if (expected.size() != actual.size())
    return "strata: expected " + std::to_string(expected.size()) + ", got " +
           std::to_string(actual.size());
  for (std::size_t s = 0; s < expected.size(); ++s) {
    for (u32 code = 0; code < kNumFillCodes; ++code) {
      const u64 want = expected[s].slots[code], got = actual[s].slots[code];
      if (want != got)
        return "slots of code " + std::to_string(code) + " in stratum " + std::to_string(s) +
               ": expected " + std::to_string(want) + ", got " + std::to_string(got);
    }
  }
  return "";
}

}  // namespace quarry::oracle
