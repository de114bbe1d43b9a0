// Config files as additional flags.
#include "tools/quarry/config_file.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <sstream>

#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

/// The path after --config, or "".
std::string config_path(const std::vector<std::string>& args) {
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--config" && i + 1 < args.size()) return args[i + 1];
    if (args[i].rfind("--config=", 0) == 0) return args[i].substr(9);
  }
  return "";
}

bool gives(const std::vector<std::string>& args, const std::string& flag) {
  return std::any_of(args.begin(), args.end(), [&](const std::string& arg) {
    return arg == flag || arg.rfind(flag + "=", 0) == 0;
  });
}

std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string nearest_flag(const CLI::App& verb, const std::string& key) {
  std::string best;
  std::size_t distance = 4;  // further away is no typing error
  for (const CLI::Option* option : verb.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      const std::size_t d = edit_distance(name, key);
      if (d < distance) {
        distance = d;
        best = name;
      }
    }
  }
  return best;
}

class ConfigReader {
 public:
  ConfigReader(const CLI::App& verb, const std::string& path, const std::vector<std::string>& given)
      : verb_(verb), path_(path), given_(given) {}

  std::vector<std::string> read() {
    std::ifstream file(path_);
    if (!file) throw IoError(path_ + ": cannot read the config file");
    std::ostringstream text;
    text << file.rdbuf();
    toml::table table;
    try {
      table = toml::parse(text.str(), path_);
    } catch (const toml::parse_error& error) {
      throw ConfigError(fmt::format("{}:{}:{}: {}", path_, error.source().begin.line,
                                    error.source().begin.column, error.description()));
    }
    for (const auto& [key, node] : table) add(std::string(key.str()), node);
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(const toml::node& node, const std::string& what) const {
    throw ConfigError(fmt::format("{}:{}:{}: {}", path_, node.source().begin.line,
                                  node.source().begin.column, what));
  }

  void add(const std::string& key, const toml::node& node) {
    const std::string flag = "--" + key;
    const CLI::Option* option = verb_.get_option_no_throw(flag);
    if (option == nullptr || key == "config" || key == "help") {
      const std::string nearest = nearest_flag(verb_, key);
      fail(node, fmt::format("'{}' is not a setting of quarry {}{}; quarry {} --help lists them",
                             key, verb_.get_name(),
                             nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest),
                             verb_.get_name()));
    }
    if (gives(given_, flag)) return;
    if (option->get_expected_min() == 0) {
      const auto value = node.value<bool>();
      if (!node.is_boolean() || !value) fail(node, fmt::format("'{}' must be true or false", key));
      if (*value) out_.push_back(flag);
    } else if (const toml::array* array = node.as_array()) {
      for (const toml::node& entry : *array) push(key, flag + "=", entry);
    } else if (const toml::table* table = node.as_table()) {
      // Column maps are one flag with commas, named files one flag each.
      std::string joined;
      for (const auto& [name, entry] : *table) {
        if (key.ends_with("-columns")) {
          joined +=
              (joined.empty() ? "" : ",") + std::string(name.str()) + "=" + scalar(key, entry);
        } else {
          push(key, flag + "=" + std::string(name.str()) + "=", entry);
        }
      }
      if (!joined.empty()) out_.push_back(flag + "=" + joined);
    } else {
      push(key, flag + "=", node);
    }
  }

  void push(const std::string& key, const std::string& prefix, const toml::node& node) {
    out_.push_back(prefix + scalar(key, node));
  }

  std::string scalar(const std::string& key, const toml::node& node) const {
    if (const auto text = node.as_string()) return text->get();
    if (const auto number = node.as_integer()) return std::to_string(number->get());
    if (const auto number = node.as_floating_point()) return fmt::format("{}", number->get());
    std::ostringstream date;
    if (node.is_date()) date << *node.as_date();
    if (node.is_date_time()) date << *node.as_date_time();
    if (date.str().empty())
      fail(node, fmt::format("'{}' must be a text, a number, a date or a list of them", key));
    return date.str();
  }

  const CLI::App& verb_;
  const std::string& path_;
  const std::vector<std::string>& given_;
  std::vector<std::string> out_;
};

}  // namespace

void add_config_option(CLI::App& verb) {
  // with_config() has read the file by the time this is parsed.
  verb.add_option_function<std::string>(
      "--config", [](const std::string&) {},
      "TOML file with flags as keys; the command line overrides it");
}

std::vector<std::string> with_config(const CLI::App& app, const std::vector<std::string>& args) {
  const std::string path = config_path(args);
  if (path.empty() || args.empty()) return args;
  const auto verbs =
      app.get_subcommands([&](const CLI::App* verb) { return verb->check_name(args.front()); });
  if (verbs.empty() || verbs.front()->get_option_no_throw("--config") == nullptr) return args;
  std::vector<std::string> all = args;
  for (std::string& extra : ConfigReader(*verbs.front(), path, args).read())
    all.push_back(std::move(extra));
  return all;
}

}  // namespace quarry
