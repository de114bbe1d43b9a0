// A problem in words: its recipe and sizes, to read a failure.
#include <sstream>

#include "tests/support/problems.h"

namespace quarry::test {
namespace {
void describe(std::ostringstream& text, const FilterSpec& f) {
  static const char* const kTypes[] = {"positives", "exposed", "group",           "near_duplicate",
                                       "overlap",   "time",    "universal",       "allow_list",
                                       "segment",   "score",   "absolute_margin", "relative_margin",
                                       "rank",      "column",  "similarity"};
  text << "\n    filter " << kTypes[static_cast<int>(f.type)] << " classes " << f.classes
       << " max_age " << f.max_age.value_or(-1) << " column " << f.column << " columns "
       << f.columns.size() << " min_equal " << f.min_equal << " table '" << f.table << "' bound "
       << f.bound << " [" << f.lo << ", " << f.hi << "] against " << static_cast<int>(f.against)
       << (f.window.survivors ? " survivors" : " raw")
       << (f.window.quantile ? " quantile " : " ranks ") << f.window.lo << ".." << f.window.hi
       << " relative " << f.relative << " reject_missing " << f.reject_missing;
}
}  // namespace

std::string describe(const Problem& p) {
  static const char* const kSources[] = {"topk", "uniform", "popularity", "pool", "exposed",
                                         "run",  "near",    "batch",      "queue"};
  static const char* const kSelects[] = {
      "top", "top_by_rank", "sample", "sample_replacement", "top1_sample", "first_violator"};
  static const char* const kWeights[] = {"softmax",        "simans",    "distance", "popularity",
                                         "rank_geometric", "rank_beta", "column",   "class"};
  std::ostringstream text;
  text << "problem " << p.number << ": " << p.inputs.items.rows << " items, " << p.inputs.users.rows
       << " users, dim " << p.inputs.items.dim << ", k " << p.recipe.k << ", metric "
       << static_cast<int>(p.recipe.metric) << ", snapshot "
       << (p.inputs.snapshot != nullptr ? static_cast<std::int64_t>(p.snapshot.num_items) : -1)
       << "\n  safety:";
  for (const FilterSpec& f : p.recipe.safety) describe(text, f);
  for (const BranchSpec& b : p.recipe.branches) {
    text << "\n  branch " << b.name << " share " << b.share << " source "
         << kSources[static_cast<int>(b.source.kind)] << (b.source.all ? " (all)" : "") << " pool "
         << b.source.pool << " max_rank " << b.source.max_rank << " draws " << b.source.draws
         << " beta " << b.source.beta << " popular " << b.source.popularity_base << " classes "
         << b.source.classes << " max_age " << b.source.max_age.value_or(-1) << " select "
         << kSelects[static_cast<int>(b.select)] << " margin " << b.violation_margin;
    for (const FilterSpec& f : b.filters) describe(text, f);
    for (const WeightSpec& w : b.weights) {
      text << "\n    weight " << kWeights[static_cast<int>(w.kind)] << " a " << w.a << " b " << w.b
           << " against " << static_cast<int>(w.against)
           << (w.centre == CentreKind::kAhns ? " ahns" : "");
    }
  }
  if (p.recipe.quota) {
    text << "\n  quota" << (p.recipe.quota->redistribute ? " redistributed" : "");
    for (const QuotaAttribute& q : p.recipe.quota->by) {
      text << "\n    by " << q.attribute << " mode " << static_cast<int>(q.mode);
      for (const auto& [name, share] : q.shares) text << " '" << name << "'=" << share;
    }
  }
  for (const CapSpec& c : p.recipe.caps) text << "\n  cap " << c.column << " " << c.per_row;
  text << "\n  backfill";
  for (const std::uint32_t b : p.recipe.backfill) text << " " << b;
  return text.str();
}

}  // namespace quarry::test
