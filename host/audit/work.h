// What the sections of an audit share while it is made. Each section adds its figures, tables and
// lists, and judges its gates.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "host/audit/audit.h"
#include "host/audit/manifest_facts.h"
#include "host/audit/metrics.h"
#include "host/audit/samples.h"

namespace quarry {

struct AuditWork {
  const AuditInputs& in;
  const NegativeSet& set;
  const Recipe& recipe;
  const Exec& exec;
  const AuditSettings& settings;
  const JudgeTables& judge;
  const ManifestFacts& facts;
  const HeldOut* held_out;     ///< null: not given
  const WantedStrata* strata;  ///< null: no quota
  const Cohorts* cohorts;      ///< with small groups merged; null: not given
  const std::vector<std::uint32_t>& popularity_decile;  ///< [items] 0 ... 9
  const Tally& tally;
  const Samples& samples;
  GateKeeper& gates;
  std::vector<ReportSection>& sections;
  std::vector<Table>& lists;
};

void audit_leaks(AuditWork& work);
void audit_held_out(AuditWork& work);
void audit_fill(AuditWork& work);
void audit_strata(AuditWork& work);
void audit_hardness(AuditWork& work);
void audit_diversity(AuditWork& work);
void audit_rejections(AuditWork& work);
void audit_drift(AuditWork& work);
void audit_cohorts(AuditWork& work);
void audit_calibration(AuditWork& work);
void audit_staleness(AuditWork& work);

/// Why gates on what the negatives are like are not checked.
inline constexpr const char* kNoNegative = "A set has no negative.";

// Cells and figures.
inline double number(std::uint64_t count) { return static_cast<double>(count); }
inline double share_of(std::uint64_t part, std::uint64_t whole) {
  return whole > 0 ? number(part) / number(whole) : 0;
}
/// Standard deviation of the slots of a stratum or branch over rows: systematic rounding gives each
/// row one of two whole numbers.
double rounding_deviation(double share, std::uint64_t rows, std::uint32_t k);
/// Upper end of the 95 % interval of (negatives / positives of one value) over (those of another):
/// counts are Poisson, the logarithm is normal (delta method, half a case added to each),
/// Bonferroni over the pairs of `values`. Counts: negatives and positives of the one, of the other.
double disparity_high(const std::array<std::uint64_t, 4>& counts, std::uint64_t values);
std::string item_text(const AuditInputs& in, std::uint32_t item, bool title);
/// A figure for a sentence: 4 significant digits, no trailing zeros.
std::string words_of(double value);
/// A column of an item list: index, id, title, then figures.
std::vector<TableColumn> item_columns(std::vector<TableColumn> figures);

/// Counts by value of a catalogue column, by items' counts.
std::vector<std::uint64_t> counts_by_code(const CatalogueColumn& column,
                                          const std::vector<std::uint32_t>& by_item);
std::vector<std::uint64_t> widened(const std::vector<std::uint32_t>& counts);

}  // namespace quarry
