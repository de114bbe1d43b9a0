// A miner's report as JSON and back.
#include "tools/quarry/report_json.h"

#include <algorithm>

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

/// Every number of a report that adds up, in one order.
template <class Report, class Visit>
void each_number(Report& r, Visit visit) {
  auto& c = r.counters;
  for (auto* value : {&c.rows, &c.requested, &c.emitted}) visit(*value);
  for (auto& value : c.missing) visit(value);
  for (auto& branch : c.branch) {
    visit(branch.examined);
    for (auto& value : branch.rejected) visit(value);
    for (auto* value : {&branch.pool, &branch.picked, &branch.repeats, &branch.refused,
                        &branch.enumerated_rows, &branch.unscored, &branch.inert_rows})
      visit(*value);
  }
  for (auto& stratum : r.strata) {
    for (auto& value : stratum.slots) visit(value);
  }
  auto& s = r.search;
  for (auto* value : {&s.queries, &s.certified, &s.fallback, &s.widened, &s.coarse, &s.toward,
                      &s.passed, &r.tiles, &r.deepened_rows, &r.candidates, &r.certified_rows})
    visit(*value);
}

template <class Report, class Visit>
void each_second(Report& r, Visit visit) {
  auto& t = r.seconds;
  for (auto* value : {&t.prepare, &t.retrieve, &t.gather, &t.exclude, &t.select, &t.merge, &t.emit})
    visit(*value);
}

}  // namespace

Json report_to_json(const MinerReport& report) {
  Json numbers = Json::array(), seconds = Json::array();
  each_number(report, [&](const std::uint64_t& value) { numbers.push_back(value); });
  each_second(report, [&](const double& value) { seconds.push_back(value); });
  return {{"strata", report.strata.size()},
          {"deepest", report.deepest},
          {"numbers", std::move(numbers)},
          {"seconds", std::move(seconds)}};
}

MinerReport report_from_json(const Json& json) {
  MinerReport report;
  const Json& numbers = json.at("numbers");
  const auto strata = json.at("strata").get<std::uint64_t>();
  if (strata <= numbers.size()) report.strata.resize(strata);
  report.deepest = json.at("deepest").get<std::uint64_t>();
  std::size_t at = 0;
  each_number(report, [&](std::uint64_t& value) { value = numbers.at(at++).get<std::uint64_t>(); });
  at = 0;
  each_second(report, [&](double& value) { value = json.at("seconds").at(at++).get<double>(); });
  return report;
}

MinerReport difference(const MinerReport& after, const MinerReport& before) {
  MinerReport more = after;
  MinerReport less = before;
  less.strata.resize(std::max(after.strata.size(), before.strata.size()));
  more.strata.resize(less.strata.size());
  std::vector<std::uint64_t> numbers;
  std::vector<double> seconds;
  each_number(less, [&](std::uint64_t& value) { numbers.push_back(value); });
  each_second(less, [&](double& value) { seconds.push_back(value); });
  std::size_t at = 0;
  each_number(more, [&](std::uint64_t& value) { value -= numbers[at++]; });
  at = 0;
  each_second(more, [&](double& value) { value -= seconds[at++]; });
  return more;
}

}  // namespace quarry
