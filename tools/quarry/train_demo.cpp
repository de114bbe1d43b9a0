// `quarry train-demo`: a matrix-factorisation trainer that makes demonstration embeddings from an
// interaction file.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>

#include "host/data/embeddings.h"
#include "host/data/table.h"
#include "host/data/tables.h"
#include "host/store/negative_set.h"
#include "kernels/core/errors.h"
#include "kernels/core/ids.h"
#include "tools/demo/bpr_trainer.h"
#include "tools/quarry/load_inputs.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

struct TrainArguments {
  std::string events, catalogue, held_out, negatives, init, out;
  std::string event_columns, event_kind, as_of;
  std::string catalogue_item = "item";
  std::vector<std::string> positive = {"rating>=4", "purchase", "like"};
  std::string metric = "ip";
  demo::BprOptions options;
  bool no_bias = false;
  bool json = false;
};

/// "rating>=4", "purchase": a kind of event, perhaps compared with a number.
ExposureTerm parse_term(const std::string& text) {
  using Op = ExposureTerm::Op;
  const std::size_t at = text.find_first_of("<>=");
  ExposureTerm term;
  term.kind = text.substr(0, at);
  if (term.kind.empty())
    throw ConfigError("--positive \"" + text +
                      "\" names no kind of event; write it like rating>=4");
  if (at == std::string::npos) return term;
  std::size_t number = at + 1;
  const bool or_equal = number < text.size() && text[number] == '=';
  if (or_equal) ++number;
  term.op = text[at] == '<'   ? (or_equal ? Op::kLessEqual : Op::kLess)
            : text[at] == '>' ? (or_equal ? Op::kGreaterEqual : Op::kGreater)
                              : Op::kEqual;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + number, end, term.number);
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    throw ConfigError("--positive \"" + text + "\" compares with \"" + text.substr(number) +
                      "\", which is no number; write it like rating>=4");
  }
  return term;
}

/// "rating>=4", "click & dwell>=30": all terms must hold.
ExposureRule parse_rule(const std::string& text) {
  ExposureRule rule{ExposureClass::kPositive, {}};
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find('&', begin), text.size());
    std::string term = text.substr(begin, end - begin);
    std::erase(term, ' ');
    rule.terms.push_back(parse_term(term));
    begin = end + 1;
  }
  return rule;
}

/// Numbers by value and before words, words by their bytes: the order of rows does not depend on
/// the order of files.
bool id_before(const std::string& a, const std::string& b) {
  const auto is_number = [](const std::string& s) {
    return !s.empty() && s.size() < 19 &&
           std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  const bool na = is_number(a);
  const bool nb = is_number(b);
  if (na != nb) return na;
  if (na && std::stoull(a) != std::stoull(b)) return std::stoull(a) < std::stoull(b);
  return a < b;
}

void collect_ids(const std::string& path, const std::vector<std::string>& columns,
                 std::vector<std::set<std::string, std::less<>>*> sets) {
  const auto table = open_table(path);
  table->select(columns);
  TableBatch batch;
  while (table->next(batch)) {
    for (std::size_t c = 0; c < columns.size(); ++c) {
      for (const std::string_view id : batch.columns[c].text) {
        if (!id.empty() && sets[c]->find(id) == sets[c]->end()) sets[c]->emplace(id);
      }
    }
  }
}

IdMap sorted_ids(const std::set<std::string, std::less<>>& ids, const std::string& what) {
  std::vector<std::string> sorted(ids.begin(), ids.end());
  std::sort(sorted.begin(), sorted.end(), id_before);
  return IdMap::from_ids(std::move(sorted), what);
}

void write_ids(const std::string& path, const std::string& column, const IdMap& ids) {
  std::ofstream out(path + ".part", std::ios::binary);
  out << column << '\n';
  for (std::uint64_t i = 0; i < ids.size(); ++i) {
    const std::string id = ids.id_of(static_cast<std::uint32_t>(i));
    if (id.find_first_of(",\"\n\r") == std::string::npos) {
      out << id << '\n';
      continue;
    }
    out << '"';
    for (const char c : id) out << (c == '"' ? "\"\"" : std::string(1, c));
    out << "\"\n";
  }
  out.close();
  std::error_code error;
  if (out) std::filesystem::rename(path + ".part", path, error);
  if (!out || error)
    throw IoError("cannot write " + path +
                  "; free space in its folder or choose another with --out");
}

std::vector<demo::Positive> positive_pairs(const Exposure& exposure) {
  std::vector<demo::Positive> pairs;
  for (std::uint32_t user = 0; user + 1 < exposure.offsets.size(); ++user) {
    for (std::uint64_t p = exposure.offsets[user]; p < exposure.offsets[user + 1]; ++p) {
      if (exposure.classes[p] == static_cast<std::uint8_t>(ExposureClass::kPositive)) {
        pairs.push_back({user, exposure.items[p]});
      }
    }
  }
  return pairs;
}

demo::ItemLists all_pairs(const Exposure& exposure) { return {exposure.offsets, exposure.items}; }

void load_vectors(const std::string& path, std::vector<float>& into, std::uint64_t rows,
                  std::uint32_t dim) {
  const Embeddings table = Embeddings::open(path);
  if (table.view().rows != rows || table.view().dim != dim) {
    throw InputError(path + " is [" + std::to_string(table.view().rows) + ", " +
                     std::to_string(table.view().dim) + "] where these events need [" +
                     std::to_string(rows) + ", " + std::to_string(dim) +
                     "]; start from vectors that were trained on the same ids and --dim");
  }
  prepare_rows(table.view(), 0, rows, false, into.data());
}

/// Refuses a set whose item or user numbers are not those of these events: its numbers would be
/// taught as the negatives of strangers. `role` as in the manifest: item-ids or user-ids. False if
/// that cannot be told, because the manifest or the file of ids is not there.
bool check_same_ids(const NegativeSet& set, const nlohmann::ordered_json& run,
                    const std::string& role, const IdMap& ids, std::uint64_t rows) {
  const auto options = run.find("options");
  if (options == run.end() || !options->is_object()) return false;
  const auto at = options->find(role);
  const std::string what = role.substr(0, role.find('-'));
  const auto fail = [&](const std::string& why) {
    throw InputError(set.path() + ": was mined over other " + what + "s than these events have: " +
                     why + "; mine again over the tables of this train-demo (--" + role + ")");
  };
  if (at == options->end()) {  // row numbers were the ids
    for (std::uint32_t i = 0; i < ids.size(); ++i) {
      if (ids.id_of(i) != std::to_string(i))
        fail("it has no --" + role + ", so row " + std::to_string(i) + " is known as " +
             std::to_string(i) + ", here as '" + ids.id_of(i) + "'");
    }
    return true;
  }
  if (!at->is_string()) fail("its manifest is damaged");
  // FILE or FILE:column, as mine takes it.
  std::string path =
      (std::filesystem::absolute(set.path()) / at->get<std::string>()).lexically_normal().string();
  std::string column;
  if (const std::size_t colon = path.rfind(':');
      !std::filesystem::exists(path) && colon != std::string::npos) {
    column = path.substr(colon + 1);
    path = path.substr(0, colon);
  }
  if (!std::filesystem::exists(path)) {
    std::fprintf(stderr, "note: %s is gone; rows are recognised by their keys alone\n",
                 path.c_str());
    return false;
  }
  if (column.empty()) {
    const auto names = open_table(path)->column_names();
    column = names.size() == 1 ? names.front() : what;
  }
  const IdMap mined = IdMap::from_table(path, column, rows, what + "s");
  for (std::uint32_t i = 0; i < rows; ++i) {
    if (mined.id_of(i) != ids.id_of(i)) {
      fail("row " + std::to_string(i) + " of " + path + " is '" + mined.id_of(i) +
           "', here it is '" + ids.id_of(i) + "'");
    }
  }
  return true;
}

/// Whether the row's key is made of these ids: then they are those that the set was mined with.
bool has_key_of(const NegativeSet::Row& row, const IdMap& users, const IdMap& items) {
  if (row.user >= users.size()) return false;
  std::vector<std::string> names;
  for (const std::uint32_t item : row.positives) {
    if (item >= items.size()) return false;
    names.push_back(items.id_of(item));
  }
  return row_key_of(users.id_of(row.user), {names.begin(), names.end()}, row.time) == row.row_key;
}

/// Negatives of each training pair from a mined set: of the row that has the pair's item among its
/// positives, else what the set has for the user.
demo::MinedNegatives read_negatives(const std::string& path,
                                    const std::vector<demo::Positive>& pairs, const IdMap& users,
                                    const IdMap& items) {
  const std::uint64_t num_items = items.size();
  const NegativeSet set = NegativeSet::open(path, false);
  const auto manifest = nlohmann::ordered_json::parse(set.manifest_json(), nullptr, false);
  bool same_ids = false;
  if (manifest.is_object() && manifest.contains("run") && manifest["run"].is_object()) {
    same_ids = check_same_ids(set, manifest["run"], "item-ids", items, items.size());
    same_ids = check_same_ids(set, manifest["run"], "user-ids", users, users.size()) && same_ids;
  }
  const auto pair_of = [](std::uint32_t user, std::uint32_t item) {
    return std::uint64_t{user} << 32 | item;
  };
  std::unordered_map<std::uint64_t, std::uint64_t> by_pair;
  std::unordered_map<std::uint32_t, std::vector<std::uint64_t>> by_user;
  for (std::uint64_t r = 0; r < set.rows(); ++r) {
    const NegativeSet::Row row = set.row(r);
    if (!same_ids && !has_key_of(row, users, items)) continue;
    for (const std::uint32_t item : row.positives) by_pair.emplace(pair_of(row.user, item), r);
    by_user[row.user].push_back(r);
  }
  demo::MinedNegatives mined;
  mined.offsets.push_back(0);
  std::uint64_t by_row = 0;
  std::uint64_t without = 0;
  for (std::size_t p = 0; p < pairs.size(); ++p) {
    std::vector<std::uint64_t> from;
    const auto exact = by_pair.find(pair_of(pairs[p].user, pairs[p].item));
    if (exact != by_pair.end()) {
      from.push_back(exact->second);
      ++by_row;
    } else if (const auto any = by_user.find(pairs[p].user); any != by_user.end()) {
      from = any->second;
    } else {
      ++without;
    }
    for (const std::uint64_t r : from) {
      const NegativeSet::Row row = set.row(r);
      for (std::uint32_t s = 0; s < row.count; ++s) {
        if (row.item[s] >= num_items) {
          throw InputError(path + " row " + std::to_string(r) + ": item " +
                           std::to_string(row.item[s]) + " is not one of the " +
                           std::to_string(num_items) +
                           " items of these events; the set was mined over another item table");
        }
        mined.items.push_back(row.item[s]);
      }
    }
    mined.offsets.push_back(mined.items.size());
  }
  if (by_row == 0) {
    throw InputError(path +
                     ": no row has a positive of these events; it was mined from other events, ids "
                     "or exposure rules. Mine again, or leave --negatives out");
  }
  std::fprintf(stderr,
               "negatives: %zu training pairs, %llu with a row of their own, %llu without any\n",
               pairs.size(), static_cast<unsigned long long>(by_row),
               static_cast<unsigned long long>(without));
  if (mined.items.empty())
    throw InputError(path + " holds no negative for any user of these events");
  return mined;
}

int train_demo(TrainArguments args, const Context& context) {
  args.options.metric = args.metric == "cosine" ? Metric::kCosine : Metric::kInnerProduct;
  args.options.item_bias = !args.no_bias;
  ExposureRules rules;
  for (const std::string& text : args.positive) rules.rules.push_back(parse_rule(text));
  const EventColumns columns = parse_event_columns(args.event_columns, args.event_kind);
  std::optional<std::int64_t> as_of;
  if (!args.as_of.empty()) as_of = parse_time(args.as_of, "--as-of");
  std::error_code error;
  std::filesystem::create_directories(args.out, error);
  if (error) throw IoError("cannot make the folder " + args.out + ": " + error.message());

  std::set<std::string, std::less<>> user_ids;
  std::set<std::string, std::less<>> item_ids;
  collect_ids(args.events, {columns.user, columns.item}, {&user_ids, &item_ids});
  if (!args.catalogue.empty()) collect_ids(args.catalogue, {args.catalogue_item}, {&item_ids});
  const IdMap users = sorted_ids(user_ids, args.events);
  const IdMap items = sorted_ids(item_ids, args.events);
  const Exposure exposure =
      read_exposure(args.events, columns, rules, users, items, as_of, UnknownIds::kReject);
  const std::vector<demo::Positive> pairs = positive_pairs(exposure);
  const std::string no_values = no_values_warning(args.events, exposure);
  if (pairs.empty()) {
    throw InputError(args.events +
                     " has no positive event; name what is positive with --positive, e.g. \"like\" "
                     "or \"rating>=4\"" +
                     (no_values.empty() ? "" : ". " + no_values));
  }
  if (!no_values.empty()) std::fprintf(stderr, "warning: %s\n", no_values.c_str());
  std::fprintf(stderr, "train-demo: %llu users, %llu items, %llu events, %zu positives\n",
               static_cast<unsigned long long>(users.size()),
               static_cast<unsigned long long>(items.size()),
               static_cast<unsigned long long>(exposure.events), pairs.size());

  demo::FactorModel model =
      demo::initial_model(static_cast<std::uint32_t>(users.size()),
                          static_cast<std::uint32_t>(items.size()), args.options);
  if (!args.init.empty()) {
    load_vectors(args.init + "/users.npy", model.users, users.size(), args.options.dim);
    load_vectors(args.init + "/items.npy", model.items, items.size(), args.options.dim);
  }
  demo::MinedNegatives mined;
  if (!args.negatives.empty()) {
    mined = read_negatives(args.negatives, pairs, users, items);
  }

  const auto started = std::chrono::steady_clock::now();
  demo::train_bpr(pairs, args.negatives.empty() ? nullptr : &mined, args.options, model,
                  [&](std::uint32_t) {
                    if (context.stop != nullptr && *context.stop)
                      throw Cancelled("stopped; no vectors were written");
                  });
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  std::fprintf(stderr, "trained %u epochs in %.2f s\n", args.options.epochs, seconds);

  write_npy(args.out + "/items.npy", model.items.data(), items.size(), model.dim);
  write_npy(args.out + "/users.npy", model.users.data(), users.size(), model.dim);
  write_ids(args.out + "/item_ids.csv", "item", items);
  write_ids(args.out + "/user_ids.csv", "user", users);
  nlohmann::ordered_json result = {
      {"users", users.size()}, {"items", items.size()},         {"positives", pairs.size()},
      {"dim", model.dim},      {"epochs", args.options.epochs}, {"seed", args.options.seed},
      {"seconds", seconds}};

  if (!args.held_out.empty()) {
    const Exposure later =
        read_exposure(args.held_out, columns, rules, users, items, std::nullopt, UnknownIds::kDrop);
    const auto truth = demo::ItemLists::from_pairs(positive_pairs(later),
                                                   static_cast<std::uint32_t>(users.size()));
    const auto known = demo::ItemLists::from_pairs(pairs, static_cast<std::uint32_t>(users.size()));
    const demo::RankingQuality quality = demo::full_ranking(model, all_pairs(exposure), truth);
    std::FILE* words = args.json ? stderr : stdout;  // standard output is for one reader
    std::fprintf(words,
                 "held out: NDCG@10 %.4f, hit rate@10 %.4f over %u users (all items ranked, those "
                 "seen left out)\n",
                 quality.ndcg10, quality.hit10, quality.users);
    std::fprintf(words,
                 "share of held-out positives by rank (what a miner of these ranks would wrongly "
                 "teach as negative):\n");
    std::fprintf(words, "  %-11s %12s %12s %8s\n", "rank", "candidates", "held out", "share");
    nlohmann::ordered_json table = nlohmann::ordered_json::array();
    for (const demo::RankBucket& b : demo::held_out_by_rank(model, known, truth)) {
      const double share = b.candidates == 0 ? 0
                                             : 100.0 * static_cast<double>(b.held_out) /
                                                   static_cast<double>(b.candidates);
      std::fprintf(words, "  %4u - %-4u %12llu %12llu %6.1f %%\n", b.first, b.last,
                   static_cast<unsigned long long>(b.candidates),
                   static_cast<unsigned long long>(b.held_out), share);
      table.push_back({{"first", b.first},
                       {"last", b.last},
                       {"candidates", b.candidates},
                       {"held_out", b.held_out}});
    }
    result["ndcg10"] = quality.ndcg10;
    result["hit10"] = quality.hit10;
    result["held_out_by_rank"] = table;
  }
  if (args.json)
    std::printf(
        "%s\n",
        result.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
  std::fprintf(stderr, "wrote items.npy, users.npy, item_ids.csv and user_ids.csv into %s\n",
               args.out.c_str());
  return 0;
}

}  // namespace

void add_train_demo(CLI::App& app, Context& context) {
  auto args = std::make_shared<TrainArguments>();
  CLI::App* sub = app.add_subcommand(
      "train-demo", "Train demonstration embeddings (BPR matrix factorisation) from events");
  sub->add_option("--events", args->events, "interactions, CSV or TSV with a header")->required();
  sub->add_option("--out", args->out, "folder for items.npy, users.npy, item_ids.csv, user_ids.csv")
      ->required();
  sub->add_option("--catalogue", args->catalogue,
                  "table of items: those without events get vectors, too");
  sub->add_option("--positive", args->positive,
                  "what counts as positive, e.g. \"rating>=4\"; may be given several times")
      ->capture_default_str();
  sub->add_option("--event-columns", args->event_columns,
                  "names in the file: user=..,item=..,time=..,kind=..,value=..");
  sub->add_option("--event-kind", args->event_kind,
                  "kind of every event, for files without a kind column");
  sub->add_option("--catalogue-item", args->catalogue_item, "column of the item in the catalogue")
      ->capture_default_str();
  sub->add_option("--as-of", args->as_of,
                  "later events are not used: seconds since 1970 or ISO 8601");
  sub->add_option("--heldout", args->held_out,
                  "later events, same columns: prints NDCG@10 and held-out positives by rank");
  sub->add_option("--negatives", args->negatives, "a mined set to take negatives from");
  sub->add_option("--mined-share", args->options.mined_share,
                  "share of steps that take a mined negative")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  sub->add_option("--init", args->init, "folder of an earlier train-demo to start from");
  sub->add_option("--metric", args->metric, "what the vectors are compared by")
      ->capture_default_str()
      ->check(CLI::IsMember({"ip", "cosine"}));
  sub->add_option("--dim", args->options.dim, "dimensions")
      ->capture_default_str()
      ->check(CLI::Range(2u, 4096u));
  sub->add_option("--epochs", args->options.epochs, "passes over the positives")
      ->capture_default_str();
  sub->add_option("--lr", args->options.learning_rate, "learning rate")
      ->capture_default_str()
      ->check(CLI::Range(1e-6, 1.0));
  sub->add_option("--l2", args->options.l2, "L2 penalty (inner product)")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  sub->add_option("--temperature", args->options.temperature, "divides the cosine in the loss")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 10.0));
  sub->add_flag("--no-bias", args->no_bias, "inner product: no item bias in the last dimension");
  sub->add_option("--seed", args->options.seed, "same seed, same vectors")->capture_default_str();
  sub->add_flag("--json", args->json, "a summary for machines on standard output");
  sub->callback(
      [&context, args] { context.run = [&context, args] { return train_demo(*args, context); }; });
}

}  // namespace quarry
