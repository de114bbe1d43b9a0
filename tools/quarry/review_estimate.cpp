// The share of false negatives, for people and programs.
#include "tools/quarry/review_estimate.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tools/quarry/progress.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kHundred = 100;

Json or_nothing(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

/// What clusters of users do to the error.
std::string user_words(const ReviewEstimate& estimate) {
  const ClusteredShare& by_user = estimate.by_user;
  if (by_user.most < 2) return "";
  const std::string users =
      fmt::format("{}, of one up to {} negatives", words_of_count(by_user.clusters, "user"),
                  words_of_count(by_user.most));
  if (by_user.standard_error)
    return fmt::format(" (by {}: design effect {:.2f}; were negatives independent, {:.2f} %)",
                       users, *by_user.design_effect, kHundred * *estimate.share.standard_error);
  if (by_user.upper)
    return fmt::format(" (by {}: at most {:.2f} % were all verdicts on a user the same)", users,
                       kHundred * *by_user.upper);
  if (by_user.strata_of_one > 0 && estimate.share.standard_error)
    return fmt::format(
        " (by {}: too small, for it takes negatives as independent: in {} all that were judged are "
        "of one user; judge more)",
        users, words_of_count(by_user.strata_of_one, "cell"));
  return "";
}

/// How far the estimate may be off.
std::string error_words(const ReviewEstimate& estimate) {
  if (estimate.share.upper)
    return fmt::format(" and at most {:.2f} % are (one-sided 95 %: none of the judged is)",
                       kHundred * *estimate.share.upper);
  const std::optional<double> error = estimate.standard_error();
  if (!error) return "; the error is not known (a stratum has one verdict, or none has both)";
  const std::optional<Interval> interval = estimate.interval();
  return fmt::format(", standard error {:.2f} %{}", kHundred * *error,
                     interval ? fmt::format(", 95 % {:.2f} to {:.2f} %", kHundred * interval->low,
                                            kHundred * interval->high)
                              : "");
}

}  // namespace

std::optional<double> ReviewEstimate::standard_error() const {
  if (!by_user.standard_error) return share.standard_error;
  return std::max(*share.standard_error, *by_user.standard_error);
}

std::optional<Interval> ReviewEstimate::interval() const {
  return by_user.interval ? by_user.interval : share.interval;
}

std::string words_of(const ReviewEstimate& estimate) {
  const StratifiedShare& share = estimate.share;
  return fmt::format("of {} {:.2f} % are estimated to be false{}{}",
                     share.covered == share.population
                         ? fmt::format("all {}", words_of_count(share.population, "negative"))
                         : fmt::format("the {} (of {}) in strata with verdicts,",
                                       words_of_count(share.covered, "negative"),
                                       words_of_count(share.population)),
                     kHundred * share.share.value_or(0), error_words(estimate),
                     user_words(estimate));
}

std::string estimate_json(const ReviewEstimate& estimate) {
  const StratifiedShare& share = estimate.share;
  const ClusteredShare& by_user = estimate.by_user;
  const auto ends = [](Json& json, const std::optional<Interval>& interval) {
    json["low"] = interval ? Json(interval->low) : Json();
    json["high"] = interval ? Json(interval->high) : Json();
  };
  Json json = {{"share", or_nothing(share.share)},
               {"standard_error", or_nothing(estimate.standard_error())}};
  ends(json, estimate.interval());
  json["upper"] = or_nothing(share.upper);
  json["population"] = share.population;
  json["covered"] = share.covered;
  Json independent = {{"standard_error", or_nothing(share.standard_error)}};
  ends(independent, share.interval);
  json["independent"] = std::move(independent);
  json["by_user"] = {{"users", by_user.clusters},
                     {"most_of_one_user", by_user.most},
                     {"cells_of_one_user", by_user.strata_of_one},
                     {"standard_error", or_nothing(by_user.standard_error)},
                     {"design_effect", or_nothing(by_user.design_effect)},
                     {"upper", or_nothing(by_user.upper)}};
  json["method"] =
      "stratified sampling for proportions, weights population / judged of each cell: Cochran, "
      "Sampling Techniques, 3rd ed. 1977, ch. 5; by_user: Taylor linearisation with users as "
      "primary sampling units, Särndal, Swensson and Wretman 1992, ch. 5 and 7; the "
      "larger "
      "error counts";
  return json.dump();
}

}  // namespace quarry
