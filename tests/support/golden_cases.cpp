// Golden cases: how one is run and hashed. The list is in golden_list.cpp.
#include "tests/support/golden_cases.h"

#include <algorithm>
#include <string>

#include "host/mine/tile.h"
#include "host/store/digest.h"
#include "kernels/core/errors.h"
#include "tests/support/kernel_stages.h"
#include "tests/support/problems.h"

namespace quarry::test {
namespace {

/// Another k (0: the recipe's own) with candidates for it, and no rank beyond the catalogue.
void fit(Recipe& recipe, std::uint32_t k, std::uint32_t items) {
  if (k != 0) recipe.k = k;
  for (BranchSpec& b : recipe.branches) {
    for (WeightSpec& w : b.weights) {
      if (w.kind == WeightKind::kRankBeta) w.a = std::min<double>(w.a, items);
    }
    if (b.source.kind == SourceKind::kTopk) {
      b.source.pool = std::max(b.source.pool, k);
      b.source.max_rank = std::max(b.source.max_rank, b.source.pool);
    } else if (b.source.draws != 0) {
      b.source.draws = std::max(b.source.draws, k);
    }
  }
}

void add_inputs(GoldenHash& hash, const MinerInputs& inputs, const RowsView& rows) {
  const auto matrix = [&hash](const auto& m) {
    hash.add(m.data, m.rows * m.dim * (m.dtype == Dtype::kF32 ? 4 : 2));
  };
  matrix(inputs.items);
  matrix(inputs.users);
  for (const auto& [name, feature] : inputs.features) {
    hash.add(name);
    matrix(feature);
  }
  if (inputs.exposure != nullptr) {
    hash.add(inputs.exposure->offsets);
    hash.add(inputs.exposure->items);
    hash.add(inputs.exposure->classes);
    hash.add(inputs.exposure->last_time);
    hash.add(inputs.exposure->item_count);
  }
  if (inputs.catalogue != nullptr) {
    hash.add(inputs.catalogue->first_seen);
    hash.add(inputs.catalogue->retired);
    for (const CatalogueColumn& column : inputs.catalogue->columns) hash.add(column.codes);
  }
  if (inputs.snapshot != nullptr) hash.add(inputs.snapshot->popularity);
  for (const auto& [name, pairs] : inputs.pairs) {
    hash.add(name);
    hash.add(pairs->items);
    hash.add(pairs->values);
  }
  for (const auto& [name, list] : inputs.item_lists) {
    hash.add(name);
    hash.add(list);
  }
  const auto column = [&hash](const auto* values, std::uint64_t count) {
    if (values != nullptr) hash.add(values, count * sizeof(*values));
  };
  column(rows.key, rows.num_rows);
  column(rows.user, rows.num_rows);
  column(rows.time, rows.num_rows);
  column(rows.segment, rows.num_rows);
  column(rows.queries, rows.queries != nullptr ? rows.num_rows * inputs.items.dim : 0);
  column(rows.positive_offsets, rows.positive_offsets != nullptr ? rows.num_rows + 1 : 0);
  if (rows.positive_offsets != nullptr)
    column(rows.positives, rows.positive_offsets[rows.num_rows]);
}

void mine(GoldenHashes& out, const Recipe& recipe, const MinerInputs& inputs, const RowsView& rows,
          std::uint32_t seed, std::uint32_t round, const GoldenExecution& execution) {
  MinerOptions options;
  options.exec = execution.exec;
  options.seed = seed;
  options.round = round;
  options.tile_rows = execution.tile_rows;
  options.retriever = "exact";
  GoldenHash ids, scores, reasons;
  Counters counters;
  std::vector<StratumCounters> strata;
  const std::uint64_t n = rows.num_rows;
  for (std::uint32_t s = 0; s < execution.shards; ++s) {
    Miner miner(recipe, inputs, options);
    const RowsView part =
        part_of(rows, n * s / execution.shards,
                n * (s + 1) / execution.shards - n * s / execution.shards, inputs.items.dim);
    miner.mine(part, [&](const NegativeBatch& b) {
      // Row by row, so that the bytes do not depend on how rows fall into tiles.
      for (std::uint32_t r = 0; r < b.num_rows; ++r) {
        const auto row = [r](GoldenHash& hash, const auto& column, std::uint32_t width) {
          hash.add(column.data() + std::size_t{r} * width, width * sizeof(column[0]));
        };
        row(ids, b.item, b.k);
        for (const auto* column : {&b.score, &b.logq}) row(scores, *column, b.k);
        row(scores, b.kappa, b.num_branches);
        row(scores, b.positive_min, 1);
        row(reasons, b.count, 1);
        for (const auto* column : {&b.branch, &b.fill}) row(reasons, *column, b.k);
        for (const auto* column : {&b.raw_rank, &b.survivor_rank, &b.stratum})
          row(reasons, *column, b.k);
      }
    });
    add(counters, miner.report().counters);
    strata.resize(std::max(strata.size(), miner.report().strata.size()));
    for (std::size_t i = 0; i < miner.report().strata.size(); ++i) {
      for (std::uint32_t code = 0; code < kNumFillCodes; ++code)
        strata[i].slots[code] += miner.report().strata[i].slots[code];
    }
  }
  reasons.add(&counters, sizeof counters);
  reasons.add(strata);
  out.ids = ids.text();
  out.scores = scores.text();
  out.reasons = reasons.text();
}

/// Everything that the kernels leave; what merge puts out goes where the miner's columns go.
void stages(GoldenHashes& out, const Problem& p, const Exec& exec) {
  GoldenHash ids, scores, reasons;
  for (const Record& record : run_kernels(p, exec)) {
    GoldenHash& hash = record.name == "merge item" ? ids
                       : record.name == "merge score" || record.name == "merge logq" ||
                               record.name == "merge kappa"
                           ? scores
                           : reasons;
    hash.add(record.name);
    hash.add(record.bytes);
  }
  out.ids = ids.text();
  out.scores = scores.text();
  out.reasons = reasons.text();
}

}  // namespace

struct GoldenHash::State {
  DigestStream stream;
};
GoldenHash::GoldenHash() : state_(new State) {}
GoldenHash::~GoldenHash() { delete state_; }
void GoldenHash::add(const void* data, std::size_t bytes) {
  if (bytes > 0) state_->stream.update(data, bytes);
}
std::string GoldenHash::text() const { return state_->stream.digest().hex().substr(0, 16); }

std::string GoldenCase::seeds() const {
  switch (kind) {
    case GoldenKind::kProblem:
    case GoldenKind::kLarge:
    case GoldenKind::kStages:
      return "problem=" + std::to_string(number);
    case GoldenKind::kStarved:
      return "starved=" + std::to_string(number);
    case GoldenKind::kSearch:
      return "search=" + std::to_string(number);
    case GoldenKind::kHuge:
      return "rows=" + std::to_string(kHugeRows);
    case GoldenKind::kRecipe:
      return "world=" + std::to_string(shape.seed) + ",seed=3";
  }
  return "";
}

GoldenHashes run_golden(const GoldenCase& golden, const GoldenExecution& execution) {
  if (golden.kind == GoldenKind::kHuge)
    return run_huge(huge_batch(kHugeRows, true), execution.exec);
  if (golden.kind == GoldenKind::kSearch) return run_search(golden.number, execution.exec);
  GoldenHashes out;
  GoldenHash inputs;
  const auto guarded = [&out](const auto& run) {
    try {
      run();
    } catch (const ConfigError&) {  // the wording of an error is no result
      out.ids = out.scores = out.reasons = "refused";
    }
  };
  if (golden.kind == GoldenKind::kRecipe) {
    Recipe recipe = golden.recipe.find('\n') == std::string::npos
                        ? load_recipe(golden.recipe, 0)
                        : parse_recipe(golden.recipe, golden.name + ".toml", 0);
    fit(recipe, golden.k, golden.shape.items);
    const auto w = make_world(golden.shape);
    satisfy(*w, recipe);
    inputs.add(recipe.text);
    inputs.add(std::to_string(golden.k));
    add_inputs(inputs, w->inputs, w->rows_view);
    guarded([&] { mine(out, recipe, w->inputs, w->rows_view, 3, 0, execution); });
  } else {
    const auto p = golden.kind == GoldenKind::kStarved ? make_starved_pool(golden.number)
                   : golden.kind == GoldenKind::kLarge
                       ? make_problem(golden.number, ProblemSize::kLarge)
                       : make_problem(golden.number);
    inputs.add(describe(*p));
    add_inputs(inputs, p->inputs, p->rows_view);
    guarded([&] {
      if (golden.kind == GoldenKind::kStages) {
        stages(out, *p, execution.exec);
      } else {
        mine(out, p->recipe, p->inputs, p->rows_view, p->seed, p->round, execution);
      }
    });
  }
  out.inputs = inputs.text();
  return out;
}

std::string golden_line(const GoldenCase& golden, const GoldenHashes& hashes) {
  return golden.name + " " + golden.seeds() + " " + hashes.inputs + " " + hashes.ids + " " +
         hashes.scores + " " + hashes.reasons;
}

std::vector<std::string> golden_families(const std::vector<std::string>& lines) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < lines.size();) {
    const std::string family = lines[i].substr(0, lines[i].find('/'));
    GoldenHash hash;
    std::size_t count = 0;
    for (; i < lines.size() && lines[i].substr(0, lines[i].find('/')) == family; ++i, ++count) {
      hash.add(lines[i]);
      hash.add("\n");
    }
    out.push_back(family + " " + std::to_string(count) + " " + hash.text());
  }
  return out;
}

std::string golden_difference(const GoldenHashes& expected, const GoldenHashes& actual) {
  const auto words = [](const char* what, const std::string& e, const std::string& a) {
    return e == a ? std::string() : std::string(what) + " " + a + " instead of " + e;
  };
  for (const std::string& text :
       {words("inputs", expected.inputs, actual.inputs), words("ids", expected.ids, actual.ids),
        words("scores", expected.scores, actual.scores),
        words("reasons", expected.reasons, actual.reasons)}) {
    if (!text.empty()) return text;
  }
  return "";
}

}  // namespace quarry::test
