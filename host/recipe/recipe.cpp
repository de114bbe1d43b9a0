// Recipe text or name to a validated Recipe.
#include "host/recipe/recipe.h"
#include "host/recipe/reparse.h"

#include <algorithm>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "host/recipe/parts.h"
#include "host/recipe/text_file.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace recipe_text {
namespace {

constexpr std::size_t kLargestText = 1u << 20;

void read_safety(Section& root, ReadRecipe& out) {
  const Node* node = root.find("safety");
  out.safety_at = node != nullptr ? node->at : root.at();
  if (node == nullptr) return;
  Section section(root.reader(), *node, "[safety]");
  if (const Node* filters = section.find("filters")) {
    out.safety = read_filters(root.reader(), *filters, "[safety]");
  }
  out.allow_positives = section.boolean("allow_positives").value_or(false);
  section.finish();
}

void read_branches(Section& root, ReadRecipe& out) {
  const Node* node = root.find("branch");
  Problems& problems = root.reader().problems;
  if (node == nullptr || node->kind != Node::Kind::kArray || node->elements.empty()) {
    problems.add(node != nullptr ? node->at : root.at(),
                 node != nullptr && node->kind == Node::Kind::kTable
                     ? "branch is one table; write [[branch]] with double brackets"
                     : "the recipe has no [[branch]]; add at least one with a name and a source");
    return;
  }
  for (std::size_t b = 0; b < node->elements.size(); ++b) {
    out.branches.push_back(read_branch(root.reader(), node->elements[b], b + 1));
  }
}

/// Keys of a run that people put into recipes, and where they belong.
void report_run_keys(const Node& root, Problems& problems) {
  for (const char* key : {"seed", "round", "as_of", "device", "output"}) {
    const auto member = std::find_if(root.members.begin(), root.members.end(),
                                     [&](const Member& m) { return m.key == key; });
    if (member == root.members.end()) continue;
    std::string flag = key;
    std::replace(flag.begin(), flag.end(), '_', '-');
    problems.add(member->at,
                 quoted(key) + " belongs to a run, not to a recipe; remove it and use --" + flag);
  }
}

}  // namespace

Recipe read_recipe(const Node& root, const std::string& default_name, Reader& reader) {
  ReadRecipe read;
  read.at = root.at;
  Section section(reader, root, "");
  Recipe& recipe = read.recipe;
  recipe.name = section.text("name").value_or(default_name);
  recipe.k =
      static_cast<std::uint32_t>(section.integer("k", 1, 65535, Need::kRequired).value_or(0));
  recipe.metric = section
                      .choice<Metric>("metric", {{"ip", Metric::kInnerProduct},
                                                 {"cosine", Metric::kCosine},
                                                 {"l2", Metric::kL2}})
                      .value_or(Metric::kInnerProduct);
  if (const Node* exposure = section.find("exposure"))
    recipe.exposure = read_exposure_rules(reader, *exposure);
  read_safety(section, read);
  if (const Node* strata = section.find("strata")) recipe.strata = read_strata(reader, *strata);
  read_branches(section, read);
  const Node* quota = section.find("quota");
  const Node* cap = section.find("cap");
  const Node* backfill = section.find("backfill");
  read.quota = read_quota(reader, quota, cap, backfill, recipe.strata);
  report_run_keys(root, reader.problems);
  for (const char* key : {"seed", "round", "as_of", "device", "output"}) {
    if (root.find(key) != nullptr) section.find(key);  // reported above
  }
  section.finish();
  check_recipe(reader, read);
  check_limits(reader, read);
  reader.problems.raise();
  for (const ReadFilter& filter : read.safety) recipe.safety.push_back(filter.spec);
  for (const ReadBranch& branch : read.branches) recipe.branches.push_back(branch.spec);
  recipe.quota = read.quota.spec;
  recipe.caps = read.quota.caps;
  recipe.warnings = std::move(reader.warnings);
  return std::move(read.recipe);
}

}  // namespace recipe_text

namespace {

using recipe_text::Node;
using recipe_text::Problems;

std::string stem_of(const std::string& file) {
  const std::size_t slash = file.find_last_of('/');
  std::string stem = slash == std::string::npos ? file : file.substr(slash + 1);
  if (stem.size() > 5 && stem.ends_with(".toml")) stem.resize(stem.size() - 5);
  return stem;
}

Recipe parse_with_overrides(std::string_view toml, const std::string& file, std::uint32_t round,
                            const std::vector<std::string>& overrides) {
  if (toml.size() > recipe_text::kLargestText) {
    throw ConfigError(file + ":1:1: the recipe is " + std::to_string(toml.size()) +
                      " bytes long; allowed up to " + std::to_string(recipe_text::kLargestText) +
                      "; is this a recipe?");
  }
  Problems problems(file, overrides);
  Node root;
  try {
    root = recipe_text::parse_document(toml);
  } catch (const recipe_text::SyntaxError& error) {
    problems.add(error.at, (error.too_deep ? "" : "this is not TOML: ") + error.text);
    problems.raise();
  }
  for (std::size_t i = 0; i < overrides.size(); ++i) {
    recipe_text::apply_override(root, overrides[i], static_cast<std::uint32_t>(i + 1), problems);
  }
  problems.raise();
  recipe_text::Reader reader{problems, round, {}, false};
  Recipe recipe = recipe_text::read_recipe(root, stem_of(file), reader);
  recipe.has_schedules = reader.scheduled_any;
  recipe.text = overrides.empty() ? std::string(toml) : recipe_text::write_document(root);
  recipe.hash = XXH3_64bits(recipe.text.data(), recipe.text.size());
  return recipe;
}

std::string read_text(const std::string& path) {
  try {
    return read_text_file(path, "recipe", recipe_text::kLargestText);
  } catch (const IoError& error) {
    throw IoError(std::string(error.what()) + ", or see `quarry recipes` for names");
  }
}

}  // namespace

Recipe parse_recipe(std::string_view toml, const std::string& file, std::uint32_t round) {
  return parse_with_overrides(toml, file, round, {});
}

Recipe parse_recipe_with(std::string_view toml, const std::string& file, std::uint32_t round,
                         const std::vector<std::string>& overrides) {
  return parse_with_overrides(toml, file, round, overrides);
}

Recipe load_recipe(const std::string& name_or_path, std::uint32_t round,
                   const std::vector<std::string>& overrides) {
  if (name_or_path.ends_with(".toml") || name_or_path.find('/') != std::string::npos) {
    return parse_with_overrides(read_text(name_or_path), name_or_path, round, overrides);
  }
  std::vector<std::string> known;
  for (const NamedRecipe& named : named_recipes()) {
    known.push_back(named.name);
    if (named.name != name_or_path) continue;
    if (named.toml.empty()) {
      throw ConfigError("recipe " + name_or_path +
                        " is not one that the miner runs: " + named.why_not);
    }
    return parse_with_overrides(named.toml, name_or_path, round, overrides);
  }
  throw ConfigError("there is no recipe " + recipe_text::quoted(name_or_path) + "; known: " +
                    recipe_text::joined(known) + "; a file name must end in .toml or contain '/'" +
                    recipe_text::did_you_mean(name_or_path, known));
}

bool uses_filter(const Recipe& recipe, FilterType type) {
  const auto has = [type](const std::vector<FilterSpec>& filters) {
    return std::any_of(filters.begin(), filters.end(),
                       [type](const FilterSpec& filter) { return filter.type == type; });
  };
  return has(recipe.safety) || std::any_of(recipe.branches.begin(), recipe.branches.end(),
                                           [&](const BranchSpec& b) { return has(b.filters); });
}

}  // namespace quarry
