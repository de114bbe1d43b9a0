// Work lists.
#include "tools/quarry/shard_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "host/store/digest.h"
#include "host/store/files.h"
#include "kernels/core/errors.h"
#include "tools/quarry/file_identity.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/mine_into_store.h"
#include "tools/quarry/recorded_run.h"
#include "tools/quarry/run_report.h"
#include "tools/quarry/version.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kPlanFormat = "quarry.shard_plan";
/// Of a plan to mine all rows, and of one to refresh, which programs that know the former alone
/// would mine all rows of.
constexpr std::uint64_t kPlanVersion = 1, kRefreshVersion = 2;
constexpr std::uint64_t kMostPlanBytes = 64ull << 20;
constexpr std::uint64_t kUsualRowsPerShard = 65536;
constexpr const char* kIndexRole = "index-cache";

std::string folder_of(const std::string& file) {
  return fs::path(file_of_plan(file)).parent_path().string();
}

std::string dump_plan(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

/// Over all that decides what the shards are.
std::string hash_of_plan(const Json& plan) {
  const std::string text =
      dump_plan({plan.at("format_version"), plan.at("run"), plan.at("work")}, -1);
  return digest_of(text).hex();
}

std::string part_name(const std::string& hash, std::uint64_t id) {
  return fmt::format("{}-{:08}", hash.substr(0, 16), id);
}

std::vector<ItemSlice> cut_items(std::uint64_t wished, const MiningRun& run) {
  if (wished <= 1) return {};
  check_number_of_slices(wished, run);
  return even_slices(run.miner->plan(1).num_items, wished);
}

std::vector<ItemSlice> slices_of_plan(const std::string& file, const Json& work) {
  std::vector<ItemSlice> slices;
  const Json listed = work.value("item_slices", Json::array());
  const auto whole = [](const Json& number) {
    return number.is_number_unsigned() && number.get<std::uint64_t>() < 0xFFFFFFFFu;
  };
  for (const Json& entry : listed) {
    const bool pair = entry.is_array() && entry.size() == 2 && whole(entry[0]) && whole(entry[1]);
    const ItemSlice slice = pair ? ItemSlice{entry[0], entry[1]} : ItemSlice{};
    const std::uint32_t begins = slices.empty() ? 0 : slices.back().end;
    if (!pair || slice.first != begins || slice.end <= slice.first ||
        slice.first % kSliceAlignment != 0 || slices.size() >= kMostSlices)
      throw InputError(
          fmt::format("{}: its slices of the items are not one behind the other; "
                      "quarry shards plan makes another",
                      file));
    slices.push_back(slice);
  }
  return slices;
}

struct Cut {
  std::uint64_t rows_per_shard, rows_per_part;
};

std::uint64_t up(std::uint64_t a, std::uint64_t b) { return (a + b - 1) / b; }

Cut cut_of(const ShardCut& wish, std::uint64_t rows) {
  const std::uint64_t part = up(rows, std::min(wish.shards, rows));
  Cut cut{};
  // A plan's shard is of whole shards of the set, so that the set is the one that one process
  // writes, file by file.
  if (wish.rows_per_shard > 0) {
    cut.rows_per_shard = wish.rows_per_shard;
  } else {
    cut.rows_per_shard = up(part, up(part, kUsualRowsPerShard));
  }
  cut.rows_per_part = up(part, cut.rows_per_shard) * cut.rows_per_shard;
  if (up(rows, cut.rows_per_shard) > kMaxShards) {
    throw ConfigError(
        fmt::format("--shards: {} shards of {} rows make a set of {} shards, at most {} are "
                    "allowed; give fewer "
                    "--shards or more --rows-per-shard",
                    wish.shards, rows, up(rows, cut.rows_per_shard), kMaxShards));
  }
  return cut;
}

/// Paths are bytes and JSON is UTF-8: another path would be looked for by whoever reads the plan.
void check_paths(const std::string& json) {
  if (json.find("\xEF\xBF\xBD") != std::string::npos) {
    throw ConfigError(
        "the path of an input, of the store or of the shards' folder is not UTF-8, so that a plan "
        "cannot name it; give it another name, or a link to it");
  }
}

Json files_json(const MiningRun& run, const std::string& folder) {
  Json files = Json::array();
  for (const InputFile& file : run.inputs->files) {
    files.push_back({{"role", file.role},
                     {"path", path_from(folder, file.path)},
                     {"bytes", file.bytes},
                     {"xxh3_128", file.xxh3_128}});
  }
  if (!run.miner->exact()) {
    const FileDigest index = digest_file(run.request.options.index_cache);
    files.push_back({{"role", kIndexRole},
                     {"path", path_from(folder, run.request.options.index_cache)},
                     {"bytes", index.bytes},
                     {"xxh3_128", index.digest.hex()}});
  }
  return files;
}

[[noreturn]] void fail_plan(const std::string& file, const std::string& why) {
  throw InputError(fmt::format("{}: {}; quarry shards plan makes another", file, why));
}

RunRequest checked_request(const RecordedText& text, RunOptions options) {
  options.shard.clear();
  RunRequest checked = check_run_options(options, recorded_recipe(text, options.round));
  checked.miner.faiss.save = false;  // an index is made once, with the plan
  return checked;
}

/// As a plan lists it.
Json shard_json(std::uint64_t id, const PlannedShard& shard, bool of_refresh) {
  Json json = {{"id", id}, {"first_row", shard.first_row}, {"end_row", shard.end_row}};
  if (of_refresh) json["rows"] = shard.rows;
  json["output"] = shard.name;
  return json;
}

/// What follows from the plan's `work` and hash.
std::vector<PlannedShard> cut_shards(const std::string& file, const Json& work,
                                     const std::string& hash,
                                     const std::optional<PlannedRefresh>& refresh) {
  std::vector<PlannedShard> shards;
  const auto add = [&](std::uint64_t first, std::uint64_t end, std::uint64_t rows) {
    shards.push_back({first, end, rows, part_name(hash, shards.size())});
    if (shards.size() > kMaxShards) fail_plan(file, "it has too many shards");
  };
  if (refresh) {
    for (const RowMarks::Span& span : refresh->rows.to_mine.split(refresh->shards))
      add(span.first, span.end, span.count);
    return shards;
  }
  const auto first = work.at("first_row").get<std::uint64_t>();
  const auto rows = work.at("rows").get<std::uint64_t>();
  const auto each = work.at("rows_per_part").get<std::uint64_t>();
  if (rows == 0 || each == 0) fail_plan(file, "it has no rows");
  for (std::uint64_t at = 0; at < rows; at += each)
    add(first + at, first + std::min(at + each, rows), std::min(each, rows - at));
  return shards;
}

void check_shards_of_plan(const std::string& file, const Json& json,
                          const std::vector<PlannedShard>& shards, bool of_refresh) {
  for (std::size_t id = 0; id < shards.size(); ++id) {
    if (json.at("shards").at(id) != shard_json(id, shards[id], of_refresh))
      fail_plan(file, fmt::format("shard {} is not the one that its hash stands for", id));
  }
  if (json.at("shards").size() != shards.size()) fail_plan(file, "it lists too many shards");
}

}  // namespace

std::uint64_t most_slices_of(std::uint64_t items) {
  return std::clamp<std::uint64_t>(items / kSliceAlignment, 1, kMostSlices);
}

std::vector<ItemSlice> even_slices(std::uint64_t items, std::uint64_t count) {
  std::vector<ItemSlice> slices(count);
  for (std::uint64_t s = 0; s < count; ++s) {
    const auto bound = [&](std::uint64_t i) {
      return static_cast<std::uint32_t>(
          i == count ? items : i * items / count / kSliceAlignment * kSliceAlignment);
    };
    slices[s] = {bound(s), bound(s + 1)};
  }
  return slices;
}

void check_number_of_slices(std::uint64_t slices, const MiningRun& run) {
  if (slices <= 1) return;
  const std::string why = run.miner->not_sliced();
  if (!why.empty()) {
    const char* const remedy = run.miner->plan(1).depth == 0 ? "a recipe that does"
                               : run.miner->exact()          ? "--device cpu"
                                                             : "--retriever exact";
    throw ConfigError(
        fmt::format("--item-slices: {}; give {}, or take --item-slices out", why, remedy));
  }
  const std::uint64_t items = run.miner->plan(1).num_items;
  if (const std::uint64_t most = most_slices_of(items); slices > most) {
    throw ConfigError(fmt::format(
        "--item-slices: {} items make at most {} slices, each of {} items at least; {} were wished",
        items, most, kSliceAlignment, slices));
  }
}

std::uint64_t rows_of_largest_shard(const ShardCut& wish, std::uint64_t rows, bool of_refresh) {
  if (rows == 0) return 0;
  if (of_refresh) return up(rows, std::clamp<std::uint64_t>(wish.shards, 1, rows));
  return std::min(rows, cut_of(wish, rows).rows_per_part);
}

std::string make_shard_plan(const std::string& file, const std::string& outputs,
                            const ShardCut& wish, const MiningRun& run, const PlanNotes& notes,
                            std::optional<PlannedRefresh> refresh) {
  const std::string folder = folder_of(file);
  const RunRequest& request = run.request;
  const Cut cut = refresh ? Cut{wish.rows_per_shard, 0} : cut_of(wish, run.rows());
  const std::string options = options_to_json(request.options, folder);
  check_paths(options);
  check_paths(dump_plan(path_from(folder, outputs), -1));
  if (refresh) check_paths(dump_plan(path_from(folder, refresh->store), -1));
  StoreOptions store;
  store.rows_per_shard = cut.rows_per_shard;
  if (refresh) store.model = refresh->model;
  Json plan = {{"format", kPlanFormat},
               {"format_version", refresh ? kRefreshVersion : kPlanVersion},
               {"plan_hash", ""}};
  plan["command_line"] = notes.command_line;
  plan["estimate"] = Json::parse(notes.estimate_json);
  plan["worker_memory"] = Json::parse(notes.worker_memory_json);
  // As in the manifest of a set.
  plan["run"] = {{"options", Json::parse(options)},
                 {"recipe",
                  {{"name", request.recipe.name},
                   {"hash", fmt::format("{:016x}", request.recipe.hash)},
                   {"overrides", request.options.overrides},
                   {"text", request.recipe.text}}},
                 {"seed", request.options.seed},
                 {"round", request.options.round},
                 {"inputs", files_json(run, folder)},
                 {"rows", {{"in_all", run.inputs->rows.size()}}}};
  plan["work"] = {{"program", kVersion},
                  {"identity", run_identity(store, request, *run.inputs, folder)},
                  {"exact", run.miner->exact()},
                  {"k", request.recipe.k},
                  {"first_row", run.inputs->first_row},
                  {"rows", run.rows()},
                  {"rows_per_shard", cut.rows_per_shard}};
  if (refresh) {
    refresh->shards = wish.shards;
    plan["work"]["refresh"] = Json::parse(refresh->to_json(folder));
  } else {
    plan["work"]["rows_per_part"] = cut.rows_per_part;
  }
  for (const ItemSlice& slice : cut_items(wish.item_slices, run))
    plan["work"]["item_slices"].push_back({slice.first, slice.end});
  plan["outputs"] = path_from(folder, outputs);
  const std::string hash = hash_of_plan(plan);
  plan["plan_hash"] = hash;
  plan["shards"] = Json::array();
  for (const PlannedShard& shard : cut_shards(file, plan["work"], hash, refresh))
    plan["shards"].push_back(shard_json(plan["shards"].size(), shard, refresh.has_value()));
  std::string text = dump_plan(plan, 2) + "\n";
  if (text.size() > kMostPlanBytes) {
    throw ConfigError(fmt::format(
        "{}: the plan would have {} bytes, and at most {} are read; give fewer --shards, or quarry "
        "refresh for what is refreshed{}",
        file, text.size(), kMostPlanBytes,
        refresh ? fmt::format(": a bit for each of {} rows is most of it", run.inputs->rows.size())
                : std::string()));
  }
  return text;
}

std::string file_of_plan(const std::string& path) {
  std::error_code error;
  // Without links, also in its folders: paths go up from there by "..".
  const fs::path real = fs::weakly_canonical(fs::absolute(path), error);
  return error ? fs::absolute(path).string() : real.string();
}

ShardPlan read_shard_plan(const std::string& file) {
  ShardPlan plan;
  plan.file = file;
  plan.json = read_text(file_of_plan(file), kMostPlanBytes);
  const Json json = Json::parse(plan.json, nullptr, false);
  if (!json.is_object() || json.value("format", Json()) != kPlanFormat)
    fail_plan(file, "is no shard plan");
  const Json version = json.value("format_version", Json());
  if (version != kPlanVersion && version != kRefreshVersion) {
    fail_plan(file, fmt::format("its 'format_version' is neither {} nor {}", kPlanVersion,
                                kRefreshVersion));
  }
  try {
    plan.hash = json.at("plan_hash").get<std::string>();
    if (plan.hash != hash_of_plan(json))
      fail_plan(file, "does not have the hash that it names: it is damaged or was edited");
    const Json& work = json.at("work");
    const auto program = work.at("program").get<std::string>();
    if (program != kVersion) {
      throw ConfigError(fmt::format(
          "{}: was made by quarry {}, this is {}; all of a plan's shards are mined by one version",
          file, program, kVersion));
    }
    plan.identity = work.at("identity").get<std::string>();
    plan.exact = work.at("exact").get<bool>();
    plan.k = work.at("k").get<std::uint32_t>();
    plan.rows_per_shard = work.at("rows_per_shard").get<std::uint64_t>();
    const fs::path folder = folder_of(file);
    if (version == kRefreshVersion) {
      const auto in_all = json.at("run").at("rows").at("in_all").get<std::uint64_t>();
      try {
        plan.refresh =
            PlannedRefresh::from_json(work.at("refresh").dump(), folder.string(), in_all);
      } catch (const InputError& problem) {
        fail_plan(file, problem.what());
      }
    }
    plan.shards = cut_shards(file, work, plan.hash, plan.refresh);
    check_shards_of_plan(file, json, plan.shards, plan.refresh.has_value());
    plan.slices = slices_of_plan(file, work);
    plan.outputs = (folder / json.at("outputs").get<std::string>()).lexically_normal().string();
    for (const Json& entry : json.at("run").at("inputs")) {
      plan.files.push_back(
          {entry.at("role").get<std::string>(),
           (folder / entry.at("path").get<std::string>()).lexically_normal().string(),
           entry.at("bytes").get<std::uint64_t>(), entry.at("xxh3_128").get<std::string>()});
    }
  } catch (const nlohmann::json::exception& error) {
    fail_plan(file, fmt::format("it is damaged ({})", error.what()));
  }
  return plan;
}

std::uint64_t ShardPlan::rows() const {
  std::uint64_t rows = 0;
  for (const PlannedShard& shard : shards) rows += shard.rows;
  return rows;
}

std::optional<TakeOver> ShardPlan::passed_over() const {
  if (!refresh) return std::nullopt;
  return TakeOver{nullptr, nullptr, &refresh->rows.to_mine};
}

std::string ShardPlan::search_file(std::uint64_t search) const {
  return fmt::format("{}.items-{:04}", shards[search / slices.size()].name, search % slices.size());
}

RunRequest ShardPlan::request(const CLI::App& verb, const RunOptions& flags) const {
  const RecordedText text{folder_of(file), file, json};
  return checked_request(text, recorded_options(text, verb, flags));
}

RunRequest ShardPlan::request_without_device(const CLI::App& verb) const {
  const RecordedText text{folder_of(file), file, json};
  RunOptions options = recorded_options(text, verb, {});
  std::string device = std::exchange(options.device, "cpu");
  RunRequest checked = checked_request(text, options);
  checked.options.device = std::move(device);  // what a refresh of the set is to use
  return checked;
}

void ShardPlan::check_sizes() const {
  if (refresh) refresh->check_store(file, identity);
  for (const PlannedFile& planned : files) {
    const std::uint64_t bytes = identity_of(planned.path).bytes;
    if (bytes == planned.bytes) continue;
    throw InputError(
        fmt::format("{}: has {} bytes and had {} when {} was made; shards of changed inputs do not "
                    "fit together. "
                    "Put the file back, or plan anew",
                    planned.path, bytes, planned.bytes, file));
  }
  for (const PlannedFile& planned : files) {
    if (planned.role != kIndexRole) continue;
    if (digest_file(planned.path).digest.hex() != planned.xxh3_128) {
      throw InputError(
          fmt::format("{}: is another index than when {} was made; put it back, or plan anew",
                      planned.path, file));
    }
  }
}

void ShardPlan::check_inputs(const MiningRun& run) const {
  std::vector<std::string> changed;
  for (const InputFile& used : run.inputs->files) {
    const auto planned = std::find_if(files.begin(), files.end(), [&](const PlannedFile& entry) {
      return entry.role == used.role;
    });
    if (planned == files.end() || planned->bytes != used.bytes ||
        planned->xxh3_128 != used.xxh3_128)
      changed.push_back(fmt::format("{} ({})", used.path, used.role));
  }
  if (!changed.empty()) {
    throw InputError(fmt::format(
        "{}: not as when {} was made; shards of changed inputs do not fit together. Put them back, "
        "or plan anew",
        fmt::join(changed, ", "), file));
  }
  StoreOptions store;
  store.rows_per_shard = rows_per_shard;
  if (refresh) store.model = refresh->model;
  if (!slices.empty() && slices.back().end != run.miner->plan(1).num_items) {
    throw InputError(fmt::format("{}: its slices end with item {}, the items with {}; plan anew",
                                 file, slices.back().end - 1, run.miner->plan(1).num_items - 1));
  }
  const bool other_rows = refresh && refresh->rows.to_mine.rows() != run.inputs->rows.size();
  if (other_rows || run_identity(store, run.request, *run.inputs, folder_of(file)) != identity) {
    throw InputError(
        fmt::format("{}: the run that it describes is another one here, though all files are the "
                    "same (a version "
                    "of --snapshot that a tag named?); plan anew",
                    file));
  }
}

std::uint64_t task_number(const std::string& text, const std::string& flag, std::uint64_t count,
                          const ShardPlan& plan) {
  std::string number = text, from = flag;
  if (text == "env") {
    number.clear();
    for (const char* name :
         {"SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX"}) {
      const char* value = std::getenv(name);
      if (value == nullptr || *value == '\0') continue;
      if (!number.empty() && number != value) {
        throw ConfigError(fmt::format("{} env: {} is {} and {} is {}; give {} ID", flag, from,
                                      number, name, value, flag));
      }
      number = value;
      from = name;
    }
    if (number.empty()) {
      throw ConfigError(
          fmt::format("{} env: none of SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX and "
                      "AWS_BATCH_JOB_ARRAY_INDEX is set; give {} ID",
                      flag, flag));
    }
  }
  std::uint64_t id = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), id);
  if (error != std::errc() || end != number.data() + number.size() || id >= count) {
    const std::string what = flag.substr(2);
    throw ConfigError(fmt::format("{}: '{}' is no {} of {}, which has {} 0 to {}", from, number,
                                  what, plan.file, what + (what == "search" ? "es" : "s"),
                                  count - 1));
  }
  return id;
}

}  // namespace quarry
