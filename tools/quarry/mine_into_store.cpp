// Mining into a store.
#include "tools/quarry/mine_into_store.h"

#include <fmt/format.h>
#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "host/store/digest.h"
#include "host/store/shard_copy.h"
#include "host/store/shard_writer.h"
#include "host/store/store_run.h"
#include "kernels/core/errors.h"
#include "tools/quarry/join_shards.h"
#include "tools/quarry/made_rows.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/report_json.h"
#include "tools/quarry/row_feed.h"
#include "tools/quarry/verbs.h"
#include "tools/quarry/version.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

Json words_of(const Snapshot& snapshot) {
  DigestStream stream;
  stream.update(snapshot.popularity.data(), snapshot.popularity.size() * sizeof(std::uint32_t));
  return {stream.digest().hex(), snapshot.num_items, snapshot.as_of,
          snapshot.positive_users ? Json(*snapshot.positive_users) : Json()};
}

/// Which version of this program mined a set.
std::string program_of(const std::string& manifest_json) {
  const Json run = Json::parse(manifest_json).value("run", Json::object());
  return run.value("versions", Json::object()).value("quarry", "unknown");
}

/// The making of one version, and what is known of the one that rows are taken from.
class VersionMaker {
 public:
  VersionMaker(const Store& store, const StoreOptions& options, MiningRun& mining,
               const Context& context, const EarlierRun& earlier)
      : store_(store),
        options_(options),
        mining_(mining),
        context_(context),
        identity_(run_identity(options, mining.request, *mining.inputs, store.path())),
        run_(store, identity_, mining.schema()),
        dependence_(mining.request.recipe, mining.inputs->miner_inputs(), mining.inputs->item_ids,
                    mining.request.options.seed, mining.request.options.round,
                    mining.request.miner.exec) {
    for (const std::string& parent : options.parents) parents_.push_back(store.resolve(parent));
    stored_.shards = (mining.rows() + options.rows_per_shard - 1) / options.rows_per_shard;
    decided_ = earlier.decided != nullptr;
    if (earlier.version == nullptr) return;
    stored_.taken_from = earlier.version->number();
    if (const DecidedRows* decided = earlier.decided; decided != nullptr) {
      stored_.obstacles = decided->obstacles;
      stored_.items_changed = decided->items_changed;
      stored_.items_added = decided->items_added;
      if (stored_.obstacles.empty())
        takeover_ = TakeOver{earlier.version, nullptr, &decided->to_mine};
      return;
    }
    reuse_.emplace(dependence_, earlier.version->basis(), earlier.items, mining.miner->exact(),
                   mining.request.miner.exec);
    stored_.obstacles = reuse_->obstacles();
    const std::string program = program_of(earlier.version->set().manifest_json());
    if (program != kVersion)
      stored_.obstacles.push_back(
          fmt::format("program: version {} was mined by quarry {}, this is {}", stored_.taken_from,
                      program, kVersion));
    stored_.items_changed = reuse_->items_changed();
    stored_.items_added = reuse_->items_added();
    if (stored_.obstacles.empty()) takeover_ = TakeOver{earlier.version, &*reuse_, nullptr};
  }

  Stored plan(RowMarks* to_mine) {
    const auto there = run_.version_there();
    stored_.was_there = there && store_.verify(*there).empty();
    if (stored_.was_there) {
      stored_.version = *there;
      return stored_;
    }
    RowFeed feed = feed_of(0, mining_.rows());
    while (feed.begin_stretch(context_.stop) > 0) {
      stored_.rows_mined += feed.rows_to_mine();
      if (to_mine != nullptr) feed.mark_rows_to_mine(*to_mine);
    }
    stored_.rows_taken = mining_.rows() - stored_.rows_mined - feed.bad_rows();
    return stored_;
  }

  Stored repair_version(std::uint64_t version) {
    if (store_.identity(version) != identity_) {
      throw InputError(fmt::format(
          "{}: version {} was mined from other inputs, or by another version of this program, than "
          "are there now; it cannot be mended",
          store_.path(), version));
    }
    mends_ = true;
    return make();
  }

  Stored join(const MadeParts& parts) {
    parts_ = &parts;
    return make();
  }

  Stored make() {
    const auto there = run_.version_there();
    // One that is damaged is mined again: its shards are put in place of those that are not whole.
    const bool damaged = there && !store_.verify(*there).empty();
    if (there && !damaged) return finish_there(*there);
    // The sample that tells an approximate retriever's recall would miss the rows of earlier
    // shards.
    run_.begin(!mining_.miner->exact() || damaged || parts_ != nullptr);
    MeasuredRecall recall;
    if (parts_ != nullptr && !decided_) {
      take_parts();
      count_done_shards();
      stored_.shards_resumed = 0;
      recall = recall_of_parts(*mining_.miner);
    } else {
      if (parts_ != nullptr) read_parts();
      count_done_shards();
      sample_.emplace(mining_.miner->exact() || made_ ? 0 : mining_.request.options.recall_rows);
      progress_.emplace("rows", mining_.rows());
      for (std::uint64_t n = 0; n < stored_.shards;) n = is_done(n) ? n + 1 : make_shards(n);
      recall = made_ ? recall_of_parts(*mining_.miner)
                     : measure_recall(*sample_, *mining_.inputs, mining_.inputs->first_row,
                                      *mining_.miner, context_.stop);
    }
    if (context_.stop->load()) throw Cancelled("stopped after the last row");
    stored_.run_json = mining_.report(recall, unknown_segments_);
    if (damaged) {
      repair(*there);
    } else {
      commit();
    }
    return stored_;
  }

 private:
  Stored finish_there(std::uint64_t version) {
    const Stored found = found_in_store(store_, options_, version, identity_);
    stored_.version = found.version;
    stored_.was_there = true;
    stored_.content_hash = found.content_hash;
    stored_.run_json = found.run_json;
    return stored_;
  }

  RowFeed feed_of(std::uint64_t first, std::uint64_t end) {
    const Inputs& inputs = *mining_.inputs;
    RowFeed feed(inputs, *mining_.miner, mining_.request.recipe.k, inputs.first_row + first,
                 inputs.first_row + end, &dependence_, takeover_ ? &*takeover_ : nullptr,
                 takeover_ ? options_.rows_per_shard : 0,
                 mining_.request.miner.host_memory / kStretchShare);
    if (made_) {
      feed.take_mined([this](const RowsView& rows, const RowFeed::MinedSink& sink) {
        made_->give(rows, sink);
      });
    }
    return feed;
  }

  /// Rows to mine are those of the parts, whose counters this run takes over.
  void read_parts() {
    made_.emplace(parts_->count, parts_->open, [this](const RunPart& part) {
      if (context_.stop->load()) throw Cancelled("stopped while joining");
      unknown_segments_ += count_part(part, mining_);
    });
  }

  /// Shards of a part count together, by the last of them.
  void take_parts() {
    std::uint64_t n = 0;
    for (std::uint64_t p = 0; p < parts_->count; ++p) {
      const RunPart part = parts_->open(p);
      const std::uint64_t first = n, last = n + part.shards().size() - 1;
      const Json told = Json::parse(part.about());
      const Json counted = {{"report", told.at("report")},
                            {"bad_rows", told.at("bad_rows")},
                            {"unknown_segments", told.at("unknown_segments")},
                            {"mined", part.set().rows() - told.at("bad_rows").get<std::uint64_t>()},
                            {"seconds", told.at("seconds")},
                            {"counts_from", first}};
      for (std::size_t shard = 0; shard < part.shards().size(); ++shard, ++n) {
        if (context_.stop->load()) throw Cancelled("stopped while joining");
        const FinishedShard& from = part.shards()[shard];
        QUARRY_CHECK(from.facts.rows == rows_of(n));
        remove_folder(run_.part_folder());
        copy_shard(from.folder, run_.part_folder());
        Json about = n == last ? counted : Json{{"counted_by", last}};
        keep_shard(n, from.facts, part.basis(shard), std::move(about));
      }
    }
    QUARRY_CHECK(n == stored_.shards);
  }

  /// Shards that were made together count together, by the last of them: without it the others are
  /// made again.
  bool is_done(std::uint64_t n) const {
    const auto shard = run_.done().find(n);
    if (shard == run_.done().end()) return false;
    const Json about = Json::parse(shard->second.about);
    if (!about.contains("counted_by")) return true;
    const auto counting = run_.done().find(about["counted_by"].get<std::uint64_t>());
    if (counting == run_.done().end()) return false;
    const Json counted = Json::parse(counting->second.about);
    return !counted.contains("counted_by") && counted.value("counts_from", n + 1) <= n;
  }

  void count_done_shards() {
    for (const auto& [number, shard] : run_.done()) {
      if (!is_done(number)) continue;
      stored_.shards_resumed += 1;
      try {
        const Json about = Json::parse(shard.about);
        if (about.contains("counted_by")) continue;
        mining_.miner->count_earlier(report_from_json(about.at("report")));
        mining_.facts.bad_rows += about.at("bad_rows").get<std::uint64_t>();
        unknown_segments_ += about.at("unknown_segments").get<std::uint64_t>();
        mining_.facts.mine_seconds += about.at("seconds").get<double>();
        stored_.rows_taken += about.value("taken", std::uint64_t{0});
        stored_.rows_mined += about.value("mined", std::uint64_t{0});
      } catch (const nlohmann::json::exception& error) {
        throw InputError(
            fmt::format("{}/work: what shard {} of the run that was stopped says of "
                        "itself is damaged ({}); quarry prune --unfinished removes it",
                        store_.path(), number, error.what()));
      }
    }
  }

  /// A shard being written.
  struct Part {
    Part(std::uint64_t shard, std::uint64_t rows, const std::string& folder,
         const SetSchema& schema)
        : number(shard), left(rows), writer(folder, schema) {
      basis.reserve(rows);
    }
    std::uint64_t number;
    std::uint64_t left;  ///< rows to come
    ShardWriter writer;
    std::vector<RowBasis> basis;
  };

  std::uint64_t rows_of(std::uint64_t shard) const {
    const std::uint64_t first = shard * options_.rows_per_shard;
    return std::min(options_.rows_per_shard, mining_.rows() - first);
  }

  /// Shard n, and those behind it in one stretch of rows, of which most are taken over. Returns the
  /// next one.
  std::uint64_t make_shards(std::uint64_t n) {
    std::uint64_t end = n + 1;
    while (takeover_ && end < stored_.shards && !is_done(end)) ++end;
    const std::uint64_t first = n * options_.rows_per_shard;
    RowFeed feed = feed_of(first, std::min(end * options_.rows_per_shard, mining_.rows()));
    const MinerReport before = mining_.miner->report();
    const auto start = std::chrono::steady_clock::now();
    // Without a takeover a shard is of many blocks, with one a stretch is of whole shards.
    const std::uint64_t rows = takeover_ ? feed.begin_stretch(context_.stop) : rows_of(n);
    const std::uint64_t last = n + (rows - 1) / options_.rows_per_shard;
    // What workers counted is of no shard's rows: all count with the last one.
    const std::uint64_t counting = made_ ? stored_.shards - 1 : last;
    std::optional<Part> part;
    part.emplace(n, rows_of(n), run_.part_folder(), mining_.schema());
    const RowFeed::Sink sink = [&](const NegativeBatch& batch, std::uint64_t at,
                                   const SetRows& of) {
      for (std::uint32_t r = 0; r < batch.num_rows;) {
        if (part->left == 0) {
          const std::uint64_t next = part->number + 1;
          keep_part(*part, {{"counted_by", counting}});
          part.emplace(next, rows_of(next), run_.part_folder(), mining_.schema());
        }
        const auto until =
            static_cast<std::uint32_t>(std::min<std::uint64_t>(batch.num_rows, r + part->left));
        part->left -= until - r;
        part->writer.append(batch, of, r, until, nullptr);
        for (; r < until; ++r)
          part->basis.push_back({of.depends[r], std::bit_cast<std::uint32_t>(batch.floor[r])});
      }
      sample_->offer(batch, of.key, first + at);
      progress_->update(first + at + batch.num_rows);
    };
    if (takeover_) {
      feed.mine_stretch(sink, context_.stop);
    } else {
      feed.mine(sink, context_.stop);
    }
    mining_.miner->count_earlier(feed.taken());
    mining_.facts.bad_rows += feed.bad_rows();
    unknown_segments_ += feed.unknown_segments();
    const std::uint64_t mined = rows - feed.taken_rows() - feed.bad_rows();
    stored_.rows_taken += feed.taken_rows();
    stored_.rows_mined += mined;
    Json about = {{"report", report_to_json(difference(mining_.miner->report(), before))},
                  {"bad_rows", feed.bad_rows()},
                  {"unknown_segments", feed.unknown_segments()},
                  {"taken", feed.taken_rows()},
                  {"mined", mined},
                  {"seconds", seconds_since(start)},
                  {"counts_from", n}};
    mining_.facts.mine_seconds += about["seconds"].get<double>();
    if (made_) about = last < counting ? Json{{"counted_by", counting}} : counts_of_all();
    keep_part(*part, std::move(about));
    return last + 1;
  }

  /// Of a run that began with the first shard.
  Json counts_of_all() {
    made_->check_end();
    return {{"report", report_to_json(mining_.miner->report())},
            {"bad_rows", mining_.facts.bad_rows},
            {"unknown_segments", unknown_segments_},
            {"taken", stored_.rows_taken},
            {"mined", stored_.rows_mined},
            {"seconds", mining_.facts.mine_seconds},
            {"counts_from", 0}};
  }

  void keep_part(Part& part, Json about) {
    const ShardFacts shard = part.writer.finish();
    try {
      check_unchanged(*mining_.inputs);  // a shard of inputs that changed must not outlive this run
    } catch (const InputError& error) {
      run_.abandon();
      throw InputError(std::string(error.what()) + "; what this run had made is dropped");
    }
    keep_shard(part.number, shard, part.basis, std::move(about));
  }

  /// The shard in the run's part folder.
  void keep_shard(std::uint64_t number, const ShardFacts& facts, const std::vector<RowBasis>& basis,
                  Json about) {
    about["basis"] = Json::parse(
        keep_rows(store_, run_.draft_file(), fmt::format("{}-{}", identity_, number), basis));
    const std::uint64_t first = number * options_.rows_per_shard;
    stored_.shards_shared += run_.keep(number, first, facts, about.dump()) ? 1 : 0;
  }

  Json basis() {
    std::vector<std::string> rows;
    for (const auto& [number, shard] : run_.done())
      rows.push_back(Json::parse(shard.about).at("basis").dump());
    return Json::parse(
        keep_basis(store_, run_.draft_file(), dependence_, mining_.miner->exact(), rows));
  }

  void repair(std::uint64_t version) {
    basis();
    stored_.content_hash = run_.content_hash();
    if (mends_) {
      run_.abandon();  // what tags mean stays as it is
    } else {
      run_.complete(version, options_.tags);
    }
    stored_.version = version;
    stored_.repaired = true;
    const std::vector<std::string> left = store_.verify(version);
    if (!left.empty()) throw InputError(left.front());
  }

  void commit() {
    Json about = {{"parents", std::move(parents_)},
                  {"model", options_.model},
                  {"note", options_.note},
                  {"rows_per_shard", options_.rows_per_shard},
                  {"basis", basis()}};
    if (stored_.taken_from != 0) {
      about["taken"] = {
          {"from", stored_.taken_from},         {"rows", stored_.rows_taken},
          {"mined", stored_.rows_mined},        {"items_changed", stored_.items_changed},
          {"items_added", stored_.items_added}, {"obstacles", stored_.obstacles}};
    }
    stored_.version =
        run_.commit(mining_.rows(), stored_.run_json,
                    about.dump(-1, ' ', false, Json::error_handler_t::replace), options_.tags);
    stored_.content_hash = Json::parse(store_.manifest(stored_.version)).value("content_hash", "");
  }

  Store store_;
  const StoreOptions& options_;
  MiningRun& mining_;
  const Context& context_;
  std::string identity_;
  StoreRun run_;
  Dependence dependence_;
  std::optional<Reuse> reuse_;
  std::optional<TakeOver> takeover_;
  std::optional<RecallSample> sample_;
  std::optional<Progress> progress_;
  std::uint64_t unknown_segments_ = 0;
  bool decided_ = false;              ///< it is given which rows are to be mined
  const MadeParts* parts_ = nullptr;  ///< to take instead of mining
  std::optional<MadeRows> made_;      ///< rows of parts, where these are not of whole shards
  bool mends_ = false;                ///< a version that is damaged is made again because of that
  Json parents_ = Json::array();
  Stored stored_;
};

}  // namespace

std::string run_identity(const StoreOptions& options, const RunRequest& request,
                         const Inputs& inputs, const std::string& folder) {
  Json json = Json::parse(options_to_json(request.options, folder));
  for (const char* key : {"threads", "tile", "host-memory", "device", "index-cache", "recall-rows"})
    json.erase(key);
  // Files count by what is in them, wherever they lie; of FILE:column the column counts.
  for (const char* key :
       {"items", "users", "events", "more-events", "catalogue", "rows", "recipe", "snapshot"})
    json.erase(key);
  for (const char* key : {"item-ids", "user-ids", "pairs", "feature", "item-list"}) {
    if (!json.contains(key)) continue;
    Json columns = Json::array();
    for (const Json& value : json[key].is_array() ? json[key] : Json::array({json[key]})) {
      const std::string text = value.get<std::string>();
      columns.push_back({text.substr(0, text.find('=') == std::string::npos ? 0 : text.find('=')),
                         text.rfind(':') == std::string::npos ? "" : text.substr(text.rfind(':'))});
    }
    json[key] = std::move(columns);
  }
  for (const InputFile& file : inputs.files)
    json["files"].push_back({file.role, file.bytes, file.xxh3_128});
  json["recipe-text"] = request.recipe.text;
  json["rows"] = {inputs.first_row, inputs.end_row, options.rows_per_shard};
  json["model"] = options.model;
  if (request.snapshot) json["snapshot"] = words_of(*request.snapshot);
  json["format"] = {kFormatVersion, kVersion, "with basis"};
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  return digest_of(text).hex();
}

Stored mine_into_store(const Store& store, const StoreOptions& options, MiningRun& mining,
                       const Context& context, const EarlierRun& earlier) {
  return VersionMaker(store, options, mining, context, earlier).make();
}

Stored join_into_store(const Store& store, const StoreOptions& options, MiningRun& mining,
                       const Context& context, const MadeParts& parts, const EarlierRun& earlier) {
  return VersionMaker(store, options, mining, context, earlier).join(parts);
}

Stored found_in_store(const Store& store, const StoreOptions& options, std::uint64_t version,
                      const std::string& identity) {
  // A refresh that finds nothing new moves no tag back; one whose process was killed behind its
  // commit is completed.
  if (options.moves_tags_back || version == store.versions().back())
    StoreRun(store, identity, {}).complete(version, options.tags);
  Stored stored;
  stored.version = version;
  stored.was_there = true;
  const Json manifest = Json::parse(store.manifest(version));
  stored.content_hash = manifest.value("content_hash", "");
  stored.run_json = manifest.value("run", Json::object()).dump();
  return stored;
}

Stored repair_in_store(const Store& store, std::uint64_t version, const StoreOptions& options,
                       MiningRun& mining, const Context& context) {
  return VersionMaker(store, options, mining, context, {}).repair_version(version);
}

StoreOptions store_options_in(const std::string& store, const std::string& manifest_json) {
  const Json about = Json::parse(manifest_json).value("store", Json::object());
  StoreOptions options;
  options.store = store;
  options.model = about.value("model", "");
  options.rows_per_shard = about.value("rows_per_shard", options.rows_per_shard);
  return options;
}

Stored plan_into_store(const Store& store, const StoreOptions& options, MiningRun& mining,
                       const Context& context, const EarlierRun& earlier, RowMarks* to_mine) {
  return VersionMaker(store, options, mining, context, earlier).plan(to_mine);
}

}  // namespace quarry
