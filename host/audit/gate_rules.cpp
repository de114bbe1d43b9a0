// The gates and their defaults.
#include "host/audit/gates.h"

namespace quarry {
namespace {

constexpr const char* kContract = "docs/row_contract.md section 2";
constexpr const char* kFormat = "host/store/FORMAT.md";

GateRule at_most(std::string id, std::string title, std::string unit, double limit,
                 Severity severity, std::string what_to_do, std::string definition,
                 std::string source) {
  return {std::move(id),         std::move(title),      std::move(unit),   "<=", 0, limit, severity,
          std::move(what_to_do), std::move(definition), std::move(source), {}};
}
GateRule at_least(std::string id, std::string title, std::string unit, double limit,
                  Severity severity, std::string what_to_do, std::string definition,
                  std::string source) {
  return {std::move(id),         std::move(title),      std::move(unit),   ">=", limit, 0, severity,
          std::move(what_to_do), std::move(definition), std::move(source), {}};
}
GateRule within(std::string id, std::string title, std::string unit, double low, double high,
                Severity severity, std::string what_to_do, std::string definition,
                std::string source) {
  return {
      std::move(id),         std::move(title),      std::move(unit),   "in", low, high, severity,
      std::move(what_to_do), std::move(definition), std::move(source), {}};
}

void add_inputs(std::vector<GateRule>& r) {
  r.push_back(at_most(
      "inputs.unchanged", "Inputs that changed since the set was mined", "files", 0,
      Severity::kWarn, "Give the files that the set was mined from, or mine it again from these.",
      "Files in use whose size or hash is not what the manifest records.", kFormat));
  r.push_back(
      at_most("search.certified", "Rows whose search is not proven", "rows", 0, Severity::kFail,
              "Mine the rows again with an exact retriever, or record the promise same_index.",
              "Rows with certified = 0 in a set that promises cpu_gpu_identical.", kFormat));
}

void add_leaks(std::vector<GateRule>& r) {
  const char* again =
      "Do not train on this set; check that --events, --rows and --as-of are those of the run, and "
      "mine again.";
  r.push_back(at_most(
      "leak.positives", "Positives among the negatives", "negatives", 0, Severity::kFail, again,
      "Negatives that are positives of their row, or of its user up to as_of.", kContract));
  r.push_back(at_most("leak.exposed", "Items of excluded exposure classes", "negatives", 0,
                      Severity::kFail, again,
                      "Negatives in a class that an `exposed` filter of [safety] or of the slot's "
                      "branch rejects, by the user's events up to as_of.",
                      kContract));
  r.push_back(at_most("leak.group", "Group mates of positives", "negatives", 0, Severity::kFail,
                      again,
                      "Negatives whose code in the column of a `group` filter is that of a "
                      "positive of the user or the row.",
                      kContract));
  r.push_back(at_most("leak.near_duplicate", "Near-duplicates of positives", "negatives", 0,
                      Severity::kFail, again,
                      "Negatives whose cosine with a positive of the row reaches the bound of a "
                      "`near_duplicate` or `similarity` filter.",
                      kContract));
  r.push_back(at_most("leak.time", "Items not yet there, or retired", "negatives", 0,
                      Severity::kFail, again,
                      "Negatives first seen after the row's time or retired by it, where a `time` "
                      "filter applies.",
                      kContract));
  r.push_back(at_most("leak.filters", "Negatives that another filter rejects", "negatives", 0,
                      Severity::kFail, again,
                      "Negatives that a margin, score, rank, overlap, universal, allow_list or "
                      "column filter of [safety] or of the slot's branch rejects.",
                      kContract));
  r.push_back(at_most(
      "leak.held_out_events", "Held-out events that the masks saw", "pairs", 0, Severity::kFail,
      "The events hold what is to be predicted: cut them at the split, or give --as-of.",
      "Held-out positives (user, item) of which the recorded events up to as_of hold an event at "
      "or after the split, which is the least time of a held-out positive.",
      "Ji et al., TOIS 2023 (timeline leakage)"));
  r.push_back(at_most(
      "leak.held_out_rows", "Rows that train on held-out positives", "positives", 0,
      Severity::kFail, "Take the held-out positives out of the rows and mine again.",
      "Positives of rows that are held-out positives of the row's user of which the events hold "
      "nothing before the split.",
      "Ji et al., TOIS 2023 (timeline leakage)"));
  r.push_back(at_least(
      "leak.future_mask", "Masks that knew the future", "probability", 1e-3, Severity::kFail,
      "Held-out positives are missing from the negatives, so an offline metric on them would be "
      "too good. Mine without the held-out events in any list, filter or teacher.",
      "P of as few held-out positives among the negatives, if marks `held-out` mean nothing within "
      "row, branch, band of survivor rank and stratum (sum of hypergeometric cells); warns if more "
      "than half of the held-out positives are left out because the events hold something before "
      "the split, or if a column filter rejects more than half of them and more than twice the "
      "share of other items.",
      "Mantel and Haenszel, JNCI 1959; effect measured on ml-100k: NDCG@10 +50 % to +154 %"));
  r.push_back(at_most(
      "leak.future_sets", "Sets taken over that knew the future", "sets", 0, Severity::kFail,
      "What users liked by then is missing from the negatives of those sets. Mine them again with "
      "--as-of of this run or earlier, or take out --pairs NAME=SET, and mine this set again.",
      "Sets that the run took negatives over from (--pairs NAME=SET) which knew, by themselves or "
      "by sets that they took over from in turn, an event later than as_of of this run, or than "
      "the latest event that it saw where as_of was not given.",
      "Ji et al., TOIS 2023 (timeline leakage)"));
  r.push_back(at_most(
      "leak.held_out_excess", "Held-out positives beyond what their rank explains", "ratio", 2,
      Severity::kWarn,
      "The miner prefers what users like next: use a margin, a wider window or a share of random "
      "negatives.",
      "Observed over expected held-out positives in the cells of leak.future_mask; warns if also "
      "p < 0.001.",
      "Mantel and Haenszel, JNCI 1959"));
  r.back().fail = 5;
  r.push_back(at_most(
      "leak.test_near_duplicates", "Near-duplicates of held-out positives", "share", 0.01,
      Severity::kWarn,
      "Add a near_duplicate or group filter, or merge the duplicates in the catalogue.",
      "Sampled negatives with a cosine of at least the bound to a held-out positive of the row's "
      "user, themselves not among these.",
      "RAG#10 model card (7.5 % of rows)"));
  r.back().fail = 0.05;
}

void add_fill(std::vector<GateRule>& r) {
  const char* damaged = "The set is not what the miner wrote: find out who changed it, mine again.";
  r.push_back(
      at_least("fill.slots", "Slots filled", "share", 0.95, Severity::kFail,
               "See the table by reason: raise max_rank or pool, loosen margins, quotas or caps.",
               "Filled slots over rows times k.", "docs/row_contract.md section 4"));
  r.push_back(at_most("fill.accounting", "Counters that disagree with the columns", "counters", 0,
                      Severity::kFail, damaged,
                      "Counters of the manifest (rows, requested, emitted, missing by code, picked "
                      "by branch, slots by stratum) that differ from those counted again, and "
                      "requested = emitted + missing.",
                      kFormat));
  r.push_back(at_most("fill.slot_order", "Slots out of order", "rows", 0, Severity::kFail, damaged,
                      "Rows whose count, items, fill codes and branches contradict each other: "
                      "slot j is filled if and only if j < count.",
                      kFormat));
  r.push_back(at_most("fill.repeats", "Items twice in a row", "negatives", 0, Severity::kFail,
                      damaged,
                      "Negatives that stand in the row already, apart from draws of one branch "
                      "with replacement.",
                      "docs/row_contract.md section 4"));
  r.push_back(at_most(
      "fill.item_range", "Items outside the table", "negatives", 0, Severity::kFail, damaged,
      "Negatives, and positives of rows, not below the number of embedding rows.", kFormat));
  r.push_back(at_most(
      "fill.users", "Rows without a user", "rows", 0, Severity::kFail,
      "Masks and scores of these rows cannot be judged: find out who changed the set, or give the "
      "--users of the run.",
      "Rows whose user is not below the number of user vectors.", kFormat));
  r.push_back(at_most("fill.row_keys", "Row keys that repeat", "rows", 0, Severity::kFail, damaged,
                      "Rows whose key an earlier row has: they draw the same. Sorts 8 bytes a row.",
                      "docs/inputs.md"));
  r.push_back(at_most("fill.ranks", "Ranks that contradict each other", "negatives", 0,
                      Severity::kFail, damaged,
                      "Filled slots of all rows with a rank above the number of items, a survivor "
                      "rank above the raw rank (not with first_violator), or a quantile that is "
                      "not raw rank / items in fp32 "
                      "(NaN without a raw rank).",
                      kFormat));
  r.push_back(at_most(
      "fill.branches", "Branch shares missed", "share", 0.05, Severity::kWarn,
      "A branch runs short and the backfill took its slots: raise its max_rank or pool, loosen its "
      "filters, or ask for the share that it can fill.",
      "Largest distance of a branch's share of the filled slots from the recipe's share, beyond 4 "
      "standard deviations of systematic rounding and the share of empty slots; the limit is what "
      "backfill may move.",
      "docs/row_contract.md section 4"));
  r.push_back(at_most("fill.finite_scores", "Scores that are not finite", "negatives", 0,
                      Severity::kFail, damaged, "NaN or infinite scores in filled slots.",
                      "docs/row_contract.md section 2"));
  r.push_back(at_most("fill.exact_scores", "Scores that are not the exact ones", "numbers", 0,
                      Severity::kFail,
                      "The set was mined from other embeddings, or changed: give the embeddings of "
                      "the run with --items and --users, or mine again.",
                      "Of the sampled rows: scores, least positive scores and gaps that differ in "
                      "a bit from those computed again.",
                      "docs/row_contract.md section 1"));
  r.push_back(at_most("fill.logq", "Probabilities that are not the picks'", "negatives", 0,
                      Severity::kFail,
                      "Weights by logq would be wrong: the inputs are not those of the run, or the "
                      "set was changed; give the run's, or mine again.",
                      "Of the rows of odds_rows: filled slots whose logq differs in a bit from the "
                      "one computed again (pools, weights and draw spaces made anew), or that have "
                      "one where none belongs.",
                      "docs/row_contract.md section 6"));
  r.push_back(at_most(
      "fill.kappa", "Sampling thresholds that are not the picks'", "thresholds", 0, Severity::kFail,
      "Weights by kappa would be wrong: the inputs are not those of the run, or the "
      "set was changed; give the run's, or mine again.",
      "Of the rows of odds_rows: branches that sample by keys whose kappa differs "
      "in a bit from the one computed again, or whose first picks are not those "
      "with the largest keys.",
      "docs/row_contract.md sections 3, 4 and 6"));
}

void add_quality(std::vector<GateRule>& r) {
  r.push_back(at_most("exposure.share", "Share of negatives that users saw and did not like",
                      "share", 0.5, Severity::kWarn,
                      "Lower the share of the exposed branch; 0.1 is recommended.",
                      "Negatives whose pair is aversion or disinterest, over all negatives.",
                      "measured on ml-100k: 100 % exposed NDCG@10 -57 %, 50 % -18 %, 10 % -3 %"));
  r.push_back(at_most("hardness.margin", "Negatives above their positive despite a margin", "share",
                      0, Severity::kFail,
                      "Scores or positives are not those of the run: mine again.",
                      "Share of negatives with gap < 0 in branches with a margin filter against "
                      "the least positive.",
                      "Moreira et al., NV-Retriever 2024"));
  r.push_back(at_most(
      "strata.quota", "Quota missed beyond rounding", "share", 0, Severity::kFail,
      "Slots do not follow [quota]: mine again; with redistribute = true look at strata.filled.",
      "Largest distance of a stratum's share of slots (filled or missing) from its wanted share, "
      "beyond 4 standard deviations of systematic rounding.",
      "docs/row_contract.md section 4"));
  r.push_back(
      at_most("strata.filled", "Quota missed among filled slots", "share", 0.05, Severity::kWarn,
              "Strata run out of items: see strata.quota, column short; widen bins, raise "
              "max_rank or set redistribute.",
              "Largest distance of a stratum's share of filled slots from its wanted share, "
              "beyond 4 standard deviations of systematic rounding.",
              "docs/row_contract.md section 4"));
  r.push_back(at_most("strata.items", "Items in a stratum that is not theirs", "negatives", 0,
                      Severity::kFail,
                      "Events or catalogue are not those of the run: give them, or mine again.",
                      "Filled slots whose stratum is not that of the item, computed again from "
                      "events and catalogue.",
                      "docs/row_contract.md section 4"));
  r.push_back(at_most("strata.caps", "Rows above a cap", "rows", 0, Severity::kFail,
                      "The set is not what the recipe asks for: mine again.",
                      "Rows with more than per_row negatives of one value of a capped column.",
                      "docs/row_contract.md section 4"));
}

void add_diversity(std::vector<GateRule>& r) {
  r.push_back(
      at_most("diversity.hub", "Most frequent negative", "share", 0.5, Severity::kWarn,
              "Prune or cap the items listed as hubs (filter universal, cap, more random).",
              "Largest share of rows that have one and the same item as a negative; passes too at "
              "up to 3 k / items, where chance alone gives so many.",
              "Radovanovic et al., JMLR 2010 (hubness)"));
  r.back().fail = 0.9;
  r.push_back(at_least(
      "diversity.effective_items", "Effective items against random draws", "ratio", 0.02,
      Severity::kFail,
      "The negatives collapse onto a few items: check embeddings, widen the window or add random.",
      "exp(entropy of the items' shares) over the number of different items that as many uniform "
      "draws meet; warns below effective_warn, fails below the limit.",
      "Hill, Ecology 1973"));
  r.push_back(at_least("diversity.tail", "Coverage of the tail half", "ratio", 0.02,
                       Severity::kWarn, "Add a random branch or a quota for the tail.",
                       "Items of the less popular half that are a negative somewhere, over the "
                       "number that as many uniform draws meet.",
                       "methods: coverage, random baseline 1-(1-1/N)^n"));
  r.push_back(at_most(
      "diversity.spike", "Spike of a single item", "ratio", 30, Severity::kWarn,
      "Look the item up with quarry show and explain; exclude it or cap it if it is an artefact.",
      "Count of the most frequent negative over that of the item at the 99th percentile of items "
      "used (at least 5).",
      "methods: concentration, guard against hubs"));
  r.back().fail = 300;
  r.push_back(at_least("diversity.intra_row", "Diversity within a row", "ratio", 0.02,
                       Severity::kWarn, "Rows repeat one thing: cap a column, or sample wider.",
                       "Mean of 1 - cosine over pairs of negatives of sampled rows.",
                       "Ziegler et al., WWW 2005 (intra-list similarity)"));
}

void add_drift(std::vector<GateRule>& r) {
  const char* psi_source = "Yurdakul and Naranjo 2020 (null distribution of PSI)";
  const auto drift = [&](const char* id, const char* title, const char* of) {
    r.push_back(at_most(id, title, "psi", 0.25, Severity::kFail,
                        "Compare the recipes, events and models of both sets before training on "
                        "this one.",
                        std::string("PSI of ") + of +
                            " against the baseline; fails above the limit if it is also above "
                            "(1/n + 1/m) chi2(B - 1, 0.001), warns above drift_warn.",
                        psi_source));
  };
  drift("drift.popularity", "Drift of popularity", "negatives by deciles of popularity");
  drift("drift.quantile", "Drift of rank", "rank quantiles by deciles of the baseline");
  drift("drift.score", "Drift of scores", "scores by deciles of the baseline");
  drift("drift.strata", "Drift of strata", "filled slots by stratum");
  drift("drift.attributes", "Drift of attributes",
        "negatives by value of the catalogue column that drifts most");
  r.push_back(at_most(
      "drift.spikes", "Items that became much more frequent", "items", 0, Severity::kWarn,
      "Look at the list `spikes`: a new hub is often a broken vector.",
      "Items with a share more than 3 times the baseline's, by a two-proportion z test at 0.001 "
      "over the number of items (Bonferroni).",
      "methods: concentration"));
  r.push_back(
      within("drift.churn", "Negatives kept from the baseline", "share", 0.1, 0.9, Severity::kWarn,
             "Almost all kept: nothing was refreshed (same model or round?). Almost none: "
             "other index, ids or embeddings.",
             "Mean over rows with equal keys of |A and B| / |A or B| of their items; the lower "
             "limit counts between sets of one seed and round.",
             "Jaccard 1912"));
}

void add_people(std::vector<GateRule>& r) {
  r.push_back(at_least(
      "cohorts.disparity", "Exposure disparity of item groups", "ratio", 0.8, Severity::kWarn,
      "One group of items is taught as negative more than another relative to how "
      "it is liked: use a quota on the column.",
      "Least over largest D_g = (share of negatives on g) / (share of positives on "
      "g) over values g of the catalogue column with the largest gap; warns only if the 95 % "
      "interval of the ratio (Poisson counts, delta method, Bonferroni over pairs of values) lies "
      "below the limit.",
      "four-fifths rule, 29 CFR 1607.4 D"));
  r.push_back(
      at_most("cohorts.suppression", "Suppression of a cohort's items", "ratio", 2, Severity::kWarn,
              "Items mostly liked by one cohort are its negatives: look at the table, lower "
              "the hard share or exclude them.",
              "Lower end of the 95 % interval of: rate of a cohort's items among the "
              "negatives of its users over that among others' users, largest cohort.",
              "methods: minority suppression"));
  r.back().fail = 4;
  r.push_back(at_most("calibration.ece", "Expected calibration error", "probability", 0.1,
                      Severity::kWarn,
                      "Recalibrate the scores (isotonic or Platt) or check the "
                      "sampling rate.",
                      "Sum over 15 bins of equal mass of their share times |labels - scores|.",
                      "Naeini et al., AAAI 2015"));
  r.back().fail = 0.25;
  r.push_back(within("calibration.large", "Calibration in the large", "ratio", 0.98, 1.02,
                     Severity::kFail,
                     "The mean score is not the mean label: give the rate at which negatives were "
                     "kept (column weight), or recalibrate.",
                     "Sum of scores over sum of labels after q = p / (p + (1 - p) / w); passes too "
                     "within 3 standard errors.",
                     "He et al., ADKDD 2014"));
  r.push_back(
      at_most("staleness.age", "Age of the events", "days", 30, Severity::kWarn,
              "Mine again with newer events (--as-of).",
              "From the earlier of the set's as_of and the latest event that it saw to --now; "
              "warns below 0 too.",
              "methods: staleness"));
}

}  // namespace

GateConfig default_gates() {
  GateConfig config;
  add_inputs(config.rules);
  add_leaks(config.rules);
  add_fill(config.rules);
  add_quality(config.rules);
  add_diversity(config.rules);
  add_drift(config.rules);
  add_people(config.rules);
  return config;
}

}  // namespace quarry
