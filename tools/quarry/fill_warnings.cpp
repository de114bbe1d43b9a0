// Sentences about what rows lack.
#include "tools/quarry/fill_warnings.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>

#include "host/store/fill_names.h"
#include "tools/quarry/progress.h"

namespace quarry {
namespace {

/// Below this share of filled slots people are told; a few short rows are every run's.
constexpr double kEnough = 0.9;

double percent(std::uint64_t part, std::uint64_t whole) {
  return whole > 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0;
}

/// What helps against a reason for empty slots.
const char* remedy_of(FillCode code) {
  switch (code) {
    case FillCode::kMaxRank:
      return "raise source.max_rank of the branches that search, or add a branch of random items";
    case FillCode::kCap:
      return "raise the caps of [quota], or lower k";
    case FillCode::kQuota:
      return "set redistribute = true in [quota], or change its shares";
    case FillCode::kBadRow:
      return "mend the embeddings of these users and positives";
    default:
      return "loosen the filters, raise source.pool, add a branch of another source, or lower k";
  }
}

/// The filter that rejected most in all branches that have it, in words; "" if none rejected any.
std::string strictest_filter(const Miner& miner, const Counters& counters) {
  struct Judged {
    std::uint64_t rejected = 0, examined = 0;
  };
  std::map<std::string, Judged> filters;
  const auto branches = static_cast<std::uint32_t>(miner.branch_names().size());
  for (std::uint32_t b = 0; b < branches; ++b) {
    const std::vector<std::string> names = miner.filter_names(b);
    for (std::size_t f = 0; f < names.size(); ++f) {
      Judged& judged = filters[names[f]];
      judged.rejected += counters.branch[b].rejected[f];
      judged.examined += counters.branch[b].examined;
    }
  }
  const auto most = std::max_element(
      filters.begin(), filters.end(),
      [](const auto& a, const auto& b) { return a.second.rejected < b.second.rejected; });
  if (most == filters.end() || most->second.rejected == 0) return "";
  return fmt::format(", and the filter {} rejected most: {} of {} candidates ({:.0f} %)",
                     most->first, words_of_count(most->second.rejected),
                     words_of_count(most->second.examined),
                     percent(most->second.rejected, most->second.examined));
}

/// Branches that gave less than half of what their share asks for: others took their place. `of`:
/// which rows, in words.
void add_poor_branches(const Recipe& recipe, const Miner& miner, const Counters& counters,
                       const std::string& of, std::vector<std::string>& warnings) {
  // Shares are rounded by chance in each row, so of few negatives none need be a branch's.
  constexpr double kSurelySome = 20;
  const auto names = miner.branch_names();
  for (std::uint32_t b = 0; b < names.size(); ++b) {
    const double wanted = static_cast<double>(counters.requested) *
                          static_cast<double>(recipe.branches[b].share) /
                          static_cast<double>(recipe.share_sum);
    const std::uint64_t picked = counters.branch[b].picked;
    if (wanted < kSurelySome || static_cast<double>(picked) >= wanted / 2) continue;
    warnings.push_back(fmt::format(
        "branch '{}' gave {} of the {} negatives{} that its share asks for; others took their "
        "place as far as backfill lets them",
        names[b], words_of_count(picked), words_of_count(static_cast<std::uint64_t>(wanted)), of));
  }
}

/// Rows in which a filter relative to a positive had none to go by.
void add_inert_rows(const Miner& miner, const Counters& counters,
                    std::vector<std::string>& warnings) {
  const auto names = miner.branch_names();
  for (std::uint32_t b = 0; b < names.size(); ++b) {
    const std::uint64_t rows = counters.branch[b].inert_rows;
    if (rows == 0) continue;
    warnings.push_back(fmt::format(
        "{} of {} rows have no positive, so the filters of branch '{}' that are relative to one "
        "let everything through there, the nearest items too; give rows with positives",
        words_of_count(rows), words_of_count(counters.rows), names[b]));
  }
}

}  // namespace

Counters whole_counters(const Miner& miner, std::uint64_t bad_rows) {
  Counters c = miner.report().counters;
  const std::uint64_t slots = bad_rows * miner.plan(1).k;
  c.rows += bad_rows;
  c.requested += slots;
  c.missing[static_cast<std::size_t>(FillCode::kBadRow)] += slots;
  return c;
}

std::vector<std::string> fill_warnings(const Recipe& recipe, const Miner& miner,
                                       std::uint64_t bad_rows, RowsSeen seen) {
  std::vector<std::string> warnings;
  const MinePlan plan = miner.plan(1);
  const bool repeats = std::any_of(
      recipe.branches.begin(), recipe.branches.end(),
      [](const BranchSpec& branch) { return branch.select == SelectKind::kSampleReplacement; });
  if (plan.k > plan.num_items && !repeats) {
    warnings.push_back(
        fmt::format("k is {} and there are only {} items, so that no row can be full; lower k to "
                    "what each row can have, e.g. --set k={}",
                    plan.k, plan.num_items, std::max<std::uint64_t>(1, plan.num_items / 2)));
  }
  const Counters c = whole_counters(miner, bad_rows);
  const std::string of =
      seen == RowsSeen::kAll ? "" : fmt::format(" of the {} rows tried", words_of_count(c.rows));
  add_inert_rows(miner, c, warnings);
  if (c.emitted > 0) add_poor_branches(recipe, miner, c, of, warnings);
  if (c.requested == 0 ||
      static_cast<double>(c.emitted) >= kEnough * static_cast<double>(c.requested))
    return warnings;
  const auto most = std::max_element(std::next(std::begin(c.missing)), std::end(c.missing));
  const auto code = static_cast<std::uint32_t>(most - std::begin(c.missing));
  const std::string filled =
      c.emitted > 0 ? fmt::format("only {:.2f} % of {} slots{} are filled",
                                  percent(c.emitted, c.requested), words_of_count(c.requested), of)
      : seen == RowsSeen::kAll
          ? fmt::format(
                "THE SET IS EMPTY: none of {} slots is filled, there is nothing to train on",
                words_of_count(c.requested))
          : fmt::format("none of {} slots{} is filled, such a set would be empty",
                        words_of_count(c.requested), of);
  // Rows that never reached the filters are not these filters' doing.
  const bool filtered = code != static_cast<std::uint32_t>(FillCode::kBadRow);
  warnings.push_back(fmt::format("{}; {:.0f} % of the empty ones have the code {}{}; {}", filled,
                                 percent(*most, c.requested - c.emitted), fill_code_name(code),
                                 filtered ? strictest_filter(miner, c) : "",
                                 remedy_of(static_cast<FillCode>(code))));
  return warnings;
}

}  // namespace quarry
