// Sentences about rows that are short.
#include "tools/quarry/fill_warnings.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>

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

/// The filter that rejected most in all branches together, in words; "" if none rejected any.
std::string strictest_filter(const Miner& miner, const Counters& counters) {
  std::map<std::string, std::uint64_t> rejected;
  std::uint64_t examined = 0;
  const auto num_branches = static_cast<std::uint32_t>(miner.branch_names().size());
  for (std::uint32_t b = 0; b < num_branches; ++b) {
    const std::vector<std::string> filters = miner.filter_names(b);
    for (std::size_t f = 0; f < filters.size(); ++f)
      rejected[filters[f]] += counters.branch[b].rejected[f];
    examined += counters.branch[b].examined;
  }
  const auto most =
      std::max_element(rejected.begin(), rejected.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most == rejected.end() || most->second == 0) return "";
  return fmt::format(", and the filter {} rejected most: {} of {} candidates ({:.0f} %)",
                     most->first, words_of_count(most->second), words_of_count(examined),
                     percent(most->second, examined));
}

}  // namespace

const char* fill_code_name(std::uint32_t code) {
  static constexpr const char* kNames[kNumFillCodes] = {"filled", "exhausted", "max_rank",
                                                        "cap",    "quota",     "bad_row"};
  return code < kNumFillCodes ? kNames[code] : "unknown";
}

Counters whole_counters(const Miner& miner, std::uint64_t bad_rows) {
  Counters c = miner.report().counters;
  const std::uint64_t slots = bad_rows * miner.plan(1).k;
  c.rows += bad_rows;
  c.requested += slots;
  c.missing[static_cast<std::size_t>(FillCode::kBadRow)] += slots;
  return c;
}

std::vector<std::string> fill_warnings(const Recipe& recipe, const Miner& miner,
                                       std::uint64_t bad_rows) {
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
  if (c.requested == 0 ||
      static_cast<double>(c.emitted) >= kEnough * static_cast<double>(c.requested))
    return warnings;
  const auto most = std::max_element(std::next(std::begin(c.missing)), std::end(c.missing));
  const auto code = static_cast<std::uint32_t>(most - std::begin(c.missing));
  const std::string filled =
      c.emitted == 0
          ? fmt::format(
                "THE SET IS EMPTY: none of {} slots is filled, there is nothing to train "
                "on",
                words_of_count(c.requested))
          : fmt::format("only {:.2f} % of {} slots are filled", percent(c.emitted, c.requested),
                        words_of_count(c.requested));
  // Rows that never reached the filters are not these filters' doing.
  const bool filtered = code != static_cast<std::uint32_t>(FillCode::kBadRow);
  warnings.push_back(fmt::format("{}; {:.0f} % of the empty ones have the code {}{}; {}", filled,
                                 percent(*most, c.requested - c.emitted), fill_code_name(code),
                                 filtered ? strictest_filter(miner, c) : "",
                                 remedy_of(static_cast<FillCode>(code))));
  return warnings;
}

}  // namespace quarry
