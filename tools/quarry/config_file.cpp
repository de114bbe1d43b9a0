// Config files as additional flags.
#include "tools/quarry/config_file.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>

#include "host/recipe/document.h"
#include "host/recipe/text_file.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

using recipe_text::Member;
using recipe_text::Node;

constexpr std::size_t kLargestConfig = 1u << 20;

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
  ConfigReader(const CLI::App& app, const CLI::App& verb, const std::string& path,
               const std::vector<std::string>& given)
      : app_(app), verb_(verb), path_(path), given_(given) {}

  std::vector<std::string> read() {
    Node root;
    try {
      root = recipe_text::parse_document(read_text_file(path_, "config file", kLargestConfig));
    } catch (const recipe_text::SyntaxError& error) {
      fail(error.at, error.text);
    }
    for (const Member& member : root.members) add(member.key, member.value, member.at);
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(const recipe_text::Place& at, const std::string& what) const {
    throw ConfigError(fmt::format("{}:{}:{}: {}", path_, at.line, at.column, what));
  }

  /// One file serves `mine` and its `plan`: what only mine takes is no mistake there.
  bool is_for_mine(const std::string& flag) const {
    return verb_.get_name() == "plan" &&
           app_.get_subcommand("mine")->get_option_no_throw(flag) != nullptr;
  }

  void add(const std::string& key, const Node& node, const recipe_text::Place& at) {
    const std::string flag = "--" + key;
    const CLI::Option* option = verb_.get_option_no_throw(flag);
    if (option == nullptr && is_for_mine(flag)) return;
    if (option == nullptr || key == "config" || key == "help") {
      const std::string nearest = nearest_flag(verb_, key);
      fail(at, fmt::format("'{}' is not a setting of quarry {}{}; quarry {} --help lists them", key,
                           verb_.get_name(),
                           nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest),
                           verb_.get_name()));
    }
    const std::string opposite = key.starts_with("no-") ? "--" + key.substr(3) : "--no-" + key;
    const bool has_opposite = verb_.get_option_no_throw(opposite) == option;
    if (gives(given_, flag) || (has_opposite && gives(given_, opposite))) return;
    if (option->get_expected_min() == 0) {
      if (node.kind != Node::Kind::kBoolean)
        fail(node.at, fmt::format("'{}' must be true or false", key));
      if (node.boolean || has_opposite) out_.push_back(node.boolean ? flag : opposite);
    } else if (node.kind == Node::Kind::kArray) {
      for (const Node& entry : node.elements) push(key, flag + "=", entry);
    } else if (node.kind == Node::Kind::kTable) {
      // Column maps are one flag with commas, named files one flag each.
      std::string joined;
      for (const Member& entry : node.members) {
        if (key.ends_with("-columns")) {
          joined += (joined.empty() ? "" : ",") + entry.key + "=" + scalar(key, entry.value);
        } else {
          push(key, flag + "=" + entry.key + "=", entry.value);
        }
      }
      if (!joined.empty()) out_.push_back(flag + "=" + joined);
    } else {
      push(key, flag + "=", node);
    }
  }

  void push(const std::string& key, const std::string& prefix, const Node& node) {
    out_.push_back(prefix + scalar(key, node));
  }

  std::string scalar(const std::string& key, const Node& node) const {
    switch (node.kind) {
      case Node::Kind::kString:
      case Node::Kind::kDate:
        return node.text;
      case Node::Kind::kInteger:
        return std::to_string(node.integer);
      case Node::Kind::kFloat:
        return fmt::format("{}", node.number);
      default:
        fail(node.at, fmt::format("'{}' must be a text, a number, a date or a list of them", key));
    }
  }

  const CLI::App& app_;
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
  if (verbs.empty()) return args;
  const CLI::App* verb = verbs.front();
  if (args.size() > 1) {  // shards plan
    const auto inner =
        verb->get_subcommands([&](const CLI::App* v) { return v->check_name(args[1]); });
    if (!inner.empty()) verb = inner.front();
  }
  if (verb->get_option_no_throw("--config") == nullptr) return args;
  std::vector<std::string> all = args;
  for (std::string& extra : ConfigReader(app, *verb, path, args).read())
    all.push_back(std::move(extra));
  return all;
}

}  // namespace quarry
