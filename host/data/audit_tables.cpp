// Tables that only an audit reads.
#include "host/data/audit_tables.h"

#include <algorithm>
#include <map>

#include "host/data/message.h"
#include "host/data/table_scan.h"
#include "kernels/core/ids.h"

namespace quarry {

Cohorts read_cohorts(const std::string& path, const std::string& user_column,
                     const std::string& column, const IdMap& users) {
  const std::unique_ptr<TableReader> table = open_table(path);
  TableScan scan(*table);
  const std::size_t user_slot =
      scan.add(user_column, "the column of user ids has the name that it has in the events");
  const std::size_t group_slot =
      scan.add(column, "name the column behind the file: --cohorts FILE:COLUMN");
  std::map<std::string, std::vector<std::uint32_t>> members;
  std::vector<std::uint64_t> line_of(users.size(), 0);
  std::vector<std::string> group_of(users.size());
  Cohorts cohorts;
  while (scan.next()) {
    const std::optional<std::uint32_t> user = users.find(scan.field(user_slot));
    if (!user) {
      ++cohorts.unknown_ids;
      continue;
    }
    const std::string group(scan.empty(group_slot) ? std::string_view() : scan.field(group_slot));
    if (line_of[*user] != 0) {
      if (group_of[*user] == group) continue;
      throw_input_error(scan.where(), ": the user of this line is in another group in line ",
                        line_of[*user], "; a user has one group. Remove one of the lines");
    }
    line_of[*user] = scan.line();
    group_of[*user] = group;
    if (!group.empty()) members[group].push_back(*user);
  }
  cohorts.of_user.assign(users.size(), 0);
  cohorts.names = {""};
  for (const auto& [name, list] : members) {
    for (const std::uint32_t user : list)
      cohorts.of_user[user] = static_cast<std::uint32_t>(cohorts.names.size());
    cohorts.names.push_back(name);
  }
  if (members.empty()) {
    throw_input_error(path, ": names a group for none of the users of the embeddings (",
                      cohorts.unknown_ids,
                      " lines are of unknown users); are the ids those of "
                      "--user-ids?");
  }
  return cohorts;
}

ScoreTable read_scores(const std::string& path, const std::string& item_column,
                       const IdMap& items) {
  const std::unique_ptr<TableReader> table = open_table(path);
  TableScan scan(*table);
  const std::size_t score_slot = scan.add("score", "--scores takes columns score and label");
  const std::size_t label_slot = scan.add("label", "--scores takes columns score and label");
  const std::size_t rate_slot = scan.add_optional("weight", "weight", "");
  const std::size_t item_slot = scan.add_optional(item_column, item_column, "");
  ScoreTable scores;
  while (scan.next()) {
    const float score = scan.number(score_slot, "score");
    const float label = scan.number(label_slot, "label");
    if (!(score >= 0 && score <= 1)) {
      throw_input_error(scan.where(), ": score ", score,
                        " is no probability; allowed 0 to 1. Take the sigmoid of logits first");
    }
    if (label != 0 && label != 1)
      throw_input_error(scan.where(), ": label ", label, "; allowed 0 and 1");
    const bool has_rate = rate_slot != TableScan::kAbsent && !scan.blank(rate_slot);
    const float rate = has_rate ? scan.number(rate_slot, "weight") : 1.0f;
    if (!(rate > 0 && rate <= 1)) {
      throw_input_error(
          scan.where(), ": weight ", rate,
          " is no sampling rate; allowed above 0 up to 1: the share of negatives that "
          "was kept");
    }
    scores.score.push_back(static_cast<double>(score));
    scores.label.push_back(label == 1 ? 1 : 0);
    scores.rate.push_back(static_cast<double>(rate));
    if (item_slot != TableScan::kAbsent)
      scores.item.push_back(items.find(scan.field(item_slot)).value_or(kNoItem));
  }
  if (scores.size() == 0) throw_input_error(path, ": has no rows; there is nothing to calibrate");
  return scores;
}

}  // namespace quarry
