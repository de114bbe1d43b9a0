// What people and audits said of a store's versions, and what its policy makes of it.
#include <fmt/format.h>

#include <algorithm>

#include "host/audit/report_history_parts.h"
#include "host/audit/report_parts.h"
#include "host/audit/report_text.h"

namespace quarry::report {
namespace {

/// The newest review of a version that has a share, as quarry log takes it.
Metric share_of(const History& history, std::uint64_t version) {
  Metric share;
  for (const HistoryReview& review : history.reviews) {
    if (review.version != version || !review.share.is_number()) continue;
    share.value = review.share;
    share.low = review.low;
    share.high = review.high;
  }
  return share;
}

std::string span_of(const Datum& number, const char* unit, int digits = 0) {
  return datum_span(number, unit, digits);
}

/// The share, and how far off it may be.
std::string estimate_cell(const HistoryReview& review, const Column& column) {
  if (!review.share.is_number()) return "<td class=\"n none\"" + head_of_cell(column) + ">–</td>";
  const int digits = digits_apart({&review.share, &review.low, &review.high}, column.unit);
  std::string html =
      fmt::format("<td class=\"n\"{}{}>{}", head_of_cell(column), data_value(review.share),
                  datum_words(review.share, column.unit, digits));
  const auto add = [&](const std::string& words) {
    html += " <div class=\"was\">" + words + "</div>";
  };
  if (review.low.is_number() && review.high.is_number())
    add("95 %: " + span_of(review.low, "share", digits) + " to " +
        span_of(review.high, "share", digits));
  if (review.upper.is_number()) add("at most " + span_of(review.upper, "share") + " (95 %)");
  if (review.standard_error.is_number())
    add("standard error " + span_of(review.standard_error, "share"));
  return html + "</td>";
}

/// "all 16,136", "1,313 of 10,872".
std::string covered_cell(const HistoryReview& review, const Column& column) {
  if (!review.covered.is_number()) return "<td class=\"n none\"" + head_of_cell(column) + ">–</td>";
  std::string html =
      fmt::format("<td class=\"n\"{}{}>", head_of_cell(column), data_value(review.covered));
  const bool all = review.population.is_number() && review.covered.value == review.population.value;
  html += all ? "all " : "";
  html += datum_words(review.covered, "count");
  if (!all && review.population.is_number()) html += " of " + span_of(review.population, "count");
  return html + "</td>";
}

std::string row_of(const HistoryReview& review, const std::vector<Column>& columns) {
  const Datum plain[] = {number_datum(review.version),
                         review.time,
                         review.reviewers,
                         review.false_negatives,
                         review.confirmed,
                         review.unsure,
                         review.not_judged};
  const Datum last[] = {review.agreement, review.alpha};
  std::string html = "<tr>";
  std::size_t at = 0;
  for (const Datum& datum : plain) html += named_cell(datum, columns[at++]);
  html += estimate_cell(review, columns[at++]);
  html += covered_cell(review, columns[at++]);
  for (const Datum& datum : last) html += named_cell(datum, columns[at++]);
  return html + "</tr>\n";
}

std::string users_html(const History& history) {
  if (history.feedback.empty()) return "";
  Table table;
  table.title = "Events of users";
  table.columns = {{"version", "version", "exact", true}, {"time", "time", "time", true}};
  std::vector<std::string> kinds;
  for (const HistoryFeedback& feedback : history.feedback) {
    for (const auto& [kind, unused] : feedback.kinds) {
      if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) kinds.push_back(kind);
    }
  }
  for (const std::string& kind : kinds)
    table.columns.push_back({"kind:" + kind, kind, "count", true});
  for (auto f = history.feedback.rbegin(); f != history.feedback.rend(); ++f) {
    std::vector<Datum> row = {number_datum(f->version), f->time};
    for (const std::string& kind : kinds) {
      const auto found = std::find_if(f->kinds.begin(), f->kinds.end(),
                                      [&](const auto& count) { return count.first == kind; });
      row.push_back(found != f->kinds.end() ? found->second : Datum{});
    }
    table.rows.push_back(std::move(row));
  }
  return "<h3>Of users</h3>\n<p>Events that quarry feedback users made of what users asked for, by "
         "kind; the same files given again count once.</p>\n" +
         table_html(table, TableFit::kFolds);
}

std::string model_html(const History& history, HistoryAudience audience) {
  if (history.model_feedback.empty()) return "";
  const bool own = audience == HistoryAudience::kOwn;
  Table table;
  table.title = "Feedback of models";
  table.columns = {{"version", "version", "exact", true},
                   {"time", "time", "time", true},
                   {"segments", "segments measured", "count", true},
                   {"negatives", "negatives seen", "count", true},
                   {"changed", "shares changed", "count", true}};
  if (own) table.columns.push_back({"recipe", "hash of the new recipe", "", false});
  for (auto f = history.model_feedback.rbegin(); f != history.model_feedback.rend(); ++f) {
    table.rows.push_back(
        {number_datum(f->version), f->time, f->segments, f->negatives, f->changed});
    if (own) table.rows.back().push_back(text_datum(f->recipe.substr(0, kHashDigits)));
  }
  return "<h3>Of models</h3>\n<p>What a model's losses, confusions and calibration moved in the "
         "recipe, as quarry feedback model proposed it for review.</p>\n" +
         table_html(table, TableFit::kFolds);
}

}  // namespace

std::string policy_html(const Policy& policy) {
  std::string html = "<section id=\"policy\"><h2>What latest means</h2>\n";
  if (policy == Policy{})
    return html +
           "<p>The store has no policy: the tag latest moves to every new version.</p>"
           "</section>\n";
  html += "<p>The newest version that is not rejected and has</p>\n<ul>";
  if (policy.needs_approval) html += "<li>an approval</li>";
  if (policy.needs_audit) {
    html += "<li>as its newest audit one that passed, of the inputs that the version records";
    std::string gates;
    for (const std::string& gate : policy.audit_gates)
      gates += (gates.empty() ? "" : ", ") + isolated(gate);
    if (!gates.empty()) html += ", in which these gates were checked and did not fail: " + gates;
    if (!policy.audit_limits.empty())
      html += (gates.empty() ? ", judged" : "; judged") + std::string(" by the limits <code>") +
              escaped(policy.audit_limits.substr(0, kHashDigits)) + "</code>";
    html += "</li>";
  }
  return html + "</ul></section>\n";
}

std::string reviews_html(const History& history) {
  if (history.reviews.empty()) return "";
  const std::vector<Column> columns = {{"version", "version", "exact", true},
                                       {"time", "time", "time", true},
                                       {"reviewers", "reviewers", "count", true},
                                       {"false", "false", "count", true},
                                       {"confirmed", "confirmed", "count", true},
                                       {"unsure", "unsure", "count", true},
                                       {"not_judged", "not judged", "count", true},
                                       {"share", "estimated false", "share", true},
                                       {"covered", "of negatives", "count", true},
                                       {"agreement", "agreement", "share", true},
                                       {"alpha", "alpha", "", true}};
  Table table;
  table.title = "Reviews";
  table.columns = columns;
  table.rows.resize(history.reviews.size());
  std::string rows;
  for (auto review = history.reviews.rbegin(); review != history.reviews.rend(); ++review)
    rows += row_of(*review, columns);
  const std::string head =
      defined("Estimated false negatives",
              "The share of false negatives among all negatives of strata with verdicts, from a "
              "stratified sample.",
              "Cochran, Sampling Techniques, 3rd ed. 1977, ch. 5; interval: Wilson, for the "
              "effective size (Korn and Graubard 1998)");
  const std::string chart = line_over_versions(
      history, "Estimated false negatives", head, "share",
      [&](const HistoryVersion& version) { return share_of(history, version.number); });
  return "<section id=\"reviews\"><h2>Reviews</h2>\n<p>What experts said of a sample of a "
         "version's negatives, newest first; false are those that the user wants. The estimate "
         "speaks of all negatives of the strata with verdicts. Agreement is the share of agreeing "
         "pairs of verdicts, alpha Krippendorff's (nominal).</p>\n" +
         table_frame(table, rows, TableFit::kFolds) +
         (chart.empty() ? "" : "<div class=\"charts\">" + chart + "</div>\n") + "</section>\n";
}

std::string feedback_html(const History& history, HistoryAudience audience) {
  const std::string body = users_html(history) + model_html(history, audience);
  return body.empty() ? "" : "<section id=\"feedback\"><h2>Feedback</h2>\n" + body + "</section>\n";
}

std::string decisions_html(const History& history, HistoryAudience audience) {
  if (history.decisions.empty()) return "";
  const bool own = audience == HistoryAudience::kOwn;
  Table table;
  table.title = "Decisions";
  table.columns = {{"version", "version", "exact", true},
                   {"time", "time", "time", true},
                   {"decision", "decision", "", false}};
  if (own) {
    table.columns.push_back({"by", "by", "", false});
    table.columns.push_back({"reason", "reason", "", false});
  }
  for (auto d = history.decisions.rbegin(); d != history.decisions.rend(); ++d) {
    std::vector<Datum> row = {number_datum(d->version), d->time,
                              text_datum(d->approved ? "approved" : "rejected")};
    if (own) {
      row.push_back(text_datum(d->by));
      row.push_back(text_datum(d->reason));
    }
    table.rows.push_back(std::move(row));
  }
  return "<section id=\"decisions\"><h2>Decisions</h2>\n<p>All that were made, newest first; the "
         "newest on a version counts.</p>\n" +
         table_html(table, TableFit::kFolds) + "</section>\n";
}

std::string audits_html(const History& history) {
  if (history.audits.empty()) return "";
  Table table;
  table.title = "Recorded audits";
  table.columns = {
      {"version", "version", "exact", true}, {"time", "time", "time", true},
      {"verdict", "verdict", "", false},     {"checked", "gates checked", "count", true},
      {"failed", "failed", "", false},       {"warned", "warned", "", false},
      {"limits", "limits", "", false}};
  for (auto a = history.audits.rbegin(); a != history.audits.rend(); ++a)
    table.rows.push_back({number_datum(a->version), a->time, text_datum(a->verdict),
                          a->has_gates ? number_datum(a->num_checked) : Datum{},
                          text_datum(a->failed), text_datum(a->warned),
                          text_datum(a->limits.substr(0, kHashDigits))});
  return "<section id=\"audits\"><h2>Recorded audits</h2>\n<p>Newest first; the newest of a "
         "version counts. Audits whose limits have the same hash judged by the same limits and "
         "severities.</p>\n" +
         table_html(table, TableFit::kFolds) + "</section>\n";
}

}  // namespace quarry::report
