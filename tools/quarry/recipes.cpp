// quarry recipes: the named recipes, and what each expands to.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "host/recipe/recipe.h"
#include "kernels/core/errors.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

struct RecipesArgs {
  std::string name;
  bool json = false;
};

Json recipe_json(const NamedRecipe& recipe) {
  return {{"name", recipe.name},
          {"summary", recipe.summary},
          {"source", recipe.source},
          {"runs", !recipe.toml.empty()},
          {"over_tables", recipe.over_tables()},
          {"why_not", recipe.why_not}};
}

void print_recipe(const NamedRecipe& recipe, std::size_t width) {
  fmt::print("{:<{}}  {}{}\n", recipe.name, width, recipe.summary,
             recipe.source.empty() ? "" : "  [" + recipe.source + "]");
}

int list_recipes(bool json) {
  const auto& recipes = named_recipes();
  if (json) {
    Json all = Json::array();
    for (const NamedRecipe& recipe : recipes) all.push_back(recipe_json(recipe));
    std::puts(all.dump(2).c_str());
    return 0;
  }
  std::size_t width = 0;
  for (const NamedRecipe& recipe : recipes) width = std::max(width, recipe.name.size());
  for (const NamedRecipe& recipe : recipes) {
    if (recipe.over_tables()) print_recipe(recipe, width);
  }
  fmt::print("\nby batches alone (quarry.Miner of Python, Miner::mine_batch):\n");
  for (const NamedRecipe& recipe : recipes) {
    if (recipe.by_batches()) print_recipe(recipe, width);
  }
  bool heading = false;
  for (const NamedRecipe& recipe : recipes) {
    if (!recipe.toml.empty()) continue;
    if (!heading) fmt::print("\nknown, but not run by the miner:\n");
    heading = true;
    fmt::print("{:<{}}  {}\n", recipe.name, width, recipe.why_not);
  }
  return 0;
}

int show_recipe(const std::string& name, bool json) {
  for (const NamedRecipe& recipe : named_recipes()) {
    if (recipe.name != name) continue;
    if (json) {
      Json out = recipe_json(recipe);
      out["toml"] = recipe.toml;
      std::puts(out.dump(2).c_str());
      return 0;
    }
    if (recipe.toml.empty()) {
      fmt::print("# {}: {}\n# not run by the miner: {}\n", recipe.name, recipe.summary,
                 recipe.why_not);
      return 0;
    }
    if (recipe.by_batches()) fmt::print("# {}\n", recipe.why_not);
    std::fputs(recipe.toml.c_str(), stdout);
    if (recipe.toml.back() != '\n') std::puts("");
    return 0;
  }
  std::string known;
  for (const NamedRecipe& recipe : named_recipes())
    known += (known.empty() ? "" : ", ") + recipe.name;
  throw ConfigError(fmt::format("there is no recipe named '{}'; known are {}", name, known));
}

}  // namespace

void add_recipes(CLI::App& app, Context& context) {
  auto args = std::make_shared<RecipesArgs>();
  CLI::App* verb =
      app.add_subcommand("recipes", "list the named recipes, or show what one expands to");
  verb->require_subcommand(0, 1);
  verb->add_flag("--json", args->json, "JSON on stdout");
  CLI::App* list = verb->add_subcommand("list", "the names, with one line each");
  list->add_flag("--json", args->json, "JSON on stdout");
  CLI::App* show = verb->add_subcommand("show", "the TOML of one recipe");
  show->add_option("name", args->name, "name of the recipe")->required();
  show->add_flag("--json", args->json, "JSON on stdout");
  verb->callback([&context, args] {
    context.run = [args] {
      return args->name.empty() ? list_recipes(args->json) : show_recipe(args->name, args->json);
    };
  });
}

}  // namespace quarry
