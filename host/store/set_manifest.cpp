// The JSON of a set's manifest.
#include "host/store/set_manifest.h"

#include <nlohmann/json.hpp>

#include "host/store/fill_names.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

Json column_list() {
  Json columns = Json::array();
  for (std::size_t c = 0; c < kNumColumns; ++c) {
    const ColumnType& type = column_type(static_cast<Column>(c));
    columns.push_back(
        {{"name", type.name}, {"dtype", type.descr}, {"shape", shape_words(type.shape)}});
  }
  return columns;
}

}  // namespace

std::string shard_entry(const std::string& path, std::uint64_t first_row, const ShardFacts& facts) {
  Json columns = Json::object();
  for (std::size_t c = 0; c < kNumColumns; ++c) {
    columns[column_type(static_cast<Column>(c)).name] = {
        {"bytes", facts.column_bytes[c]}, {"xxh3_128", facts.column_digest[c].hex()}};
  }
  return Json{{"path", path},
              {"first_row", first_row},
              {"rows", facts.rows},
              {"positives", facts.positives},
              {"columns", std::move(columns)}}
      .dump();
}

std::string set_manifest(const SetSchema& schema, std::uint64_t rows,
                         const std::string& content_hash, const std::vector<std::string>& shards,
                         const std::string& run_json, const std::string& more_json) {
  Json entries = Json::array();
  for (const std::string& entry : shards) entries.push_back(Json::parse(entry));
  Json manifest = {
      {"format", "quarry.negative_set"},
      {"format_version", kFormatVersion},
      {"rows", rows},
      {"k", schema.k},
      {"num_items", schema.num_items},
      {"branches", schema.branches},
      {"strata", schema.strata},
      {"fill_codes", kFillCodeNames},
      {"exposure_classes", {"non_consumption", "positive", "aversion", "disinterest", "ambiguous"}},
      {"content_hash", content_hash},
      {"columns", column_list()},
      {"shards", std::move(entries)},
      {"run", Json::parse(run_json)},
  };
  manifest.update(Json::parse(more_json));
  return manifest.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace quarry
