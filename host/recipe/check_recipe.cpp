// Checks that need several parts of a recipe at once: shares, windows that cannot be filled,
// forbidden combinations.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "host/recipe/parts.h"

namespace quarry::recipe_text {
namespace {

bool draws_while_filling(const BranchSpec& branch) {
  return branch.source.kind == SourceKind::kUniform ||
         branch.source.kind == SourceKind::kPopularity;
}

std::string title(const ReadBranch& branch) { return "branch " + quoted(branch.spec.name); }

void check_names(Reader& reader, const std::vector<ReadBranch>& branches) {
  for (std::size_t b = 0; b < branches.size(); ++b) {
    const std::string& name = branches[b].spec.name;
    if (name.empty()) continue;
    // The low 8 bits of a branch's counter word hold the purpose; 0 above them is the whole row.
    const std::uint64_t hash = XXH3_64bits(name.data(), name.size()) & 0xFFFFFF00u;
    if (hash == 0) {
      reader.problems.add(
          branches[b].name_at,
          "the name " + quoted(name) + " hashes to the number of the whole row; choose another");
    }
    for (std::size_t earlier = 0; earlier < b; ++earlier) {
      const std::string& other = branches[earlier].spec.name;
      if (other == name) {
        reader.problems.add(branches[b].name_at,
                            "two branches are called " + quoted(name) + "; rename one");
        break;
      }
      if (!other.empty() && (XXH3_64bits(other.data(), other.size()) & 0xFFFFFF00u) == hash) {
        reader.problems.add(branches[b].name_at,
                            "the names " + quoted(other) + " and " + quoted(name) +
                                " have the same hash, so their draws would be the same; "
                                "rename one");
        break;
      }
    }
  }
}

/// Fills in BranchSpec::share and Recipe::share_sum. False if they are not usable.
bool settle_shares(Reader& reader, ReadRecipe& read) {
  std::vector<ReadBranch>& branches = read.branches;
  if (branches.empty()) return false;
  const std::size_t before = reader.problems.size();
  const auto with_count = static_cast<std::size_t>(std::count_if(
      branches.begin(), branches.end(), [](const ReadBranch& b) { return b.has_count; }));
  if (branches.size() == 1 && !branches[0].has_share && !branches[0].has_count) {
    branches[0].spec.share = 1;
    read.recipe.share_sum = 1;
    return true;
  }
  for (ReadBranch& branch : branches) {
    if (branch.has_share && branch.has_count) {
      reader.problems.add(branch.share_at, title(branch) + " has share and count; keep one");
    } else if (!branch.has_share && !branch.has_count) {
      reader.problems.add(branch.at, title(branch) +
                                         " has neither share nor count; with several branches each "
                                         "needs one, e.g. share = 0.5");
    } else if (with_count > 0 && branch.has_share) {
      reader.problems.add(
          branch.share_at,
          title(branch) + " has a share where others have a count; use one of the two in all");
    }
    if (branch.has_share ? !branch.millionths : (branch.has_count && !branch.count)) return false;
  }
  if (reader.problems.size() != before) return false;
  std::uint64_t sum = 0;
  std::string list;
  for (ReadBranch& branch : branches) {
    branch.spec.share = with_count > 0 ? *branch.count : *branch.millionths;
    sum += branch.spec.share;
    list += (list.empty() ? "" : " + ") +
            (with_count > 0 ? std::to_string(branch.spec.share)
                            : number_text(static_cast<double>(branch.spec.share) / 1e6));
  }
  if (with_count > 0) {
    if (read.recipe.k != 0 && sum != read.recipe.k) {
      reader.problems.add(branches[0].share_at,
                          "the counts of the branches sum to " + std::to_string(sum) + " (" + list +
                              "); they must sum to k = " + std::to_string(read.recipe.k) +
                              ": change k or a count, or give shares instead");
      return false;
    }
    read.recipe.share_sum = sum;
    return sum > 0;
  }
  // Each share is off by at most half a millionth after rounding.
  const std::uint64_t slack = std::max<std::uint64_t>(1, (branches.size() + 1) / 2);
  if (sum + slack < 1'000'000 || sum > 1'000'000 + slack) {
    reader.problems.add(branches[0].share_at, "the shares of the branches sum to " +
                                                  number_text(static_cast<double>(sum) / 1e6) +
                                                  " (" + list +
                                                  "); they must sum to 1 (within 0.000001)");
    return false;
  }
  std::uint64_t divisor = 0;
  for (const ReadBranch& branch : branches) divisor = std::gcd(divisor, branch.spec.share);
  for (ReadBranch& branch : branches) branch.spec.share /= divisor;
  read.recipe.share_sum = sum / divisor;
  return true;
}

/// Windows, pools and draws that can never hold what a row asks of the branch.
void check_room(Reader& reader, const ReadRecipe& read, const ReadBranch& branch) {
  const BranchSpec& spec = branch.spec;
  const std::uint64_t sum = read.recipe.share_sum;
  const std::uint64_t most = (std::uint64_t{read.recipe.k} * spec.share + sum - 1) / sum;
  // With repeats one candidate is enough.
  const std::uint64_t needed =
      spec.select == SelectKind::kSampleReplacement ? std::min<std::uint64_t>(most, 1) : most;
  const std::string asks = "; a row takes up to " + std::to_string(most) + " from " + title(branch);
  std::uint64_t raw_lo = 1, raw_hi = spec.source.max_rank, survivor_lo = 1,
                survivor_hi = 0xFFFFFFFEu;
  Place window_at = branch.source_at;
  for (const ReadFilter& filter : branch.filters) {
    if (filter.spec.type != FilterType::kRank || filter.spec.window.quantile) continue;
    window_at = filter.at;
    const RankWindow& window = filter.spec.window;
    (window.survivors ? survivor_lo : raw_lo) =
        std::max(window.survivors ? survivor_lo : raw_lo, window.lo);
    (window.survivors ? survivor_hi : raw_hi) =
        std::min(window.survivors ? survivor_hi : raw_hi, window.hi);
    if (window.lo <= window.hi && window.hi - window.lo + 1 < needed) {
      reader.problems.add(filter.at, "window [" + std::to_string(window.lo) + ", " +
                                         std::to_string(window.hi) + "] holds " +
                                         std::to_string(window.hi - window.lo + 1) + " ranks" +
                                         asks + "; widen it or lower k");
      return;
    }
  }
  if (spec.source.draws > 0) {  // no more candidates than draws
    raw_hi = std::min<std::uint64_t>(raw_hi, spec.source.draws);
    if (spec.source.draws < needed) {
      reader.problems.add(branch.source_at, "n = " + std::to_string(spec.source.draws) +
                                                " candidates" + asks + "; raise n or lower k");
      return;
    }
  }
  if (spec.source.pool < needed) {
    reader.problems.add(branch.source_at, "pool = " + std::to_string(spec.source.pool) + asks +
                                              "; raise pool or lower k");
  } else if (spec.source.max_rank < needed) {
    reader.problems.add(branch.source_at, "max_rank = " + std::to_string(spec.source.max_rank) +
                                              asks + "; raise max_rank or lower k");
  } else {
    // A survivor's rank among survivors is never beyond its raw rank.
    const std::uint64_t lo = std::max(raw_lo, survivor_lo);
    if (lo > raw_hi || survivor_lo > survivor_hi) {
      reader.problems.add(window_at, "the rank windows and limits of " + title(branch) +
                                         " leave no rank (from " + std::to_string(lo) + " to " +
                                         std::to_string(std::min(raw_hi, survivor_hi)) +
                                         "); move the window or raise the limit");
    }
  }
  if (spec.source.pool != 0xFFFFFFFFu && spec.source.max_rank < spec.source.pool) {
    reader.warnings.push_back(
        reader.problems.where(branch.source_at) + ": pool = " + std::to_string(spec.source.pool) +
        " of " + title(branch) + " is beyond max_rank = " + std::to_string(spec.source.max_rank) +
        ", so it is never full");
  }
}

void check_filters(Reader& reader, const ReadRecipe& read, const ReadBranch& branch) {
  bool has_survivor_window = false;
  std::uint32_t rejected_classes = 0;
  const auto note_classes = [&](const FilterSpec& filter) {
    if (filter.type == FilterType::kExposed && !filter.max_age) rejected_classes |= filter.classes;
  };
  for (const ReadFilter& filter : read.safety) note_classes(filter.spec);
  for (const ReadFilter& filter : branch.filters) {
    note_classes(filter.spec);
    if (filter.spec.type != FilterType::kRank) continue;
    if (draws_while_filling(branch.spec)) {
      reader.problems.add(filter.at,
                          "a rank window on " + title(branch) +
                              ", whose items are drawn and have no rank; remove it or use source "
                              "{ kind = \"pool\" }");
    }
    if (filter.spec.window.survivors && has_survivor_window) {
      reader.problems.add(filter.at, title(branch) +
                                         " has two windows over survivor ranks; allowed: one; "
                                         "merge them");
    }
    has_survivor_window = has_survivor_window || filter.spec.window.survivors;
  }
  const SourceSpec& source = branch.spec.source;
  if (source.kind == SourceKind::kExposed && source.classes != 0 &&
      (source.classes & ~rejected_classes) == 0) {
    reader.problems.add(branch.source_at,
                        "the filters of " + title(branch) +
                            " reject every class that its source gives; remove the classes from "
                            "the exposed filter of it or of [safety]");
  }
}

void check_select(Reader& reader, const ReadRecipe& read, const ReadBranch& branch) {
  const BranchSpec& spec = branch.spec;
  const bool with_replacement = spec.select == SelectKind::kSampleReplacement;
  if (draws_while_filling(spec)) {
    if (spec.select != SelectKind::kSample && !with_replacement) {
      reader.problems.add(branch.select_at,
                          "select of " + title(branch) +
                              " orders candidates, but its source draws them; allowed: sample, "
                              "sample_replacement; or use source { kind = \"pool\" }");
    }
    if (!spec.weights.empty()) {
      reader.problems.add(branch.select_at,
                          "weights on " + title(branch) +
                              ", whose source draws by its own weights; use source "
                              "\"popularity^0.75\" or { kind = \"pool\" }");
    }
  }
  if (spec.select == SelectKind::kFirstViolator && spec.source.kind != SourceKind::kPool) {
    reader.problems.add(branch.select_at,
                        "select first_violator of " + title(branch) +
                            " goes through draws in turn; allowed with source pool only; try "
                            "source = { kind = \"pool\", n = 100 }");
  }
  if (with_replacement && (read.quota.spec || !read.quota.caps.empty())) {
    reader.problems.add(branch.select_at, "select sample_replacement of " + title(branch) +
                                              " together with a " +
                                              (read.quota.spec ? "quota" : "cap") +
                                              ", which repeats would break; try kind = \"sample\"");
  }
  for (const WeightSpec& weight : spec.weights) {
    if (weight.kind != WeightKind::kClass) continue;
    for (std::uint32_t c = 0; c < kNumExposureClasses; ++c) {
      const bool given = spec.source.kind == SourceKind::kExposed
                             ? (spec.source.classes >> c & 1u) != 0
                             : c == static_cast<std::uint32_t>(ExposureClass::kNonConsumption);
      if (given && weight.class_weight[c] == 0.0) {
        reader.problems.add(branch.select_at,
                            "the class weight of " + title(branch) + " names no weight for " +
                                class_name(static_cast<ExposureClass>(c)) +
                                ", which its source gives; add " +
                                class_name(static_cast<ExposureClass>(c)) + " = 1");
      }
    }
  }
}

void check_safety(Reader& reader, const ReadRecipe& read) {
  const bool has_positives =
      std::any_of(read.safety.begin(), read.safety.end(),
                  [](const ReadFilter& f) { return f.spec.type == FilterType::kPositives; });
  if (!has_positives && !read.allow_positives) {
    reader.problems.add(
        read.safety_at,
        "[safety] has no filter { kind = \"positives\" }: a user's own positives could be taught "
        "as negatives; add it, or set allow_positives = true under [safety] if that is wanted");
  }
  if (!has_positives && read.allow_positives) {
    reader.warnings.push_back(
        reader.problems.where(read.safety_at) +
        ": allow_positives: a user's own positives may be emitted as negatives");
  }
  for (const ReadFilter& filter : read.safety) {
    if (filter.spec.type == FilterType::kRank) {
      reader.problems.add(filter.at,
                          "a rank window in [safety]; ranks belong to a branch; move it there");
    }
  }
}

void settle_backfill(Reader& reader, ReadRecipe& read) {
  std::vector<std::string> known;
  for (const ReadBranch& branch : read.branches) known.push_back(branch.spec.name);
  if (!read.quota.has_backfill) {
    for (std::uint32_t b = 0; b < read.branches.size(); ++b) read.recipe.backfill.push_back(b);
    return;
  }
  for (const auto& [name, at] : read.quota.backfill) {
    const auto found = std::find(known.begin(), known.end(), name);
    if (found == known.end()) {
      reader.problems.add(at, "backfill names " + quoted(name) +
                                  ", which is no branch; branches: " + joined(known) +
                                  did_you_mean(name, known));
      continue;
    }
    read.recipe.backfill.push_back(static_cast<std::uint32_t>(found - known.begin()));
  }
}

void warn(Reader& reader, const ReadRecipe& read) {
  std::uint64_t exposed = 0;
  for (const ReadBranch& branch : read.branches) {
    if (branch.spec.source.kind == SourceKind::kExposed) exposed += branch.spec.share;
  }
  if (2 * exposed > read.recipe.share_sum) {
    reader.warnings.push_back(reader.problems.where(read.at) + ": " +
                              number_text(std::round(1000.0 * static_cast<double>(exposed) /
                                                     static_cast<double>(read.recipe.share_sum)) /
                                          10) +
                              " % of the negatives come from exposed items; above 50 % models are "
                              "known to lose badly (-57 % NDCG@10 on "
                              "MovieLens-100k with exposed items only); 10 % is a safe share");
  }
  const auto& rules = read.recipe.exposure.rules;
  if (std::none_of(rules.begin(), rules.end(), [](const ExposureRule& r) {
        return r.exposure_class == ExposureClass::kPositive;
      })) {
    reader.warnings.push_back(
        reader.problems.where(read.at) +
        ": no rule under [exposure] makes an event positive; positives come from the rows only");
  }
}

}  // namespace

void check_recipe(Reader& reader, ReadRecipe& read) {
  check_names(reader, read.branches);
  const bool shares_known = settle_shares(reader, read) && read.recipe.k != 0;
  for (const ReadBranch& branch : read.branches) {
    if (shares_known) check_room(reader, read, branch);
    check_filters(reader, read, branch);
    check_select(reader, read, branch);
  }
  check_safety(reader, read);
  settle_backfill(reader, read);
  for (std::size_t c = 0; c < read.quota.caps.size(); ++c) {
    if (read.recipe.k != 0 && read.quota.caps[c].per_row >= read.recipe.k) {
      reader.warnings.push_back(reader.problems.where(read.quota.cap_places[c]) + ": cap of " +
                                std::to_string(read.quota.caps[c].per_row) +
                                " per row never binds with k = " + std::to_string(read.recipe.k));
    }
  }
  if (shares_known) warn(reader, read);
}

}  // namespace quarry::recipe_text
