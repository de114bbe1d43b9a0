// The parts of a recipe as they are read: specs beside their places, for the checks that need both.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "host/recipe/recipe.h"
#include "host/recipe/section.h"

namespace quarry::recipe_text {

struct ReadFilter {
  FilterSpec spec;
  Place at;
};

struct ReadBranch {
  BranchSpec spec;
  std::vector<ReadFilter> filters;  ///< of the branch only; spec.filters is made from them
  Place at, name_at, share_at, source_at, select_at;
  std::optional<std::uint64_t> millionths;  ///< share
  std::optional<std::uint64_t> count;
  bool has_share = false;
  bool has_count = false;
};

struct ReadQuota {
  std::optional<QuotaSpec> spec;
  std::vector<CapSpec> caps;
  std::vector<Place> cap_places;
  std::vector<std::pair<std::string, Place>> backfill;
  bool has_backfill = false;
  Place at;
};

/// A recipe between reading and checking.
struct ReadRecipe {
  Recipe recipe;
  Place k_at;
  Place at;
  Place safety_at;
  std::vector<ReadFilter> safety;
  bool allow_positives = false;
  std::vector<ReadBranch> branches;
  ReadQuota quota;
};

ExposureRules read_exposure_rules(Reader& reader, const Node& node);
/// A set of exposure classes as bits; `what` for messages.
std::uint32_t read_classes(Section& section, std::initializer_list<ExposureClass> allowed);
const char* class_name(ExposureClass exposure_class);

/// `owner` names the list in messages: "[safety]" or "branch \"hard\"".
std::vector<ReadFilter> read_filters(Reader& reader, const Node& node, const std::string& owner);
std::optional<PositiveScore> read_against(Section& section, std::string_view key);
/// Selection and weights into `branch`; `owner` names the branch in messages.
void read_select(Reader& reader, const Node& node, const std::string& owner, BranchSpec& branch);
ReadBranch read_branch(Reader& reader, const Node& node, std::size_t number);
std::vector<StratumAttribute> read_strata(Reader& reader, const Node& node);
/// Quota, caps and backfill from [quota] and from the top level; either node may be null.
ReadQuota read_quota(Reader& reader, const Node* quota, const Node* cap, const Node* backfill,
                     const std::vector<StratumAttribute>& strata);

/// What only shows when the parts are seen together; also fills in shares, share_sum and backfill.
void check_recipe(Reader& reader, ReadRecipe& read);
/// Numbers that the kernels have room for.
void check_limits(Reader& reader, const ReadRecipe& read);

/// The whole of a parsed document.
Recipe read_recipe(const Node& root, const std::string& default_name, Reader& reader);

/// Applies "dotted.key=value" number `number` (from 1) to the tree; reports what it cannot do.
void apply_override(Node& root, const std::string& text, std::uint32_t number, Problems& problems);

}  // namespace quarry::recipe_text
