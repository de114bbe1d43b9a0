// quarry diff: what differs between two sets, and what that means.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "host/store/set_diff.h"
#include "kernels/core/errors.h"
#include "tools/quarry/diff_facts.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/load_inputs.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/recorded_run.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

/// The exit code of a gate that failed (README.md).

struct DiffArgs {
  std::string a, b;
  RunOptions flags;
  std::uint64_t rows = 5;
  std::uint64_t items = 10;
  bool json = false, names = false, verify = false, fail_if_different = false;
};

struct Compared {
  NegativeSet a, b;
  RecordedFacts facts;
  SetDiff diff;
  std::vector<std::string> meaning;
  std::unique_ptr<Inputs> names;  ///< of b; null: not asked for
};

Json parsed(const std::string& text) { return Json::parse(text, nullptr, false); }

Json set_json(const NegativeSet& set, const std::string& named) {
  const Json manifest = parsed(set.manifest_json());
  return {{"set", named},
          {"version", manifest.value("version", Json())},
          {"content_hash", set.content_hash()},
          {"rows", set.rows()},
          {"k", set.k()}};
}

Json overlap_json(const Overlap& o) {
  const double either = static_cast<double>(o.kept + o.dropped + o.gained);
  const auto share = [either](std::uint64_t part) {
    return either > 0 ? Json(static_cast<double>(part) / either) : Json(nullptr);
  };
  return {{"rows", o.rows},
          {"mean", o.mean},
          {"churn", 1 - o.mean},
          {"deciles", o.deciles},
          {"kept", o.kept},
          {"dropped", o.dropped},
          {"new", o.gained},
          {"share_kept", share(o.kept)},
          {"share_dropped", share(o.dropped)},
          {"share_new", share(o.gained)}};
}

Json slots_json(const std::vector<SlotCount>& counts) {
  Json all = Json::array();
  for (const SlotCount& c : counts) all.push_back({{"name", c.name}, {"a", c.a}, {"b", c.b}});
  return all;
}

Json item_json(std::uint32_t item, const Inputs* names) {
  Json entry = {{"index", item}};
  if (names != nullptr) {
    entry["item"] = item_id(*names, item);
    entry["title"] = item_title(*names, item);
  }
  return entry;
}

Json items_json(const std::vector<ItemChange>& items, const Inputs* names) {
  Json all = Json::array();
  for (const ItemChange& c : items) {
    Json entry = item_json(c.item, names);
    entry["a"] = c.a;
    entry["b"] = c.b;
    all.push_back(std::move(entry));
  }
  return all;
}

Json row_json(const ChangedRow& row, const Inputs* names) {
  const auto list = [names](const std::vector<std::uint32_t>& items) {
    Json all = Json::array();
    for (const std::uint32_t item : items) all.push_back(item_json(item, names));
    return all;
  };
  return {{"row_a", row.row_a},
          {"row_b", row.row_b},
          {"overlap", row.overlap},
          {"dropped", list(row.dropped)},
          {"new", list(row.gained)}};
}

Json to_json(const DiffArgs& args, const Compared& c) {
  const SetDiff& d = c.diff;
  const Inputs* names = c.names.get();
  Json facts = Json::array();
  for (const Fact& fact : c.facts.facts) {
    facts.push_back(
        {{"name", fact.name}, {"a", parsed(fact.a)}, {"b", parsed(fact.b)}, {"same", fact.same()}});
  }
  Json inputs = Json::array();
  for (const InputChange& input : c.facts.inputs) {
    inputs.push_back({{"role", input.role},
                      {"change", words_of(input.kind)},
                      {"bytes_a", input.bytes_a},
                      {"bytes_b", input.bytes_b}});
  }
  Json columns = Json::object();
  for (const auto& [name, rows] : d.columns) columns[name] = rows;
  Json branches = Json::array();
  for (const auto& [name, overlap] : d.by_branch) {
    Json entry = overlap_json(overlap);
    entry["name"] = name;
    branches.push_back(std::move(entry));
  }
  Json rows = Json::array();
  for (const ChangedRow& row : d.rows) rows.push_back(row_json(row, names));
  return {{"a", set_json(c.a, args.a)},
          {"b", set_json(c.b, args.b)},
          {"identical", d.identical},
          {"facts_same", c.facts.all_same()},
          {"meaning", c.meaning},
          {"facts", std::move(facts)},
          {"inputs", std::move(inputs)},
          {"recipe_diff", c.facts.recipe_diff},
          {"rows",
           {{"a", d.rows_a},
            {"b", d.rows_b},
            {"common", d.common},
            {"only_a", d.only_a},
            {"only_b", d.only_b},
            {"moved", d.moved},
            {"repeated_keys", d.repeated_keys},
            {"equal", d.equal},
            {"same_negatives", d.same_negatives},
            {"reordered", d.reordered},
            {"changed", d.changed},
            {"columns", std::move(columns)}}},
          {"overlap", d.overlap ? overlap_json(*d.overlap) : Json(nullptr)},
          {"overlap_by_branch", std::move(branches)},
          {"scores",
           {{"negatives", d.scored},
            {"mean_change", d.scored > 0 ? Json(d.mean_change) : Json(nullptr)},
            {"largest_change", d.scored > 0 ? Json(d.largest_change) : Json(nullptr)}}},
          {"slots",
           {{"branches", slots_json(d.branches)},
            {"strata", slots_json(d.strata)},
            {"fill", slots_json(d.fill)}}},
          {"items", {{"gained", items_json(d.gained, names)}, {"lost", items_json(d.lost, names)}}},
          {"changed_rows", std::move(rows)}};
}

double percent(std::uint64_t part, std::uint64_t whole) {
  return whole > 0 ? 100 * static_cast<double>(part) / static_cast<double>(whole) : 0;
}

std::string facts_words(const RecordedFacts& facts) {
  std::string words;
  for (const Fact& fact : facts.facts) {
    if (!fact.same())
      words += fmt::format("  {:<24} {} -> {}\n", fact.name, printable(fact.a), printable(fact.b));
  }
  for (const InputChange& input : facts.inputs) {
    using Kind = InputChange::Kind;
    if (input.kind == Kind::kSame) continue;
    std::string sizes;
    if (input.kind != Kind::kAdded) sizes += words_of_bytes(input.bytes_a);
    if (input.kind == Kind::kChanged) sizes += " -> ";
    if (input.kind != Kind::kRemoved) sizes += words_of_bytes(input.bytes_b);
    words += fmt::format("  {:<24} {} ({})\n", "input " + input.role, words_of(input.kind), sizes);
  }
  if (words.empty() && facts.recipe_diff.empty())
    return facts.recorded_a && facts.recorded_b ? "made alike: nothing that is recorded differs\n"
                                                : "made: nothing that is recorded differs\n";
  words = "made differently:\n" + words;
  if (facts.recipe_diff.empty()) return words;
  std::string line;
  for (const char c : facts.recipe_diff) {
    if (c != '\n') {
      line += c;
      continue;
    }
    words += "  " + printable(line) + "\n";
    line.clear();
  }
  return words;
}

std::string overlap_words(const Overlap& o, const std::string& what) {
  const std::uint64_t either = o.kept + o.dropped + o.gained;
  return fmt::format(
      "  {:<24} {:.4f} of rows' negatives common (deciles {:.2f} {:.2f} {:.2f} {:.2f} {:.2f} "
      "{:.2f} {:.2f} {:.2f} {:.2f}); {:.2f} % kept, {:.2f} % dropped, {:.2f} % new\n",
      printable(what), o.mean, o.deciles[0], o.deciles[1], o.deciles[2], o.deciles[3], o.deciles[4],
      o.deciles[5], o.deciles[6], o.deciles[7], o.deciles[8], percent(o.kept, either),
      percent(o.dropped, either), percent(o.gained, either));
}

std::string rows_words(const SetDiff& d) {
  std::string words =
      fmt::format("rows: {} in both, {} only in A, {} only in B{}\n", words_of_count(d.common),
                  words_of_count(d.only_a), words_of_count(d.only_b),
                  d.moved > 0 ? fmt::format("; {} at another place", words_of_count(d.moved)) : "");
  if (d.common == 0) return words;
  const auto line = [&](const char* what, std::uint64_t rows) {
    if (rows > 0)
      words += fmt::format("  {:<24} {:>15}  {:6.2f} %\n", what, words_of_count(rows),
                           percent(rows, d.common));
  };
  line("equal in every column", d.equal);
  line("same negatives", d.same_negatives);
  line("in another order", d.reordered);
  line("other negatives", d.changed);
  if (d.columns.empty()) return words;
  words += "  columns that differ:";
  for (const auto& [name, rows] : d.columns)
    words += fmt::format(" {} ({})", name, words_of_count(rows));
  return words + "\n";
}

std::string slots_words(const char* title, const std::vector<SlotCount>& counts) {
  std::uint64_t all_a = 0, all_b = 0;
  for (const SlotCount& c : counts) {
    all_a += c.a;
    all_b += c.b;
  }
  std::string words = fmt::format("slots by {}:\n", title);
  for (const SlotCount& c : counts) {
    words += fmt::format("  {:<24} {:>15} {:6.2f} %  {:>15} {:6.2f} %\n", printable(c.name),
                         words_of_count(c.a), percent(c.a, all_a), words_of_count(c.b),
                         percent(c.b, all_b));
  }
  return words;
}

std::string name_of(std::uint32_t item, const Inputs* names) {
  return names != nullptr ? item_words(*names, item) : fmt::format("#{}", item);
}

std::string items_words(const char* title, const std::vector<ItemChange>& items,
                        const Inputs* names) {
  if (items.empty()) return "";
  std::string words = fmt::format("{}:\n", title);
  for (const ItemChange& c : items) {
    words += fmt::format("  {:>10} -> {:<10} {}\n", words_of_count(c.a), words_of_count(c.b),
                         name_of(c.item, names));
  }
  return words;
}

std::string changed_words(const std::vector<ChangedRow>& rows, const Inputs* names) {
  if (rows.empty()) return "";
  const auto list = [names](const std::vector<std::uint32_t>& items) {
    std::string text;
    for (const std::uint32_t item : items)
      text += (text.empty() ? "" : ", ") + name_of(item, names);
    return text.empty() ? std::string("none") : text;
  };
  std::string words = "rows that changed most:\n";
  for (const ChangedRow& row : rows) {
    words += fmt::format("  row {} (in B {}), {:.2f} common\n    dropped: {}\n    new: {}\n",
                         row.row_a, row.row_b, row.overlap, list(row.dropped), list(row.gained));
  }
  return words;
}

std::string to_words(const Compared& c) {
  const SetDiff& d = c.diff;
  std::string words;
  if (d.identical) {
    words = fmt::format("identical: {} rows of {} negatives, content hash {}\n",
                        words_of_count(d.rows_a), c.a.k(), c.a.content_hash());
    return c.facts.all_same() ? words : words + facts_words(c.facts);
  }
  words += facts_words(c.facts) + rows_words(d);
  if (d.overlap && d.overlap->rows > 0) {
    words += "overlap:\n" + overlap_words(*d.overlap, "all");
    for (const auto& [name, overlap] : d.by_branch)
      words += overlap_words(overlap, "branch " + name);
  }
  if (d.scored > 0) {
    words +=
        fmt::format("scores of {} negatives in both: change {:.6g} on average, {:.6g} at most\n",
                    words_of_count(d.scored), d.mean_change, d.largest_change);
  }
  const Inputs* names = c.names.get();
  words += slots_words("branch (A, B)", d.branches) + slots_words("stratum (A, B)", d.strata) +
           slots_words("fill (A, B)", d.fill);
  words += items_words("items that gained most slots", d.gained, names);
  words += items_words("items that lost most slots", d.lost, names);
  words += changed_words(d.rows, names);
  for (const std::string& sentence : c.meaning) words += "- " + sentence + "\n";
  return words;
}

std::unique_ptr<Inputs> names_of(const NegativeSet& set, const DiffArgs& args, const CLI::App& verb,
                                 const Context& context) {
  if (!args.names) {
    if (names_a_file(verb))
      throw ConfigError("files that name items have no effect without --names");
    return nullptr;
  }
  const RecordedRun recorded = recorded_run(set, verb, args.flags);
  RunRequest request = recorded_request(set, verb, recorded);
  request.options.events.clear();
  return load_names(request, context);
}

int run_diff(const DiffArgs& args, const CLI::App& verb, const Context& context) {
  NegativeSet a = open_set(args.a, args.verify);
  NegativeSet b = open_set(args.b, args.verify);
  std::unique_ptr<Inputs> names = names_of(b, args, verb, context);
  DiffOptions options;
  options.rows = args.rows;
  options.items = args.items;
  options.stop = context.stop;
  Compared c{a, b, facts_of(a, b, args.a, args.b), diff_sets(a, b, options), {}, std::move(names)};
  c.meaning = meaning_of(c.facts, c.diff);
  if (args.json) {
    std::puts(to_json(args, c).dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  } else {
    std::fputs(to_words(c).c_str(), stdout);
  }
  return args.fail_if_different && !c.diff.identical ? kGateFailed : 0;
}

}  // namespace

void add_diff(CLI::App& app, Context& context) {
  auto args = std::make_shared<DiffArgs>();
  CLI::App* verb =
      app.add_subcommand("diff", "say what differs between two sets, and what it means");
  verb->add_option("a", args->a, "folder of a set, or STORE@VERSION")->required();
  verb->add_option("b", args->b, "the set it is compared with")->required();
  verb->add_option("--rows", args->rows, "changed rows to list, those with least in common first")
      ->capture_default_str()
      ->check(CLI::Range(0, 100000));
  verb->add_option("--top", args->items, "items to list that gained or lost most slots")
      ->capture_default_str()
      ->check(CLI::Range(0, 100000));
  verb->add_flag("--names", args->names, "ids and titles of items, from the inputs of B");
  verb->add_flag("--verify", args->verify, "recompute the hashes of all shards first");
  verb->add_flag("--fail-if-different", args->fail_if_different,
                 "exit code 8 if a row differs; else 0 says only that they were compared");
  verb->add_flag("--json", args->json, "JSON on stdout");
  auto* inputs =
      verb->add_option_group("inputs", "files in the place of those that B's manifest records");
  add_run_options(*inputs, args->flags, OptionUse::kShow);
  verb->callback([&context, args, inputs] {
    context.run = [&context, args, inputs] { return run_diff(*args, *inputs, context); };
  });
}

}  // namespace quarry
