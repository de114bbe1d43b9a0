// A plan whose rows are those that a refresh has to mine: which version it goes on from, what was
// found of every row, and the store that must still be the same when the shards are joined.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/store/set_lock.h"
#include "tools/quarry/mine_into_store.h"
#include "tools/quarry/next_version.h"

namespace quarry {

struct Context;

struct PlannedRefresh {
  std::string store;                  ///< its folder
  std::uint64_t parent = 0;           ///< version that rows are taken from
  std::string parent_digest;          ///< XXH3-128 of its file
  std::uint64_t newest = 0;           ///< version of the store, when it was planned
  std::string model;                  ///< of the version to come
  std::vector<std::string> warnings;  ///< what is doubtful about going on from `parent`
  DecidedRows rows;
  std::uint64_t rows_taken = 0;
  std::uint64_t shards = 0;  ///< into which the rows to mine are cut

  /// As `work.refresh` of a plan, JSON, paths relative to `folder`; and back. Throws InputError
  /// where it is not that of so many rows.
  std::string to_json(const std::string& folder) const;
  static PlannedRefresh from_json(const std::string& json, const std::string& folder,
                                  std::uint64_t rows);

  /// The version with this identity, which the refresh has made already.
  std::optional<std::uint64_t> version_made(const Store& store, const std::string& identity) const;
  /// Throws InputError where the store has got versions since, or is another one; versions of
  /// this identity do not matter. plan: its file, for messages.
  void check_store(const std::string& plan, const std::string& identity) const;
};

/// The making of such a plan. Holds the store's lock.
class RefreshPlanner {
 public:
  /// auto_device: takes the place of the device `auto`. Throws what quarry refresh throws.
  RefreshPlanner(const NextVersion& next, const CLI::App& verb, const std::string& auto_device);

  const RunRequest& request() const { return request_; }
  /// The device that flags or the version name, which `auto_device` may have taken the place of.
  const std::string& named_device() const { return named_device_; }
  std::uint64_t rows_per_shard() const { return options_.rows_per_shard; }
  /// Finds the rows to mine. Of a run that is a version already: none, with `was_there` its number.
  PlannedRefresh decide(MiningRun& run, const Context& context,
                        std::optional<std::uint64_t>& was_there);

 private:
  const NextVersion& next_;
  Store store_;
  StoreLock lock_;
  EarlierVersion earlier_;
  StoreOptions options_;
  std::string named_device_;
  RunRequest request_;
};

}  // namespace quarry
