// Plans of refreshes.
#include "tools/quarry/refresh_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "host/store/digest.h"
#include "kernels/core/errors.h"
#include "tools/quarry/set_place.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Of the run that the version records, all rows: a plan cuts them anew.
RunRequest whole_run(RunRequest request, const NextVersion& next, const std::string& auto_device,
                     std::string& named_device) {
  named_device = request.options.device;
  if (!request.options.shard.empty()) {
    throw ConfigError(fmt::format(
        "--refresh: {} is of the rows of --shard {}; a plan is of all rows, quarry refresh goes on "
        "from it on one machine",
        next.version, request.options.shard));
  }
  if (request.options.device != "auto" || auto_device == "auto") return request;
  RunOptions options = request.options;
  options.device = auto_device;
  RunRequest other = check_run_options(options, request.recipe);
  other.snapshot = std::move(request.snapshot);
  return other;
}

}  // namespace

std::string PlannedRefresh::to_json(const std::string& folder) const {
  return Json{{"store", path_from(folder, store)},
              {"parent", parent},
              {"parent_xxh3_128", parent_digest},
              {"newest", newest},
              {"model", model},
              {"warnings", warnings},
              {"obstacles", rows.obstacles},
              {"items_changed", rows.items_changed},
              {"items_added", rows.items_added},
              {"rows_mined", rows.to_mine.count()},
              {"rows_taken", rows_taken},
              {"shards", shards},
              {"to_mine", rows.to_mine.text()}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

PlannedRefresh PlannedRefresh::from_json(const std::string& text, const std::string& folder,
                                         std::uint64_t rows) {
  const Json json = Json::parse(text);
  PlannedRefresh refresh;
  refresh.store =
      (fs::path(folder) / json.at("store").get<std::string>()).lexically_normal().string();
  refresh.parent = json.at("parent").get<std::uint64_t>();
  refresh.parent_digest = json.at("parent_xxh3_128").get<std::string>();
  refresh.newest = json.at("newest").get<std::uint64_t>();
  refresh.model = json.at("model").get<std::string>();
  refresh.warnings = json.at("warnings").get<std::vector<std::string>>();
  refresh.rows.obstacles = json.at("obstacles").get<std::vector<std::string>>();
  refresh.rows.items_changed = json.at("items_changed").get<std::uint64_t>();
  refresh.rows.items_added = json.at("items_added").get<std::uint64_t>();
  refresh.rows.to_mine = RowMarks::from_text(json.at("to_mine").get<std::string>(), rows);
  refresh.rows_taken = json.at("rows_taken").get<std::uint64_t>();
  refresh.shards = json.at("shards").get<std::uint64_t>();
  return refresh;
}

std::optional<std::uint64_t> PlannedRefresh::version_made(const Store& store,
                                                          const std::string& identity) const {
  const std::vector<std::uint64_t> there = store.versions();
  for (auto number = there.rbegin(); number != there.rend(); ++number) {
    if (store.identity(*number) == identity) return *number;
  }
  return std::nullopt;
}

void PlannedRefresh::check_store(const std::string& plan, const std::string& identity) const {
  const Store there = Store::open(store);
  const std::vector<std::uint64_t> versions = there.versions();
  const std::uint64_t now = versions.empty() ? 0 : versions.back();
  if (version_made(there, identity)) return;  // also where its parent is gone
  if (now != newest) {
    throw InputError(fmt::format(
        "{}: its newest version is {}, and was {} when {} was made to go on from version {}; plan "
        "anew (quarry shards plan --refresh)",
        store, now, newest, plan, parent));
  }
  if (std::ranges::find(versions, parent) == versions.end()) {
    throw InputError(fmt::format("{}: version {}, which {} goes on from, is gone; plan anew", store,
                                 parent, plan));
  }
  if (digest_file(there.version_file(parent)).digest.hex() != parent_digest) {
    throw InputError(fmt::format(
        "{}: is not what it was when {} was made: it is damaged (quarry verify), or another store "
        "lies there; plan anew",
        there.version_file(parent), plan));
  }
}

RefreshPlanner::RefreshPlanner(const NextVersion& next, const CLI::App& verb,
                               const std::string& auto_device)
    : next_(next),
      store_(store_of(next)),
      lock_(store_.path()),
      earlier_(store_, version_of(next, store_)),
      options_(store_options_of(next, store_, earlier_)),
      request_(whole_run(
          request_of(next, verb, earlier_, fmt::format("{}@{}", store_.path(), earlier_.number())),
          next, auto_device, named_device_)) {
  check_new_version(store_, {});
}

PlannedRefresh RefreshPlanner::decide(MiningRun& run, const Context& context,
                                      std::optional<std::uint64_t>& was_there) {
  PlannedRefresh planned;
  planned.store = store_.path();
  planned.parent = earlier_.number();
  planned.parent_digest = digest_file(store_.version_file(planned.parent)).digest.hex();
  planned.newest = store_.versions().back();
  planned.model = options_.model;
  planned.warnings = other_logs_warnings(store_, earlier_, run.request.options);
  if (std::string late = late_events_warning(next_, *run.inputs); !late.empty())
    planned.warnings.push_back(std::move(late));
  const std::optional<Embeddings> items = embeddings_of(
      earlier_, "items", next_.parent_items, *run.inputs, run.request.options.items_tensor);
  EarlierRun from{&earlier_, {}, nullptr};
  if (items) from.items = items->view();
  planned.rows.to_mine = RowMarks(run.inputs->rows.size());
  const Stored found = plan_into_store(store_, options_, run, context, from, &planned.rows.to_mine);
  if (found.was_there) was_there = found.version;
  planned.rows.obstacles = found.obstacles;
  planned.rows.items_changed = found.items_changed;
  planned.rows.items_added = found.items_added;
  planned.rows_taken = found.rows_taken;
  return planned;
}

}  // namespace quarry
