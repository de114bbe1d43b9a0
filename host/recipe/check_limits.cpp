// Limits of the kernels' tables, checked before anything is loaded.
#include <set>
#include <string>

#include "host/recipe/parts.h"
#include "kernels/model/plan.h"
#include "kernels/model/world.h"

namespace quarry::recipe_text {
namespace {

/// Distinct tables that the kernels will look things up in.
struct Tables {
  std::set<std::string> user_lists, pairs, features, bitmaps, segments;
};

std::string age_text(const std::optional<std::int64_t>& age) {
  return age ? std::to_string(*age) : "any";
}

void note_filter(const FilterSpec& filter, Tables& tables) {
  switch (filter.type) {
    case FilterType::kPositives:
      tables.user_lists.insert("positives");
      break;
    case FilterType::kExposed:
      tables.user_lists.insert("classes " + std::to_string(filter.classes) + " of age " +
                               age_text(filter.max_age));
      break;
    case FilterType::kGroup:
      tables.user_lists.insert("group " + filter.column);
      break;
    case FilterType::kNearDuplicate:
    case FilterType::kSimilarity:
      tables.features.insert(filter.table);
      break;
    case FilterType::kUniversal:
      tables.bitmaps.insert("share " + number_text(filter.bound));
      break;
    case FilterType::kAllowList:
      tables.bitmaps.insert("list " + filter.table);
      break;
    case FilterType::kSegment:
      tables.segments.insert(filter.column);
      break;
    case FilterType::kColumn:
      tables.pairs.insert(filter.table);
      break;
    case FilterType::kOverlap:
    case FilterType::kTime:
    case FilterType::kScore:
    case FilterType::kAbsoluteMargin:
    case FilterType::kRelativeMargin:
    case FilterType::kRank:
      break;
  }
}

void limit(Reader& reader, Place at, std::size_t have, std::size_t most, const std::string& what,
           const std::string& remedy) {
  if (have <= most) return;
  reader.problems.add(at, "the recipe needs " + std::to_string(have) + " " + what +
                              "; allowed up to " + std::to_string(most) + "; " + remedy);
}

}  // namespace

void check_limits(Reader& reader, const ReadRecipe& read) {
  Tables tables;
  std::size_t draw_spaces = 0;
  for (const ReadFilter& filter : read.safety) note_filter(filter.spec, tables);
  for (const ReadBranch& branch : read.branches) {
    for (const ReadFilter& filter : branch.filters) note_filter(filter.spec, tables);
    for (const WeightSpec& weight : branch.spec.weights) {
      if (weight.kind == WeightKind::kPairColumn) tables.pairs.insert(weight.table);
    }
    const SourceKind source = branch.spec.source.kind;
    if (source == SourceKind::kRun) tables.pairs.insert(branch.spec.source.table);
    if (source == SourceKind::kNear) tables.features.insert("");
    draw_spaces += source == SourceKind::kUniform || source == SourceKind::kPopularity ||
                   source == SourceKind::kPool;
    const std::size_t filters = read.safety.size() + branch.filters.size();
    if (filters > kMaxFilters) {
      reader.problems.add(branch.at, "branch " + quoted(branch.spec.name) + " has " +
                                         std::to_string(filters) +
                                         " filters, [safety] included; allowed up to " +
                                         std::to_string(kMaxFilters) + "; remove some");
    }
  }
  limit(reader, read.at, read.branches.size(), kMaxBranches, "branches", "merge some");
  limit(reader, read.at, tables.user_lists.size(), kMaxUserLists, "different lists per user",
        "use the same classes, ages and columns in several filters");
  limit(reader, read.at, tables.pairs.size(), kMaxPairTables, "tables of user-item values",
        "merge some");
  limit(reader, read.at, tables.features.size(), kMaxFeatureTables, "feature tables",
        "use the same table");
  limit(reader, read.at, tables.bitmaps.size(), kMaxBitmaps, "item lists (universal, allow_list)",
        "merge some");
  limit(reader, read.at, draw_spaces, kMaxDrawSpaces, "branches that draw", "merge some");
  limit(reader, read.at, tables.segments.size(), 1, "segment columns", "a row has one segment");
}

}  // namespace quarry::recipe_text
