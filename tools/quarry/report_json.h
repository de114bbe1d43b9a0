// A miner's report as JSON and back, for runs that go on where an earlier process ended.
#pragma once

#include <nlohmann/json.hpp>

#include "host/mine/miner.h"

namespace quarry {

nlohmann::ordered_json report_to_json(const MinerReport& report);
/// Throws nlohmann::json::exception where it is not what report_to_json() wrote.
MinerReport report_from_json(const nlohmann::ordered_json& json);
/// What `after` has more than `before`; the deepest search is that of `after`.
MinerReport difference(const MinerReport& after, const MinerReport& before);

}  // namespace quarry
