// Whether a refresh is due.
#include "tools/quarry/refresh_due.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "host/data/table.h"
#include "kernels/core/errors.h"
#include "tools/quarry/progress.h"

namespace quarry {
namespace {

std::int64_t after_seconds(const DueOptions& options) {
  try {
    return parse_duration(options.after, "--due-after");
  } catch (const InputError& error) {
    throw ConfigError(error.what());
  }
}

std::string words_of_drift(const VectorDrift& drift) {
  return fmt::format("of the {} nearest items of {} users {:.1f} % are the same", drift.depth,
                     drift.users, 100 * drift.overlap);
}

}  // namespace

void add_due_options(CLI::App& verb, DueOptions& options) {
  verb.add_flag("--if-due", options.asked,
                "do nothing (exit code 0) unless a limit below is reached; for cron");
  verb.add_option("--due-after", options.after, "the version is this old: 12h, 1d");
  // CLI11 takes -1 for the largest number, which would never be reached.
  constexpr std::uint64_t kMost = std::uint64_t{1} << 40;
  const CLI::Range counts(std::uint64_t{1}, kMost);
  verb.add_option("--due-events", options.events, "so many events are new")->check(counts);
  verb.add_option("--due-items", options.items, "so many items changed or are new")->check(counts);
  verb.add_option("--due-drift", options.drift,
                  "of the 100 items nearest to users at most this share is the same, e.g. 0.7")
      ->check(CLI::Range(0.0, 1.0));
}

void check_due_options(const DueOptions& options) {
  // CLI11's range lets NaN through, with which no drift would ever be due.
  if (std::isnan(options.drift)) throw ConfigError("--due-drift: is no number from 0 to 1");
  const bool any =
      !options.after.empty() || options.events > 0 || options.items > 0 || options.drift > 0;
  if (options.asked && !any) {
    throw ConfigError(
        "--if-due: say when: --due-after, --due-events, --due-items or --due-drift, of which one "
        "that is reached is enough");
  }
  if (!options.asked && any)
    throw ConfigError("--due-after, --due-events, --due-items and --due-drift need --if-due");
  if (!options.after.empty()) after_seconds(options);
}

std::vector<std::string> due_reasons(const DueOptions& options, const SinceVersion& since) {
  std::vector<std::string> reasons;
  if (!options.after.empty() && since.seconds >= after_seconds(options))
    reasons.push_back(fmt::format("the version is {} s old",
                                  words_of_count(static_cast<std::uint64_t>(since.seconds))));
  if (options.events > 0 && since.events >= options.events)
    reasons.push_back(fmt::format("{} events are new", words_of_count(since.events)));
  if (options.items > 0 && since.items >= options.items)
    reasons.push_back(fmt::format("{} items changed or are new", words_of_count(since.items)));
  if (options.drift > 0 && since.drift && since.drift->overlap <= options.drift)
    reasons.push_back(words_of_drift(*since.drift));
  if (options.drift > 0 && since.vectors_gone) {
    reasons.emplace_back(
        "vectors changed, and how far is not known: the files with the old ones are gone or were "
        "written over (--parent-items, --parent-users name copies)");
  }
  return reasons;
}

std::string not_due_words(const DueOptions& options, const SinceVersion& since) {
  std::vector<std::string> parts;
  if (!options.after.empty()) {
    parts.push_back(fmt::format(
        "{} s of {}",
        words_of_count(static_cast<std::uint64_t>(std::max<std::int64_t>(since.seconds, 0))),
        options.after));
  }
  if (options.events > 0)
    parts.push_back(fmt::format("{} of {} events", words_of_count(since.events),
                                words_of_count(options.events)));
  if (options.items > 0)
    parts.push_back(
        fmt::format("{} of {} items", words_of_count(since.items), words_of_count(options.items)));
  if (options.drift > 0)
    parts.push_back(since.drift ? words_of_drift(*since.drift) : "vectors that did not change");
  return fmt::format("not due: {}", fmt::join(parts, ", "));
}

}  // namespace quarry
