// The audit: tables for judging, one walk, samples, sections, gates.
#include "host/audit/audit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "host/audit/work.h"
#include "kernels/core/errors.h"
#include "kernels/core/ids.h"

namespace quarry {
namespace {

constexpr std::size_t kMostCohorts = 50;

/// Cohorts of at least `least` users with rows; the others are "other", or nobody's if that is
/// still too small.
Cohorts merged_cohorts(const Cohorts& cohorts, const NegativeSet& set, double least) {
  std::vector<bool> has_row(cohorts.of_user.size(), false);
  for (std::uint64_t r = 0; r < set.rows(); ++r) {
    const std::uint32_t user = set.row(r).user;
    if (user < has_row.size()) has_row[user] = true;
  }
  std::vector<std::uint64_t> users(cohorts.names.size(), 0);
  for (std::size_t u = 0; u < has_row.size(); ++u) users[cohorts.of_user[u]] += has_row[u] ? 1 : 0;
  std::vector<std::uint32_t> order(cohorts.names.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return users[a] > users[b]; });
  std::vector<bool> kept(cohorts.names.size(), false);
  std::size_t num_kept = 0;
  for (const std::uint32_t c : order) {
    if (c != 0 && number(users[c]) >= least && num_kept < kMostCohorts) kept[c] = true, ++num_kept;
  }
  Cohorts out;
  out.names = {""};
  std::vector<std::uint32_t> code(cohorts.names.size(), 0);
  std::uint64_t other = 0;
  for (std::size_t c = 1; c < cohorts.names.size(); ++c) {
    if (!kept[c]) {
      other += users[c];
      continue;
    }
    code[c] = static_cast<std::uint32_t>(out.names.size());
    out.names.push_back(cohorts.names[c]);
  }
  // A group that is called "other" already takes the small ones in.
  auto place = std::find(out.names.begin(), out.names.end(), "other");
  if (place != out.names.end() || number(other) >= least) {
    const auto rest = static_cast<std::uint32_t>(place - out.names.begin());
    if (place == out.names.end()) out.names.emplace_back("other");
    for (std::size_t c = 1; c < cohorts.names.size(); ++c) {
      if (!kept[c]) code[c] = rest;
    }
  }
  for (const std::uint32_t c : cohorts.of_user) out.of_user.push_back(code[c]);
  return out;
}

void check(const AuditInputs& in) {
  QUARRY_CHECK(in.set != nullptr && in.recipe != nullptr && in.tables != nullptr);
  const SetSchema& schema = in.set->schema();
  std::vector<std::string> names;
  for (const BranchSpec& b : in.recipe->branches) names.push_back(b.name);
  if (names != schema.branches || in.recipe->k != in.set->k()) {
    throw InputError(
        fmt::format("{}: its branches or k are not those of its recipe; the manifest is "
                    "damaged, mine the set again",
                    in.set->manifest_path()));
  }
  if (in.tables->users.dim != in.tables->items.dim)
    throw InputError("items and users have different dimensions; give those of one model");
}

/// Shared bound of near-duplicates: the recipe's first such filter on item vectors.
double near_duplicate_bound(const Recipe& recipe, double otherwise) {
  const auto scan = [](const std::vector<FilterSpec>& filters) -> const FilterSpec* {
    for (const FilterSpec& f : filters) {
      if (f.type == FilterType::kNearDuplicate && f.table.empty()) return &f;
    }
    return nullptr;
  };
  if (const FilterSpec* f = scan(recipe.safety)) return f->bound;
  for (const BranchSpec& b : recipe.branches) {
    if (const FilterSpec* f = scan(b.filters)) return f->bound;
  }
  return otherwise;
}

void judge_inputs(const AuditInputs& in, GateKeeper& gates) {
  if (!in.changed_files) {
    gates.not_checked("inputs.unchanged", "The files were not compared with the manifest.");
    return;
  }
  const std::size_t changed = in.changed_files->size();
  std::string why = "All files are those that the set was mined from.";
  if (changed > 0) why = fmt::format("{} files are not what the set was mined from.", changed);
  gates.judge("inputs.unchanged", number(changed), why);
}

}  // namespace

void stop_audit_if_asked(const std::atomic<bool>* stop) {
  if (stop != nullptr && stop->load(std::memory_order_relaxed))
    throw Cancelled("stopped while auditing; no report was written");
}

std::string item_text(const AuditInputs& in, std::uint32_t item, bool title) {
  std::string text = in.item_id ? in.item_id(item) : std::to_string(item);
  if (title && in.item_title && !in.item_title(item).empty()) text += " " + in.item_title(item);
  return text;
}

double rounding_deviation(double share, std::uint64_t rows, std::uint32_t k) {
  const double wanted = share * k;
  const double part = wanted - std::floor(wanted);
  return std::sqrt(number(rows) * part * (1 - part));
}

std::string words_of(double value) {
  std::string text = fmt::format("{:.4g}", value);
  return text;
}

std::vector<TableColumn> item_columns(std::vector<TableColumn> figures) {
  std::vector<TableColumn> columns = {
      {"index", "Index", true, ""}, {"item", "Item", false, ""}, {"title", "Title", false, ""}};
  columns.insert(columns.end(), figures.begin(), figures.end());
  return columns;
}

std::vector<std::uint64_t> counts_by_code(const CatalogueColumn& column,
                                          const std::vector<std::uint32_t>& by_item) {
  std::vector<std::uint64_t> counts(column.names.size(), 0);
  for (std::size_t i = 0; i < by_item.size() && i < column.codes.size(); ++i)
    counts[column.codes[i]] += by_item[i];
  return counts;
}

std::vector<std::uint64_t> widened(const std::vector<std::uint32_t>& counts) {
  return {counts.begin(), counts.end()};
}

bool AuditReport::failed() const {
  return std::any_of(gates.begin(), gates.end(),
                     [](const Gate& g) { return g.status == GateStatus::kFail; });
}

AuditReport audit_set(const AuditInputs& in, const GateConfig& config, const Exec& exec) {
  check(in);
  Exec host = exec;
  host.device = Device::kCpu;
  const AuditSettings& settings = config.settings;
  const ManifestFacts facts = manifest_facts(*in.set, in.name);
  stop_audit_if_asked(in.stop);
  const JudgeTables judge(host, *in.recipe, *in.tables, in.seed, in.round);
  std::optional<HeldOut> held_out;
  if (in.held_out != nullptr) held_out.emplace(*in.held_out, in.tables->exposure);
  std::optional<WantedStrata> strata;
  if (in.recipe->quota) {
    strata = wanted_strata(judge);
    if (strata->share.size() != in.set->schema().strata.size()) {
      throw InputError(fmt::format(
          "{}: has {} strata, the recipe makes {} of the catalogue; it is not the run's",
          in.set->manifest_path(), in.set->schema().strata.size(), strata->share.size()));
    }
  }
  std::optional<Cohorts> cohorts;
  if (in.cohorts != nullptr) cohorts = merged_cohorts(*in.cohorts, *in.set, settings.cohort_users);
  TallyTables tables;
  tables.judge = &judge;
  tables.held_out = held_out ? &*held_out : nullptr;
  tables.strata = strata ? &*strata : nullptr;
  tables.stop = in.stop;
  if (cohorts) {
    tables.cohort_of_user = &cohorts->of_user;
    tables.num_cohorts = static_cast<std::uint32_t>(cohorts->names.size());
  }
  const Tally tally = tally_set(*in.set, tables, host);
  const double bound = near_duplicate_bound(*in.recipe, settings.near_duplicate);
  const Samples samples =
      sample_set(*in.set, &judge, tables.held_out, bound, settings.sample_rows, host, in.stop);
  const std::vector<std::uint32_t> deciles =
      popularity_bins_of(judge.popularity, judge.num_items, 10);

  AuditReport report;
  report.set = facts.set;
  if (in.baseline != nullptr) report.baseline = manifest_facts(*in.baseline, in.baseline_name).set;
  GateKeeper gates(config);
  AuditWork work{
      in,          *in.set, *in.recipe,      host,          settings,
      judge,       facts,   tables.held_out, tables.strata, cohorts ? &*cohorts : nullptr,
      deciles,     tally,   samples,         gates,         report.sections,
      report.lists};
  judge_inputs(in, gates);
  audit_leaks(work);
  audit_held_out(work);
  audit_fill(work);
  audit_strata(work);
  audit_hardness(work);
  audit_diversity(work);
  stop_audit_if_asked(in.stop);
  audit_drift(work);
  audit_cohorts(work);
  audit_calibration(work);
  audit_rejections(work);
  audit_staleness(work);
  report.gates = gates.take();
  report.settings = settings_of(config);
  return report;
}

}  // namespace quarry
