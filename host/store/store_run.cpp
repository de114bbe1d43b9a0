// A run that adds a version to a store.
#include "host/store/store_run.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "host/store/set_hash.h"
#include "host/store/set_manifest.h"
#include "kernels/core/errors.h"

namespace quarry {

using Json = nlohmann::ordered_json;

StoreRun::StoreRun(const Store& store, const std::string& identity, const SetSchema& schema)
    : store_(store), identity_(identity), schema_(schema) {}

std::optional<std::uint64_t> StoreRun::version_there() const {
  const std::vector<std::uint64_t> there = store_.versions();
  for (auto number = there.rbegin(); number != there.rend(); ++number) {
    if (store_.identity(*number) == identity_) return *number;
  }
  return std::nullopt;
}

void StoreRun::complete(std::uint64_t version, const std::vector<std::string>& tags) {
  store_.finish_commit(version, tags);
  end();
}

void StoreRun::begin(bool anew) {
  if (anew) remove_folder(work_folder());
  make_folder(store_.path() + "/work");
  make_folder(work_folder());
  remove_folder(part_folder());
  journal_.emplace(work_folder() + "/journal");
  sync_folder(store_.path() + "/work");
  for (const std::string& line : journal_->lines()) take_over(line);
}

std::string StoreRun::part_folder() const { return work_folder() + "/shard.part"; }

bool StoreRun::keep(std::uint64_t shard, std::uint64_t first_row, const ShardFacts& facts,
                    const std::string& about) {
  const std::string digest = facts.digest.hex();
  const bool shared = store_.keep_shard(part_folder(), facts, schema_);
  DoneShard done{shard_entry("shards/" + digest, first_row, facts), about};
  journal_->append(
      Json{{"shard", shard}, {"entry", Json::parse(done.entry)}, {"about", Json::parse(about)}}
          .dump());
  done_[shard] = std::move(done);
  return shared;
}

std::string StoreRun::content_hash() const {
  ContentHash hash(schema_.k);
  for (const auto& [number, shard] : done_)
    NegativeSet::hash_shard(store_.path(), shard.entry, schema_, hash);
  return hash.hex();
}

std::uint64_t StoreRun::commit(std::uint64_t rows, const std::string& run_json,
                               const std::string& about, const std::vector<std::string>& tags) {
  std::vector<std::string> shards;
  for (const auto& [number, shard] : done_) shards.push_back(shard.entry);
  Json of_store = Json::parse(about);
  of_store["identity"] = identity_;
  const Json more = {{"store", std::move(of_store)}};
  const std::uint64_t number =
      store_.commit(set_manifest(schema_, rows, content_hash(), shards, run_json,
                                 more.dump(-1, ' ', false, Json::error_handler_t::replace)),
                    tags);
  end();
  return number;
}

void StoreRun::abandon() { end(); }

void StoreRun::end() {
  journal_.reset();
  remove_folder(work_folder());
  sync_folder(store_.path() + "/work");
}

void StoreRun::take_over(const std::string& line) {
  try {
    const Json json = Json::parse(line);
    DoneShard shard{json.at("entry").dump(), json.at("about").dump()};
    const std::string path = store_.path() + "/" + json.at("entry").at("path").get<std::string>();
    std::error_code error;
    // One that is gone, which only hands from outside do, is made again.
    bool there = std::filesystem::is_directory(path, error);
    const Json about = json.at("about");
    if (about.is_object() && about.contains("basis")) {
      const std::string array =
          store_.path() + "/" + about.at("basis").at("path").get<std::string>();
      there = there && std::filesystem::is_regular_file(array, error);
    }
    if (there) done_[json.at("shard").get<std::uint64_t>()] = std::move(shard);
  } catch (const nlohmann::json::exception& e) {
    throw InputError(work_folder() + "/journal: " + e.what() +
                     "; delete the folder to make all again");
  }
}

}  // namespace quarry
