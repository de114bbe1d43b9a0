// Lines of verdicts become units of a review.
#include "host/feedback/verdicts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "kernels/core/errors.h"
#include "kernels/core/ids.h"

namespace quarry {
namespace {

constexpr double kWeightError = 1e-5;  // weights are written with the digits of fp32

std::string lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

std::optional<Verdict> verdict_of(const std::string& text) {
  const std::string word = lower(text);
  for (const Verdict verdict : {Verdict::kNegative, Verdict::kPositive, Verdict::kUnsure}) {
    if (word == words_of(verdict)) return verdict;
  }
  return std::nullopt;
}

/// What a reviewer said of a unit, and where.
struct Said {
  Verdict verdict = Verdict::kUnsure;
  std::string where;
};

class VerdictTaker {
 public:
  VerdictTaker(const NegativeSet& set, const std::function<std::string(std::uint32_t)>& item_id,
               const std::atomic<bool>* stop)
      : set_(set), item_id_(item_id), stop_(stop) {}

  void take(const VerdictFile& file, std::size_t number) {
    for (const VerdictLine& line : file.lines) {
      where_ = fmt::format("{}:{}", file.path, line.line);
      ++review_.lines;
      ReviewUnit& unit = unit_of(line);
      if (line.verdict.empty()) {
        ++review_.not_judged;
        continue;
      }
      const std::optional<Verdict> verdict = verdict_of(line.verdict);
      if (!verdict)
        fail(
            fmt::format("the verdict '{}' is not known; negative (the item is none that the user "
                        "wants), positive (it is one), unsure, or nothing are",
                        line.verdict));
      // Who fills in a file without a name is one person.
      const std::string reviewer =
          line.reviewer.empty() ? fmt::format("(file {})", number + 1) : name_of(line.reviewer);
      const auto [said, first] =
          said_.try_emplace({unit.row, unit.slot, reviewer}, Said{*verdict, where_});
      if (!first && said->second.verdict != *verdict)
        fail(fmt::format(
            "'{}' says {} here and {} in {}; a reviewer has one verdict on a negative. "
            "Correct one of the lines, or name the second reviewer in the column "
            "reviewer",
            reviewer, words_of(*verdict), words_of(said->second.verdict), said->second.where));
      if (!first) {
        ++review_.repeated;
        continue;
      }
      ++unit.given[static_cast<std::size_t>(*verdict)];
      ++review_.verdicts[static_cast<std::size_t>(*verdict)];
      ++reviewers_[reviewer];
    }
  }

  Review finish() {
    if (review_.verdicts == VerdictCounts{})
      throw InputError(fmt::format(
          "no line has a verdict ({} lines were read); fill in negative, positive or unsure in the "
          "column verdict",
          review_.lines));
    check_cells();
    for (auto& [place, unit] : units_) {
      const VerdictCounts none = {};
      if (unit.given != none) {
        const std::optional<std::size_t> most = majority_of(unit.given);
        unit.majority = most ? static_cast<Verdict>(*most) : Verdict::kUnsure;
      }
      review_.units.push_back(std::move(unit));
    }
    review_.reviewers.assign(reviewers_.begin(), reviewers_.end());
    return std::move(review_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw InputError(where_ + ": " + what); }

  /// One spelling of a name, the first that came: "Ada" and "ada" are one person.
  std::string name_of(const std::string& reviewer) {
    return spellings_.try_emplace(lower(reviewer), reviewer).first->second;
  }

  /// The unit of a line that agrees with the set in all that can be checked.
  ReviewUnit& unit_of(const VerdictLine& line) {
    const std::optional<ReviewId> id = parse_review_id(line.review);
    if (!id)
      fail(
          fmt::format("'{}' is no review id, as quarry review export writes them "
                      "(HASH:ROW:SLOT); take the line from the file as it was exported",
                      line.review));
    if (id->content_hash != set_.content_hash())
      fail(
          fmt::format("is of a set with the content hash {}, this one has {}; name the set that "
                      "was reviewed with --set (quarry log lists the hashes of versions)",
                      id->content_hash, set_.content_hash()));
    if (id->row >= set_.rows() || id->slot >= set_.row(id->row).count)
      fail(
          fmt::format("there is no negative in slot {} of row {} ({} rows); take the line from "
                      "the file as it was exported",
                      id->slot, id->row, set_.rows()));
    const NegativeSet::Row row = set_.row(id->row);
    const std::string item = item_id_(row.item[id->slot]);
    if (line.item != item && line.item != inert_field(item))
      fail(
          fmt::format("the item is '{}', in the set '{}' stands there; the line was changed (a "
                      "spreadsheet may have taken the id for a number or a date): take it from "
                      "the file as it was exported",
                      line.item, item));
    check_sampling(line, row, id->slot);
    const auto [at, first] = units_.try_emplace({id->row, id->slot});
    ReviewUnit& unit = at->second;
    if (first) {
      unit.row = id->row;
      unit.slot = id->slot;
      unit.cell = cell_;
      unit.where = where_;
    }
    return unit;
  }

  /// Cell, population and weight of a line; sets cell_.
  void check_sampling(const VerdictLine& line, const NegativeSet::Row& row, std::uint32_t slot) {
    if (by_text_.empty()) {
      try {
        by_ = parse_sample_by(line.sampled_by);
      } catch (const ConfigError&) {
        fail(
            fmt::format("sampled_by '{}' is not what quarry review export writes; take the line "
                        "from the file as it was exported",
                        line.sampled_by));
      }
      by_text_ = line.sampled_by;
      by_where_ = where_;
      review_.cells = cells_of(set_, by_, stop_);
      for (std::uint32_t c = 0; c < review_.cells.size(); ++c)
        cell_numbers_[review_.cells[c].name] = c;
    }
    if (line.sampled_by != by_text_)
      fail(
          fmt::format("is of a sample by '{}', {} is of one by '{}'; import the files of one "
                      "export at a time",
                      line.sampled_by, by_where_, by_text_));
    const std::string name = cell_of(set_.schema(), row, slot, by_);
    cell_ = cell_numbers_.at(name);
    SampleCell& cell = review_.cells[cell_];
    if (line.cell != name && line.cell != inert_field(name))
      fail(
          fmt::format("the cell is '{}', of this negative it is '{}'; take the line from the file "
                      "as it was exported",
                      line.cell, name));
    const double weight = static_cast<double>(line.population) /
                          static_cast<double>(std::max<std::uint64_t>(line.sampled, 1));
    if (line.population != cell.population || line.sampled == 0 || line.sampled > cell.population ||
        std::abs(line.weight - weight) > kWeightError * std::max(1.0, weight))
      fail(
          fmt::format("population {}, sampled {} and weight {} do not fit each other and the {} "
                      "negatives of '{}'; take the line from the file as it was exported",
                      line.population, line.sampled, line.weight, cell.population, name));
    if (cell.sampled == 0) cell.sampled = line.sampled;
    if (cell.sampled != line.sampled)
      fail(
          fmt::format("sampled is {} here and {} in another line of '{}'; import the files of one "
                      "export at a time",
                      line.sampled, cell.sampled, name));
  }

  /// No cell has more units than were sampled of it.
  void check_cells() const {
    std::vector<std::uint64_t> units(review_.cells.size(), 0);
    for (const auto& [place, unit] : units_) {
      const SampleCell& cell = review_.cells[unit.cell];
      if (++units[unit.cell] > cell.sampled)
        throw InputError(fmt::format(
            "{}: is one negative more than the {} that were sampled of '{}'; import the files of "
            "one export at a time",
            unit.where, cell.sampled, cell.name));
    }
  }

  const NegativeSet& set_;
  const std::function<std::string(std::uint32_t)>& item_id_;
  const std::atomic<bool>* stop_;
  Review review_;
  std::map<std::pair<std::uint64_t, std::uint32_t>, ReviewUnit> units_;
  std::map<std::tuple<std::uint64_t, std::uint32_t, std::string>, Said> said_;
  std::map<std::string, std::uint64_t> reviewers_;
  std::map<std::string, std::string> spellings_;  ///< by the name in small letters
  std::map<std::string, std::uint32_t> cell_numbers_;
  std::vector<SampleBy> by_;
  std::string by_text_, by_where_, where_;
  std::uint32_t cell_ = 0;
};

}  // namespace

const char* words_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kNegative:
      return "negative";
    case Verdict::kPositive:
      return "positive";
    case Verdict::kUnsure:
      return "unsure";
  }
  return "?";
}

bool same_reviewer(const std::string& a, const std::string& b) { return lower(a) == lower(b); }

std::string inert_field(const std::string& text) {
  const bool formula = !text.empty() && std::string("=+-@\t\r").find(text[0]) != std::string::npos;
  return formula ? "'" + text : text;
}

Review take_verdicts(const NegativeSet& set, const std::vector<VerdictFile>& files,
                     const std::function<std::string(std::uint32_t)>& item_id,
                     const std::atomic<bool>* stop) {
  VerdictTaker taker(set, item_id, stop);
  for (std::size_t f = 0; f < files.size(); ++f) taker.take(files[f], f);
  return taker.finish();
}

std::vector<StratumCount> counts_by_cell(const Review& review) {
  std::vector<StratumCount> counts;
  for (const SampleCell& cell : review.cells) counts.push_back({cell.population, 0, 0});
  for (const ReviewUnit& unit : review.units) {
    if (!unit.majority || *unit.majority == Verdict::kUnsure) continue;
    ++counts[unit.cell].judged;
    counts[unit.cell].hits += *unit.majority == Verdict::kPositive ? 1 : 0;
  }
  return counts;
}

std::vector<JudgedUnit> judged_units(const Review& review, const NegativeSet& set) {
  constexpr std::uint64_t kRows = std::uint64_t{1} << 32;  // behind all numbers of users
  std::vector<JudgedUnit> units;
  for (const ReviewUnit& unit : review.units) {
    if (!unit.majority || *unit.majority == Verdict::kUnsure) continue;
    const std::uint32_t user = set.row(unit.row).user;
    units.push_back({unit.cell, user == kNoItem ? kRows + unit.row : user,
                     *unit.majority == Verdict::kPositive});
  }
  return units;
}

}  // namespace quarry
