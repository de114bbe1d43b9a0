// quarry review export: a stratified sample of negatives as a table for experts.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "host/feedback/review_sample.h"
#include "host/feedback/verdicts.h"
#include "kernels/core/errors.h"
#include "tools/quarry/export_file.h"
#include "tools/quarry/export_lines.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/join_texts.h"
#include "tools/quarry/named_set.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/review_verbs.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

struct ReviewExportArgs {
  std::string set, out;
  RunOptions flags;
  std::vector<std::string> by = {"branch"};
  std::string reviewers;
  std::string user_text, item_text, user_text_id = "user", item_text_id = "item";
  std::string missing_text = "reject";
  std::uint64_t sample = 200, least = 2, seed = 0, positives = 20;
  std::uint32_t each = 0;
  bool overwrite = false, verify = false, allow_changed = false, json = false;
};

/// "ada,bo" taken apart.
std::vector<std::string> reviewer_names(const std::string& text) {
  std::vector<std::string> names;
  if (text.empty()) return names;
  std::size_t at = 0;
  while (at <= text.size()) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string name = text.substr(at, end - at);
    at = end + 1;
    const bool control = std::any_of(name.begin(), name.end(), [](char c) {
      return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
    });
    if (name.find_first_not_of(' ') == std::string::npos || name.size() > 64 || control ||
        name.front() == ' ' || name.back() == ' ' || inert_field(name) != name)
      throw ConfigError(fmt::format(
          "--reviewers: '{}' is no name; 1 to 64 bytes without control characters, without spaces "
          "at the ends and without = + - @ in front are",
          printable(name)));
    // The import takes "Ada" and "ada" for one person.
    if (std::any_of(names.begin(), names.end(),
                    [&](const std::string& other) { return same_reviewer(other, name); }))
      throw ConfigError(fmt::format("--reviewers: '{}' stands there twice", name));
    names.push_back(name);
  }
  return names;
}

/// Where a branch takes its candidates from, for one who judges what it picked.
std::string source_words(const BranchSpec& branch) {
  switch (branch.source.kind) {
    case SourceKind::kTopk:
      return "from the items that score highest for the user";
    case SourceKind::kUniform:
      return "drawn at random";
    case SourceKind::kPopularity:
      return "drawn at random, popular items more often";
    case SourceKind::kPool:
      return "from a pool drawn at random";
    case SourceKind::kExposed:
      return "from items that the user saw and did not take";
    case SourceKind::kRun:
      return fmt::format("from the candidates of '{}'", branch.source.table);
    case SourceKind::kNear:
      return "from the items nearest to the positives";
    case SourceKind::kBatch:
      return "from the positives of rows mined together";
    case SourceKind::kQueue:
      return "from the positives of rows mined before";
  }
  return "";
}

/// Why the item is in its slot, as far as the set tells.
std::string reasons_of(const NamedSet& named, const NegativeSet::Row& row, std::uint32_t slot) {
  const auto& branches = named.recipe.branches;
  const std::uint32_t b = row.branch[slot];
  std::string words =
      b < branches.size() ? fmt::format("{}: {}", branches[b].name, source_words(branches[b])) : "";
  if (row.raw_rank[slot] > 0) {
    words += fmt::format("; rank {} of the branch's candidates", row.raw_rank[slot]);
    if (row.survivor_rank[slot] > 0)
      words += fmt::format(", {} of those that its filters let through", row.survivor_rank[slot]);
  }
  const float gap = row.gap[slot];
  if (std::isfinite(gap))
    words += fmt::format("; scores {} {} the least positive", float_text(std::abs(gap)),
                         gap < 0 ? "above" : "below");
  return words;
}

/// One export, from the sample to the file.
class ReviewExport {
 public:
  ReviewExport(const ReviewExportArgs& args, const CLI::App& verb, const Context& context)
      : args_(args),
        separator_(table_separator(args.out, "--out")),
        reviewers_(reviewer_names(args.reviewers)),
        named_(open_named_set(args.set, {true, false, args.verify, args.allow_changed}, verb,
                              args.flags, context)) {
    std::string by;
    for (const std::string& word : args.by) by += (by.empty() ? "" : ",") + word;
    by_ = parse_sample_by(by);
    if (!args.user_text.empty())
      user_texts_.emplace(args.user_text, args.user_text_id, named_.inputs->user_ids,
                          "--user-text");
    if (!args.item_text.empty())
      item_texts_.emplace(args.item_text, args.item_text_id, named_.inputs->item_ids,
                          "--item-text");
    std::vector<std::string> inputs = files_of(named_);
    for (const auto& texts : {std::cref(user_texts_), std::cref(item_texts_)}) {
      if (texts.get()) inputs.push_back(texts.get()->path());
    }
    check_replaced(args.out, args.overwrite, "quarry.review_sample", inputs);
    sample_ = draw_sample(named_.set, by_, args.sample, args.least, args.seed, context.stop);
    if (args.missing_text == "reject") check_user_texts();
  }

  std::string write() {
    const auto each = args_.each > 0 ? args_.each : static_cast<std::uint32_t>(reviewers_.size());
    std::vector<std::vector<std::uint32_t>> turns;
    if (!reviewers_.empty())
      turns = assign_reviewers(sample_.slots.size(), static_cast<std::uint32_t>(reviewers_.size()),
                               each);
    ExportFile file(args_.out, args_.overwrite);
    put({"review_id",  "query",   "positives",  "positive_titles", "item",   "title",
         "branch",     "stratum", "raw_rank",   "score",           "gap",    "why",
         "sampled_by", "cell",    "population", "sampled",         "weight", "verdict",
         "reviewer",   "comment"},
        file);
    // The lines of a reviewer stand together; those of a row, too.
    const std::size_t blocks = std::max<std::size_t>(1, reviewers_.size());
    for (std::uint32_t block = 0; block < blocks; ++block) {
      for (std::size_t i = 0; i < sample_.slots.size(); ++i) {
        if (!turns.empty() && std::find(turns[i].begin(), turns[i].end(), block) == turns[i].end())
          continue;
        add_line(sample_.slots[i], reviewers_.empty() ? "" : reviewers_[block], file);
      }
    }
    file.close();
    Json about = sidecar();
    about["file"] = {
        {"name", fs_name(args_.out)}, {"bytes", file.bytes()}, {"xxh3_128", file.digest()}};
    std::string text = about.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
    file.publish(text);
    return text;
  }

  void say() const {
    fmt::print(stderr, "{}: {} of {} negatives in {} strata by {}, {} lines\n", args_.out,
               words_of_count(sample_.slots.size()), words_of_count(sample_.population),
               sample_.cells.size(), words_of(by_), words_of_count(lines_));
    for (const SampleCell& cell : sample_.cells)
      fmt::print(stderr, "  {}: {} of {}\n", printable(cell.name), words_of_count(cell.sampled),
                 words_of_count(cell.population));
    fmt::print(stderr,
               "fill in the column verdict (negative, positive, unsure), then quarry review import "
               "{} --set {} --out EVENTS.csv\n",
               args_.out, args_.set);
  }

 private:
  static std::string fs_name(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? path : path.substr(slash + 1);
  }

  /// Users of the sample without a text; they are counted and not named.
  void check_user_texts() const {
    if (!user_texts_) return;
    std::vector<std::uint32_t> lacking;
    for (const SampledSlot& slot : sample_.slots) {
      const std::uint32_t user = named_.set.row(slot.row).user;
      if (!user_texts_->has(user)) lacking.push_back(user);
    }
    std::sort(lacking.begin(), lacking.end());
    lacking.erase(std::unique(lacking.begin(), lacking.end()), lacking.end());
    if (lacking.empty()) return;
    throw InputError(fmt::format(
        "{}: has no text for {} users of the sample; add them, or leave the column query of their "
        "lines empty with --missing-text blank",
        user_texts_->path(), words_of_count(lacking.size())));
  }

  void put(const std::vector<std::string>& fields, ExportFile& file) const {
    std::string line;
    bool first = true;
    for (const std::string& field : fields) {
      if (!first) line += separator_;
      first = false;
      line += table_text(field, separator_);
    }
    file.write(line + "\n");
  }

  std::string title_of(std::uint32_t item) const {
    if (item_texts_) return item_texts_->has(item) ? item_texts_->of(item) : "";
    return item_title(*named_.inputs, item);
  }

  void add_line(const SampledSlot& place, const std::string& reviewer, ExportFile& file) {
    const NegativeSet::Row row = named_.set.row(place.row);
    const SetSchema& schema = named_.set.schema();
    const std::uint32_t j = place.slot;
    std::string ids, titles;
    const std::size_t most = args_.positives > 0 ? args_.positives : row.positives.size();
    for (const std::uint32_t item : row.positives.first(std::min(most, row.positives.size()))) {
      ids += (ids.empty() ? "" : " | ") + named_.item(item);
      titles += (titles.empty() ? "" : " | ") + title_of(item);
    }
    if (row.positives.size() > most)
      titles += fmt::format(" | and {} more", row.positives.size() - most);
    const auto name = [](const std::vector<std::string>& names, std::uint32_t number) {
      return number < names.size() ? names[number] : std::string();
    };
    const SampleCell& cell = sample_.cells[place.cell];
    const bool has_text = user_texts_ && user_texts_->has(row.user);
    put({ReviewId{named_.set.content_hash(), place.row, j}.text(),
         has_text ? inert_field(user_texts_->of(row.user)) : "",
         inert_field(ids),
         inert_field(titles),
         inert_field(named_.item(row.item[j])),
         inert_field(title_of(row.item[j])),
         name(schema.branches, row.branch[j]),
         inert_field(name(schema.strata, row.stratum[j])),
         row.raw_rank[j] > 0 ? std::to_string(row.raw_rank[j]) : "",
         float_text(row.score[j]),
         float_text(row.gap[j]),
         reasons_of(named_, row, j),
         words_of(by_),
         inert_field(cell.name),
         std::to_string(cell.population),
         std::to_string(cell.sampled),
         fmt::format("{}", static_cast<float>(static_cast<double>(cell.population) /
                                              static_cast<double>(cell.sampled))),
         "",
         reviewer,
         ""},
        file);
    ++lines_;
  }

  Json sidecar() const {
    Json cells = Json::array();
    for (const SampleCell& cell : sample_.cells)
      cells.push_back(
          {{"cell", cell.name}, {"population", cell.population}, {"sampled", cell.sampled}});
    return {
        {"format", "quarry.review_sample"},
        {"format_version", 1},
        {"set", Json::parse(set_facts_json(named_.set, args_.set))},
        {"by", words_of(by_)},
        {"seed", args_.seed},
        {"sample", args_.sample},
        {"least", args_.least},
        {"allocation",
         "equal over the strata that are not empty, each at most what it has; what is left goes "
         "one each to the largest"},
        {"population", sample_.population},
        {"sampled", sample_.slots.size()},
        {"lines", lines_},
        {"reviewers", reviewers_},
        {"cells", std::move(cells)},
        {"changed_inputs", named_.changed}};
  }

  const ReviewExportArgs& args_;
  char separator_;
  std::vector<std::string> reviewers_;
  NamedSet named_;
  std::vector<SampleBy> by_;
  std::optional<JoinedTexts> user_texts_, item_texts_;
  ReviewSample sample_;
  std::uint64_t lines_ = 0;
};

int run_review_export(const ReviewExportArgs& args, const CLI::App& verb, const Context& context) {
  table_separator(args.out, "--out");
  check_export_target(args.out, args.overwrite, false);
  const std::size_t people = reviewer_names(args.reviewers).size();
  if (args.each > 0 && (people == 0 || args.each > people))
    throw ConfigError(
        fmt::format("--each {}: --reviewers names {}; at most so many can look at a "
                    "negative",
                    args.each, people));
  if (args.missing_text != "reject" && args.user_text.empty())
    throw ConfigError("--missing-text has no effect without --user-text");
  ReviewExport review(args, verb, context);
  const std::string meta = review.write();
  if (args.json) {
    std::fputs(meta.c_str(), stdout);
  } else {
    review.say();
  }
  return 0;
}

}  // namespace

void add_review_export(CLI::App& review, Context& context) {
  auto args = std::make_shared<ReviewExportArgs>();
  CLI::App* verb =
      review.add_subcommand("export", "draw negatives and write them as a table for experts");
  verb->add_option("set", args->set, "folder of a set, or STORE@VERSION")->required();
  verb->add_option("--out", args->out, "table to write: .csv or .tsv")->required();
  verb->add_option("--sample", args->sample, "negatives to draw; all where there are no more")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000000));
  verb->add_option("--by", args->by,
                   "branch, stratum, rank, several with a comma: what the sample is stratified by")
      ->delimiter(',')
      ->capture_default_str();
  verb->add_option("--least", args->least, "negatives at least of each stratum that has them")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  verb->add_option("--seed", args->seed, "seed of the draw")->capture_default_str();
  verb->add_option("--reviewers", args->reviewers,
                   "names, with a comma between them: a line for each that looks at a negative");
  verb->add_option("--each", args->each,
                   "reviewers that look at each negative, by turns; 0: all of --reviewers")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000));
  verb->add_option("--positives", args->positives, "of a row's positives so many; 0: all")
      ->capture_default_str();
  verb->add_option("--user-text", args->user_text,
                   "FILE:column, what users asked for (queries), joined by the column 'user'");
  verb->add_option("--user-text-id", args->user_text_id, "column of ids in --user-text")
      ->capture_default_str();
  verb->add_option("--item-text", args->item_text,
                   "FILE:column, texts in the place of titles, joined by the column 'item'");
  verb->add_option("--item-text-id", args->item_text_id, "column of ids in --item-text")
      ->capture_default_str();
  verb->add_option("--missing-text", args->missing_text, "reject | blank, where a user has no text")
      ->capture_default_str()
      ->check(CLI::IsMember({"reject", "blank"}));
  verb->add_flag("--overwrite", args->overwrite, "replace what an earlier export wrote there");
  verb->add_flag("--verify", args->verify, "recompute the hashes of all shards first");
  verb->add_flag("--allow-changed", args->allow_changed,
                 "go on though an input is not what the set was mined from");
  verb->add_flag("--json", args->json, "what was written, as JSON on stdout");
  auto* inputs =
      verb->add_option_group("inputs", "files in the place of those that the manifest records");
  add_run_options(*inputs, args->flags, OptionUse::kShow);
  verb->callback([&context, args, inputs] {
    context.run = [&context, args, inputs] { return run_review_export(*args, *inputs, context); };
  });
}

}  // namespace quarry
