// quarry explain: why an item is, or is not, a negative of a row.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "host/mine/explain.h"
#include "host/store/negative_set.h"
#include "kernels/core/errors.h"
#include "tools/quarry/item_names.h"
#include "tools/quarry/load_inputs.h"
#include "tools/quarry/recorded_run.h"
#include "tools/quarry/row_feed.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

struct ExplainArgs {
  std::string set;
  std::string item;
  RowChoice choice;
  RunOptions flags;
  bool json = false;
};

Json to_json(float value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

/// Ranks and places count from 1; 0 is none.
Json rank_json(std::uint32_t rank) { return rank > 0 ? Json(rank) : Json(nullptr); }

Json to_json(const BranchVerdict& v) {
  Json filters = Json::array();
  for (const FilterVerdict& f : v.filters) {
    filters.push_back({{"filter", f.filter},
                       {"judged", f.judged},
                       {"rejects", f.rejects},
                       {"because", f.because}});
  }
  return {{"branch", v.branch},
          {"source", v.source},
          {"candidate", v.candidate},
          {"candidates", v.num_candidates},
          {"raw_rank", rank_json(v.raw_rank)},
          {"survivor_rank", rank_json(v.survivor_rank)},
          {"filters", std::move(filters)},
          {"rejected_by", v.rejected_by >= 0
                              ? Json(v.filters[static_cast<std::size_t>(v.rejected_by)].filter)
                              : Json(nullptr)},
          {"in_pool", v.in_pool},
          {"pool_size", v.pool_size},
          {"log_weight", v.in_pool && v.sampled ? to_json(v.log_weight) : Json(nullptr)},
          {"sampling_key", v.place > 0 && v.sampled ? to_json(v.sampling_key) : Json(nullptr)},
          {"draw_probability", to_json(v.draw_probability)},
          {"place", rank_json(v.place)},
          {"ordered", v.ordered},
          {"picked", v.picked},
          {"outcome", v.outcome}};
}

Json to_json(const Explanation& e, const Inputs& inputs, std::uint64_t row, bool same) {
  Json out = {{"row", row},
              {"row_key", e.row_key},
              {"user", user_id(inputs, e.user)},
              {"item", item_id(inputs, e.item)},
              {"title", item_title(inputs, e.item)},
              {"verdict", e.verdict},
              {"slot", e.slot >= 0 ? Json(e.slot) : Json(nullptr)},
              {"score", to_json(e.score)},
              {"positives",
               {{"count", e.num_positives},
                {"min", to_json(e.positive_min)},
                {"max", to_json(e.positive_max)},
                {"mean", to_json(e.positive_mean)},
                {"random", to_json(e.positive_random)}}},
              {"stratum", e.stratum},
              {"same_as_set", same}};
  out["rooms"] = Json::array();
  for (const RoomVerdict& room : e.rooms) {
    out["rooms"].push_back(
        {{"what", room.what}, {"taken", room.taken}, {"limit", room.limit}, {"full", room.full}});
  }
  for (const BranchVerdict& v : e.branches) out["branches"].push_back(to_json(v));
  return out;
}

std::string to_words(const Explanation& e, const Inputs& inputs, std::uint64_t row) {
  std::string words = fmt::format("row {}, key {}, user {}\n{}\n\nexact score {}", row, e.row_key,
                                  printable(user_id(inputs, e.user)), e.verdict, e.score);
  if (e.num_positives > 0) {
    words += fmt::format("; {} positives: min {}, max {}, mean {}, random {}", e.num_positives,
                         e.positive_min, e.positive_max, e.positive_mean, e.positive_random);
  }
  words += fmt::format("; stratum {}\n", printable(e.stratum));
  for (const RoomVerdict& room : e.rooms) {
    words += fmt::format("{}: {} of {} taken{}\n", room.what, room.taken, room.limit,
                         room.full ? ", full" : "");
  }
  for (const BranchVerdict& v : e.branches) {
    words += fmt::format("\nbranch '{}' ({}): {}\n", v.branch, v.source, v.outcome);
    if (v.raw_rank > 0) {
      words += fmt::format(
          "  raw rank {} of {}{}\n", v.raw_rank, v.num_candidates,
          v.survivor_rank > 0 ? fmt::format(", survivor rank {}", v.survivor_rank) : "");
    }
    std::size_t width = 0;
    for (const FilterVerdict& f : v.filters) width = std::max(width, f.filter.size());
    for (std::size_t i = 0; i < v.filters.size(); ++i) {
      const FilterVerdict& f = v.filters[i];
      const char* const verdict = !f.judged ? "not judged" : f.rejects ? "rejects" : "passes";
      words += fmt::format("  {:<10} {:<{}}  {}\n", verdict, f.filter, width, f.because);
    }
    if (v.in_pool) {
      words += fmt::format("  in the pool of {}", v.pool_size);
      if (v.sampled) words += fmt::format(", log-weight {}", v.log_weight);
      if (v.sampled && v.place > 0) words += fmt::format(", sampling key {}", v.sampling_key);
      if (v.place > 0) words += fmt::format(", place {} of {}", v.place, v.ordered);
      words += "\n";
    }
  }
  return words;
}

/// The row of the run that the set's row stands for; no rows if there is none.
RowTable input_row_of(const Inputs& inputs, std::uint64_t row) {
  RowTable table;
  if (row < inputs.rows.size()) inputs.rows.read(row, 1, table);
  return table;
}

bool same_picks(const NegativeSet::Row& stored, const NegativeBatch& mined, std::uint32_t k) {
  return std::equal(stored.item, stored.item + k, mined.item.begin()) &&
         std::equal(stored.fill, stored.fill + k, mined.fill.begin());
}

/// The row of the set that is meant: of a user's rows, the first that holds the item, else the
/// first.
std::uint64_t choose_row(const NegativeSet& set, const RowChoice& choice, const IdMap& users,
                         std::uint32_t item) {
  const auto rows = find_rows(set, choice, users);
  for (const std::uint64_t row : rows) {
    const NegativeSet::Row r = set.row(row);
    if (std::find(r.item, r.item + r.count, item) != r.item + r.count) return row;
  }
  if (rows.size() > 1) {
    fmt::print(stderr,
               "note: the user has {} rows and the item is in none; explaining the first, row {}\n",
               rows.size(), rows.front());
  }
  return rows.front();
}

int run_explain(const ExplainArgs& args, const CLI::App& verb, const Context& context) {
  if (args.choice.row.empty() && args.choice.key.empty() && args.choice.user.empty()) {
    throw ConfigError("say which row: --row N, --key K or --user ID");
  }
  const NegativeSet set = open_set(args.set, false);
  RecordedRun recorded = recorded_run(set, verb, args.flags);
  RunRequest request = recorded_request(set, verb, recorded);
  const std::unique_ptr<Inputs> loaded = load_inputs(request, context);
  Inputs& inputs = *loaded;
  const auto item = inputs.item_ids.find(args.item);
  if (!item)
    throw InputError(fmt::format("{}: there is no item '{}'", recorded.options.items, args.item));
  const std::uint64_t row = choose_row(set, args.choice, inputs.user_ids, *item);
  const NegativeSet::Row stored = set.row(row);
  const RowTable input = input_row_of(inputs, recorded.first_row + row);
  if (input.size() == 0 || input.key[0] != stored.row_key) {
    throw InputError(fmt::format(
        "{}: row {} has the key {}, the inputs now give another row there; they have changed "
        "since the set was mined",
        set.path(), row, stored.row_key));
  }
  if (input.time[0] != stored.time || !std::ranges::equal(input.positives, stored.positives)) {
    throw InputError(fmt::format(
        "{}: row {} has other positives or another time than the inputs give its key {} now; they "
        "have changed since the set was mined",
        set.path(), row, stored.row_key));
  }
  if (inputs.is_bad_user(stored.user) || !input.bare.empty()) {
    const std::string verdict = fmt::format(
        "{} no usable embedding, so the row is empty (code bad_row)",
        inputs.is_bad_user(stored.user) ? fmt::format("user {} has", user_id(inputs, stored.user))
                                        : std::string("every positive of the row has"));
    if (args.json) {
      const Json out = {{"row", row},
                        {"row_key", stored.row_key},
                        {"user", user_id(inputs, stored.user)},
                        {"item", item_id(inputs, *item)},
                        {"title", item_title(inputs, *item)},
                        {"verdict", verdict},
                        {"slot", nullptr},
                        {"fill", "bad_row"}};
      std::puts(out.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
    } else {
      fmt::print("{}\n", printable(verdict));
    }
    return 0;
  }
  request.miner.faiss.save = false;  // a look leaves files alone
  Miner miner(request.recipe, inputs.miner_inputs(), request.miner);
  const std::vector<std::uint32_t> segment = segment_codes(input, miner);
  const ExplainNames names{[&](std::uint32_t index) { return item_words(inputs, index); },
                           time_words};
  const Explanation explanation = explain(miner, view_of(input, segment), *item, names);
  const bool same = same_picks(stored, explanation.row, set.k());
  if (!same) {
    fmt::print(stderr,
               "warning: mined again, the row differs from the set: inputs, recipe or version have "
               "changed\n");
  }
  if (args.json) {
    std::puts(to_json(explanation, inputs, row, same)
                  .dump(2, ' ', false, Json::error_handler_t::replace)
                  .c_str());
  } else {
    std::fputs(to_words(explanation, inputs, row).c_str(), stdout);
  }
  return 0;
}

}  // namespace

void add_explain(CLI::App& app, Context& context) {
  auto args = std::make_shared<ExplainArgs>();
  CLI::App* verb =
      app.add_subcommand("explain", "say why an item is, or is not, a negative of a row");
  verb->add_option("folder", args->set, "folder of the set")->required();
  add_row_choice(*verb, args->choice);
  verb->add_option("--item", args->item, "id of the item")->required();
  verb->add_flag("--json", args->json, "JSON on stdout");
  auto* inputs =
      verb->add_option_group("inputs", "files in the place of those that the manifest records");
  add_run_options(*inputs, args->flags, OptionUse::kExplain);
  verb->callback([&context, args, inputs] {
    context.run = [&context, args, inputs] { return run_explain(*args, *inputs, context); };
  });
}

}  // namespace quarry
