// The log of events that quarry review import and quarry feedback write.
#include "tools/quarry/review_verbs.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "host/store/digest.h"
#include "kernels/core/errors.h"
#include "tools/quarry/export_file.h"
#include "tools/quarry/export_lines.h"
#include "tools/quarry/item_names.h"

namespace quarry {
namespace {

/// The sidecar is of `format`, and the file beside it has the bytes that it records.
bool as_written(const std::string& path, const std::string& format) {
  constexpr std::uint64_t kMostSidecar = std::uint64_t{1} << 26;
  try {
    const auto about = nlohmann::json::parse(read_text(sidecar_of(path), kMostSidecar));
    return about.at("format").get<std::string>() == format &&
           about.at("file").at("xxh3_128").get<std::string>() == digest_file(path).digest.hex();
  } catch (const nlohmann::json::exception&) {
    return false;
  } catch (const IoError&) {
    return false;
  } catch (const InputError&) {
    return false;
  }
}

}  // namespace

void check_replaced(const std::string& path, bool overwrite, const std::string& format,
                    const std::vector<std::string>& inputs) {
  check_no_input(path, inputs);
  check_export_target(path, overwrite, false);
  std::error_code error;
  const auto there = [&](const std::string& file) {
    return std::filesystem::exists(std::filesystem::symlink_status(file, error));
  };
  if (!overwrite || (!there(path) && !there(sidecar_of(path))) || as_written(path, format)) return;
  throw IoError(fmt::format(
      "{}: is not what this verb wrote there ({} is of something else, is missing, or records "
      "other "
      "bytes: what people filled in would be lost), so --overwrite does not replace it; choose "
      "another --out, or remove both files",
      path, sidecar_of(path)));
}

std::vector<std::string> files_of(const NamedSet& named) {
  std::vector<std::string> files = named.request.options.more_events;
  files.push_back(named.request.options.events);
  for (const InputFile& file : named.inputs->files) files.push_back(file.path);
  return files;
}

char table_separator(const std::string& path, const char* flag) {
  const std::string ending = std::filesystem::path(path).extension().string();
  if (ending == ".csv") return ',';
  if (ending == ".tsv") return '\t';
  throw ConfigError(fmt::format(
      "{} {}: the name's ending says how lines are written; .csv and .tsv are known", flag, path));
}

Recipe next_recipe(const NamedSet& named, const std::string& path) {
  return path.empty() ? named.recipe : load_recipe(path, named.request.options.round);
}

std::vector<PairClass> pair_classes_of(const NamedSet& named, const Recipe& recipe,
                                       const std::vector<FeedbackEvent>& events) {
  const RunRequest& request = named.request;
  std::vector<std::string> logs;
  if (!request.options.events.empty()) {
    logs = request.options.more_events;
    logs.insert(logs.begin(), request.options.events);
  }
  std::int64_t as_of =
      named.inputs->exposure ? named.inputs->exposure->as_of : request.as_of.value_or(INT64_MIN);
  for (const FeedbackEvent& event : events) as_of = std::max(as_of, event.time);
  const LogContext context{logs,
                           request.event_columns,
                           named.inputs->user_ids,
                           named.inputs->item_ids,
                           request.unknown_ids,
                           as_of};
  return pair_classes(events, context, recipe, request.miner.exec);
}

std::string places_of(const std::vector<FeedbackEvent>& events,
                      const std::vector<std::size_t>& which) {
  constexpr std::size_t kNamed = 10;
  std::string words;
  for (std::size_t i = 0; i < std::min(kNamed, which.size()); ++i)
    words += (i == 0 ? "" : ", ") + events[which[i]].where;
  return which.size() > kNamed ? fmt::format("{}, ... ({} in all)", words, which.size()) : words;
}

std::string write_event_log(const NamedSet& named, const std::vector<FeedbackEvent>& events,
                            const std::string& path, bool overwrite, const std::string& sidecar) {
  using Json = nlohmann::ordered_json;
  const char separator = table_separator(path, "--out");
  ExportFile file(path, overwrite);
  const auto put = [&](const std::vector<std::string>& fields) {
    std::string line;
    for (const std::string& field : fields) {
      if (!line.empty()) line += separator;
      line += table_text(field, separator);
    }
    file.write(line + "\n");
  };
  put(event_header(named.request.event_columns));
  for (const FeedbackEvent& event : events)
    put({named.user(event.user), named.item(event.item), std::to_string(event.time), event.kind,
         ""});
  file.close();
  Json about = Json::parse(sidecar);
  about["events"] = events.size();
  about["file"] = {{"name", std::filesystem::path(path).filename().string()},
                   {"bytes", file.bytes()},
                   {"xxh3_128", file.digest()}};
  file.publish(about.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  return file.digest();
}

std::string files_json(const std::vector<std::string>& paths) {
  using Json = nlohmann::ordered_json;
  Json files = Json::array();
  for (const std::string& path : paths) {
    const FileDigest digest = digest_file(path);
    files.push_back({{"name", std::filesystem::path(path).filename().string()},
                     {"bytes", digest.bytes},
                     {"xxh3_128", digest.digest.hex()}});
  }
  return files.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string next_words(const NamedSet& named, const std::vector<FeedbackEvent>& events,
                       const std::string& log, const std::string& recipe) {
  if (events.empty()) return "";
  const bool has_log = !named.request.options.events.empty();
  std::string words =
      fmt::format("quarry refresh {} {} {}", named.store.empty() ? "STORE" : named.store,
                  has_log ? "--more-events" : "--events", log);
  const std::int64_t as_of = named.inputs->exposure ? named.inputs->exposure->as_of : INT64_MAX;
  std::uint64_t later = 0;
  std::int64_t latest = as_of;
  for (const FeedbackEvent& event : events) {
    later += event.time > as_of ? 1 : 0;
    latest = std::max(latest, event.time);
  }
  std::string note;
  if (later > 0) {
    // Not "latest": the set's own log may go on behind its as-of, with what was held out.
    words += fmt::format(" --as-of {}", latest);
    note = fmt::format("{} later than {} (as-of of the set) and {} only with a later --as-of\n",
                       later == 1 ? "1 event is" : fmt::format("{} events are", later),
                       time_words(as_of), later == 1 ? "counts" : "count");
  }
  if (!recipe.empty()) words += " --recipe " + recipe;
  return note + "next: " + words + "\n";
}

}  // namespace quarry
