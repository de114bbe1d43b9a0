// The flags of a mining run: registering, checking, recording.
#include "tools/quarry/run_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "host/data/table.h"
#include "kernels/core/errors.h"
#include "tools/quarry/device.h"
#include "tools/quarry/recipe_needs.h"
#include "tools/quarry/safety_inputs.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::uint32_t kMostRecallRows = 65536;

/// "user=a,item=b" into the named texts. `flag` and the allowed keys go into the message.
void map_columns(const std::string& text, const std::string& flag,
                 std::initializer_list<std::pair<std::string_view, std::string*>> fields) {
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    begin = end + 1;
    const std::size_t equals = part.find('=');
    std::string allowed;
    bool known = false;
    for (const auto& [key, target] : fields) {
      if (!allowed.empty()) allowed += ", ";
      allowed += key;
      if (equals != std::string::npos && part.compare(0, equals, key) == 0 &&
          equals == key.size()) {
        *target = part.substr(equals + 1);
        known = !target->empty();
      }
    }
    if (!known) {
      throw ConfigError(
          fmt::format("{}: '{}' is not key=column; keys are {}", flag, part, allowed));
    }
  }
}

template <class Value>
Value choose(const std::string& text, const std::string& flag,
             std::initializer_list<std::pair<std::string_view, Value>> values) {
  std::string allowed;
  for (const auto& [name, value] : values) {
    if (text == name) return value;
    allowed += (allowed.empty() ? "" : ", ") + std::string(name);
  }
  throw ConfigError(fmt::format("{}: '{}' is not one of {}", flag, text, allowed));
}

std::vector<NamedPath> split_named(const std::vector<std::string>& texts, const std::string& flag,
                                   bool with_column) {
  std::vector<NamedPath> all;
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
      throw ConfigError(fmt::format("{}: '{}' is not NAME=FILE", flag, text));
    }
    NamedPath entry = with_column ? split_column(text.substr(equals + 1))
                                  : NamedPath{"", text.substr(equals + 1), ""};
    entry.name = text.substr(0, equals);
    for (const NamedPath& other : all) {
      if (other.name == entry.name)
        throw ConfigError(fmt::format("{}: '{}' is given twice", flag, entry.name));
    }
    all.push_back(std::move(entry));
  }
  return all;
}

void parse_shard(RunRequest& request) {
  const std::string& text = request.options.shard;
  if (text.empty()) return;
  const std::size_t slash = text.find('/');
  const auto number = [&](std::string_view part, std::uint64_t& out) {
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), out);
    return error == std::errc() && end == part.data() + part.size();
  };
  const std::string_view view = text;
  if (slash == std::string::npos || !number(view.substr(0, slash), request.shard) ||
      !number(view.substr(slash + 1), request.num_shards) || request.num_shards == 0 ||
      request.num_shards > (1u << 20) || request.shard >= request.num_shards) {
    throw ConfigError(fmt::format("--shard: '{}' is not i/n with 0 <= i < n <= 1048576", text));
  }
}

void check_rows(const RunOptions& o) {
  if (!o.rows.empty() && !o.rows_from.empty())
    throw ConfigError("--rows and --rows-from exclude each other");
  if (!o.more_events.empty() && o.events.empty())
    throw ConfigError("--more-events needs a log to add to: give --events too");
}

/// An index may take hours to build: whether it can be kept is asked first.
void check_index_cache(const RunOptions& options) {
  std::error_code error;
  if (options.index_cache.empty() || fs::exists(options.index_cache, error)) return;
  const fs::path folder = fs::absolute(options.index_cache).parent_path();
  if (::access(folder.c_str(), W_OK | X_OK) != 0) {
    throw IoError(fmt::format("--index-cache: {} cannot be written in {}: {}", options.index_cache,
                              folder.string(), std::strerror(errno)));
  }
}

bool is_recipe_path(const std::string& recipe) {
  return recipe.find('/') != std::string::npos || recipe.ends_with(".toml");
}

/// Applies `change` to the path inside an option's text.
std::string change_path(const std::string& text, OptionRole role,
                        const std::function<std::string(const std::string&)>& change) {
  if (text.empty()) return text;
  switch (role) {
    case OptionRole::kPlain:
      return text;
    case OptionRole::kPath:
      return change(text);
    case OptionRole::kRecipe:
      return is_recipe_path(text) ? change(text) : text;
    case OptionRole::kPathColumn: {
      const NamedPath parts = split_column(text);
      return change(parts.path) + (parts.column.empty() ? "" : ":" + parts.column);
    }
    case OptionRole::kNamedPath: {
      const std::size_t equals = text.find('=');
      if (equals == std::string::npos) return text;
      return text.substr(0, equals + 1) +
             change_path(text.substr(equals + 1), OptionRole::kPathColumn, change);
    }
  }
  return text;
}

/// Says the range where CLI11 says only that a text could not be converted.
template <class Number>
CLI::Validator whole_number() {
  const auto judge = [](const std::string& text) -> std::string {
    Number value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size()) return "";
    return fmt::format("'{}' is not a whole number from {} to {}", text,
                       std::numeric_limits<Number>::min(), std::numeric_limits<Number>::max());
  };
  return CLI::Validator(judge, "", "whole number");
}

CLI::Validator number() {
  const auto judge = [](const std::string& text) -> std::string {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size()) return "";
    return fmt::format("'{}' is not a number", text);
  };
  return CLI::Validator(judge, "", "number");
}

}  // namespace

NamedPath split_column(const std::string& text) {
  NamedPath result;
  result.path = text;
  std::error_code error;
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0 || fs::exists(text, error)) return result;
  if (text.find('/', colon) != std::string::npos) return result;
  result.path = text.substr(0, colon);
  result.column = text.substr(colon + 1);
  return result;
}

void check_required(const RunOptions& o,
                    std::initializer_list<std::pair<const std::string*, const char*>> more) {
  std::vector<std::pair<const std::string*, const char*>> required = {
      {&o.items, "--items"}, {&o.users, "--users"}, {&o.recipe, "--recipe"}};
  required.insert(required.end(), more);
  std::vector<std::string> missing;
  for (const auto& [value, flag] : required) {
    if (value->empty()) missing.emplace_back(flag);
  }
  const bool no_rows = o.rows.empty() && o.events.empty();
  if (missing.empty() && no_rows) {
    throw ConfigError(
        "there are no training rows: give --rows FILE, or --events FILE to derive them from");
  }
  if (no_rows) missing.emplace_back("(--events or --rows)");
  if (!missing.empty()) {
    throw ConfigError(fmt::format("{} {} required", fmt::join(missing, ", "),
                                  missing.size() == 1 ? "is" : "are"));
  }
}

void add_run_options(CLI::App& verb, RunOptions& options, OptionUse least) {
  each_option(
      options, [&](const char* flag, auto& member, OptionRole, OptionUse use, const char* help) {
        if (use < least) return;
        using Member = std::remove_reference_t<decltype(member)>;
        if constexpr (std::is_same_v<Member, bool>) {
          verb.add_flag(flag, member, help);
        } else if constexpr (std::is_same_v<Member, std::vector<std::string>>) {
          verb.add_option(flag, member, help)
              ->expected(1)
              ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
        } else if constexpr (std::is_integral_v<Member>) {
          verb.add_option(flag, member, help)->capture_default_str()->check(whole_number<Member>());
        } else if constexpr (std::is_floating_point_v<Member>) {
          verb.add_option(flag, member, help)->capture_default_str()->check(number());
        } else {
          verb.add_option(flag, member, help)->capture_default_str();
        }
      });
}

std::uint64_t parse_bytes(const std::string& text, const std::string& flag) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string unit(end, text.data() + text.size());
  for (char& c : unit) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (unit.ends_with("IB"))
    unit.resize(unit.size() - 2);
  else if (unit.ends_with("B"))
    unit.resize(unit.size() - 1);
  const std::string_view units = "KMGT";
  double scale = 1;
  bool known = unit.empty();
  for (std::size_t i = 0; i < units.size(); ++i) {
    if (unit.size() == 1 && unit[0] == units[i]) {
      scale = static_cast<double>(1ull << (10 * (i + 1)));
      known = true;
    }
  }
  const double bytes = number * scale;
  if (error != std::errc() || !known || !(bytes >= 1) || bytes > 1e18) {
    throw ConfigError(fmt::format(
        "{}: '{}' is not a size; write a number with K, M, G or T, e.g. 512M", flag, text));
  }
  return static_cast<std::uint64_t>(bytes);
}

EventColumns parse_event_columns(const std::string& text, const std::string& fixed_kind) {
  EventColumns columns;
  std::string kind, value;
  map_columns(text, "--event-columns",
              {{"user", &columns.user},
               {"item", &columns.item},
               {"time", &columns.time},
               {"kind", &kind},
               {"value", &value}});
  columns.fixed_kind = fixed_kind;
  if (!kind.empty() && !fixed_kind.empty()) {
    throw ConfigError(fmt::format(
        "--event-kind {} gives every event one kind and --event-columns kind={} reads it from a "
        "column; give one of the two",
        fixed_kind, kind));
  }
  columns.value_required = !value.empty();
  if (!kind.empty()) columns.kind = kind;
  if (!value.empty()) columns.value = value;
  return columns;
}

RunRequest check_run_options(const RunOptions& options, std::optional<Recipe> recorded) {
  check_required(options);
  check_rows(options);
  RunRequest r;
  r.options = options;
  r.item_ids = split_column(options.item_ids);
  r.user_ids = split_column(options.user_ids);
  r.event_columns = parse_event_columns(options.event_columns, options.event_kind);
  map_columns(options.catalogue_columns, "--catalogue-columns",
              {{"item", &r.catalogue_columns.item},
               {"first_seen", &r.catalogue_columns.first_seen},
               {"retired", &r.catalogue_columns.retired},
               {"title", &r.catalogue_columns.title}});
  map_columns(options.row_columns, "--row-columns",
              {{"user", &r.row_columns.user},
               {"item", &r.row_columns.item},
               {"time", &r.row_columns.time},
               {"segment", &r.row_columns.segment},
               {"row_key", &r.row_columns.row_key}});
  map_columns(options.pair_columns, "--pair-columns",
              {{"user", &r.pair_columns.user},
               {"item", &r.pair_columns.item},
               {"value", &r.pair_columns.value}});
  if (!options.rows_from.empty()) {
    r.rows_from =
        choose<RowsFrom>(options.rows_from, "--rows-from",
                         {{"positives", RowsFrom::kPositives}, {"users", RowsFrom::kUsers}});
  }
  r.pairs = split_named(options.pairs, "--pairs", false);
  r.features = split_named(options.features, "--feature", false);
  r.item_lists = split_named(options.item_lists, "--item-list", true);
  if (!options.as_of.empty()) {
    try {
      r.as_of = parse_time(options.as_of, "--as-of");
    } catch (const InputError& error) {
      throw ConfigError(error.what());
    }
  }
  r.unknown_ids =
      choose<UnknownIds>(options.unknown_ids, "--unknown-ids",
                         {{"reject", UnknownIds::kReject}, {"drop", UnknownIds::kDrop}});
  r.bad_rows = choose<BadRows>(options.bad_rows, "--bad-rows",
                               {{"reject", BadRows::kReject}, {"drop", BadRows::kDrop}});
  parse_shard(r);
  if (options.threads < 0 || options.threads > 4096)
    throw ConfigError("--threads: must be 0 (all) to 4096");
  std::vector<Exec> devices = choose_devices(options.device, options.threads);
  r.miner.exec = devices.front();
  r.miner.more.assign(devices.begin() + 1, devices.end());
  r.miner.seed = options.seed;
  r.miner.round = options.round;
  r.miner.tile_rows = options.tile;
  r.miner.host_memory = parse_bytes(options.host_memory, "--host-memory");
  r.miner.retriever = options.retriever;
  r.miner.recall = options.recall;
  r.miner.faiss.nprobe = options.nprobe;
  r.miner.faiss.ef_search = options.ef_search;
  r.miner.faiss.cache = options.index_cache;
  check_index_cache(options);
  if (!(options.pairs_near >= 0 && options.pairs_near <= 1))
    throw ConfigError(fmt::format(
        "--pairs-near: must be a cosine from 0 (none is near) to 1, not {}", options.pairs_near));
  if (!(options.recall > 0 && options.recall <= 1))
    throw ConfigError(
        fmt::format("--recall: must be above 0 and at most 1, not {}", options.recall));
  if (options.recall_rows > kMostRecallRows)
    throw ConfigError(fmt::format("--recall-rows: at most {}, not {}: their negatives are held",
                                  kMostRecallRows, options.recall_rows));
  r.recipe = recorded ? std::move(*recorded)
                      : load_recipe(options.recipe, options.round, options.overrides);
  check_recipe_against_flags(r);
  check_safety_flags(r);
  return r;
}

std::vector<std::string> recipe_warnings(const Recipe& recipe) {
  std::vector<std::string> warnings = recipe.warnings;
  const auto guards = [](const FilterSpec& filter) {
    if (filter.type == FilterType::kRank) {
      return filter.window.quantile ? filter.window.lo > 0 : filter.window.lo > 1;
    }
    return filter.type == FilterType::kAbsoluteMargin ||
           filter.type == FilterType::kRelativeMargin || filter.type == FilterType::kColumn ||
           filter.type == FilterType::kScore;
  };
  double nearest = 0;
  for (const BranchSpec& branch : recipe.branches) {
    if (branch.source.kind != SourceKind::kTopk || branch.select != SelectKind::kTop) continue;
    if (std::any_of(branch.filters.begin(), branch.filters.end(), guards)) continue;
    if (std::any_of(recipe.safety.begin(), recipe.safety.end(), guards)) continue;
    nearest += static_cast<double>(branch.share) / static_cast<double>(recipe.share_sum);
  }
  if (nearest >= 0.5) {
    warnings.push_back(
        fmt::format("{:.0f} % of the negatives are the very nearest items, with no margin or rank "
                    "window: many of them are "
                    "positives not seen yet, and training on a frozen set of them loses most of "
                    "its quality; add a margin, a "
                    "rank window or random negatives",
                    100 * nearest));
  }
  return warnings;
}

std::string path_from(const std::string& folder, const std::string& path) {
  const fs::path base = fs::weakly_canonical(fs::absolute(folder));
  return fs::weakly_canonical(fs::absolute(path)).lexically_relative(base).generic_string();
}

std::string options_to_json(const RunOptions& options, const std::string& folder) {
  Json json = Json::object();
  const auto relative = [&](const std::string& path) { return path_from(folder, path); };
  each_option(options,
              [&](const char* flag, const auto& member, OptionRole role, OptionUse, const char*) {
                using Member = std::remove_cvref_t<decltype(member)>;
                const std::string key = flag + 2;
                if constexpr (std::is_same_v<Member, std::string>) {
                  if (!member.empty()) json[key] = change_path(member, role, relative);
                } else if constexpr (std::is_same_v<Member, std::vector<std::string>>) {
                  for (const std::string& text : member)
                    json[key].push_back(change_path(text, role, relative));
                } else {
                  json[key] = member;
                }
              });
  // A path is bytes; JSON is UTF-8.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

RunOptions options_from_json(const std::string& text, const std::string& folder,
                             const std::string& where) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) throw InputError(where + ": the recorded options are not an object");
  RunOptions options;
  const auto joined = [&](const std::string& path) {
    return (fs::absolute(folder) / path).lexically_normal().string();
  };
  each_option(
      options, [&](const char* flag, auto& member, OptionRole role, OptionUse, const char*) {
        using Member = std::remove_cvref_t<decltype(member)>;
        const std::string key = flag + 2;
        if (!json.contains(key)) return;
        try {
          if constexpr (std::is_same_v<Member, std::string>) {
            member = change_path(json.at(key).get<std::string>(), role, joined);
          } else if constexpr (std::is_same_v<Member, std::vector<std::string>>) {
            for (const Json& entry : json.at(key))
              member.push_back(change_path(entry.get<std::string>(), role, joined));
          } else {
            member = json.at(key).get<Member>();
          }
        } catch (const nlohmann::json::exception&) {
          throw InputError(where + ": the recorded option '" + key + "' is of the wrong type");
        }
      });
  return options;
}

}  // namespace quarry
