// Memory of a plan's workers.
#include "tools/quarry/worker_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "kernels/core/errors.h"
#include "tools/quarry/control_group.h"
#include "tools/quarry/machine_limits.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/shard_plan.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

/// Of a row whose lists are written: 29 bytes (SliceFileWriter), in arrays that grow by doubling;
/// and of one that is mined from them, less.
constexpr std::uint64_t kBytesPerRow = 2 * 29;
/// What is kept by row of a shard may take one of so many parts of a worker's memory.
constexpr std::uint64_t kRowsShare = 16;
/// Rows in no order are on pages of their own.
constexpr std::uint64_t kPageBytes = 4096;

/// The rows of the file itself are read, not a copy of them.
bool in_place(const Embeddings& file, const MatrixView& used) {
  return file.mapped() && file.view().data == used.data;
}

std::uint32_t longest_slice(std::uint64_t items, std::uint64_t slices) {
  std::uint32_t longest = 0;
  for (const ItemSlice& slice : even_slices(items, slices))
    longest = std::max(longest, slice.size());
  return longest;
}

std::string words_of(const MemoryLimit& limit) {
  return fmt::format("{} ({})", words_of_bytes(limit.bytes), limit.from);
}

}  // namespace

WorkerMemory::WorkerMemory(const MiningRun& run, std::uint64_t seen)
    : run_(run),
      plan_(run.miner->plan(run.rows())),
      foretold_(foretell_memory(run.loaded, plan_, seen)),
      not_sliced_(run.miner->not_sliced()),
      is_estimate_(run.miner->report().tiles == 0) {
  const Inputs& inputs = *run.inputs;
  const MatrixView& users = inputs.user_view;
  std::uint64_t mapped = 0;  // rows that checking has read through
  if (inputs.items.mapped()) mapped += inputs.items.view().bytes();
  if (inputs.users.mapped()) mapped += inputs.users.view().bytes();
  const auto files_of = [](const ProcessMemory& memory) {
    return memory.resident - std::min(memory.anonymous, memory.resident);
  };
  const std::uint64_t files = files_of(run.loaded.now);
  program_ = std::max(files_of(run.loaded.before), files - std::min(files, mapped));
  if (in_place(inputs.items, inputs.item_view)) items_ = plan_.searched_bytes;
  if (in_place(inputs.users, users)) {
    users_ = std::min(users.bytes(), plan_.tile_rows * std::max(users.row_bytes(), kPageBytes));
  }
  most_ = most_slices_of(plan_.num_items);
  if (not_sliced_.empty() && items_ == 0) {
    not_sliced_ = inputs.items.mapped()
                      ? "item rows are searched in a prepared copy that every worker holds whole"
                      : "the file of the items cannot be mapped, so every worker reads it whole";
  }
  if (!not_sliced_.empty()) most_ = 1;
}

WorkerNeed WorkerMemory::need(std::uint64_t slices, std::uint64_t rows) const {
  WorkerNeed need{foretold_.peak_anonymous, program_, items_, users_, 0};
  if (slices <= 1) return need;
  // Mining a shard from lists takes its own, and rows singly: searching a slice is the peak.
  const MinePlan slice =
      run_.miner->plan_of_slice(run_.rows(), longest_slice(plan_.num_items, slices));
  need.own += slice.peak_bytes - plan_.peak_bytes;
  need.items = std::min(items_, slice.searched_bytes);
  need.rows = kBytesPerRow * rows;
  return need;
}

std::string WorkerMemory::words(const WorkerNeed& need) const {
  std::string engine = fmt::format("engine {}", words_of_bytes(plan_.resident_bytes));
  if (plan_.prepared_bytes > 0) {
    engine += fmt::format(", of it {} of prepared rows, which slices do not save",
                          words_of_bytes(plan_.prepared_bytes));
  }
  const std::uint64_t named = run_.loaded.now.anonymous + plan_.resident_bytes + plan_.tile_bytes;
  const std::string others =
      need.own > named ? fmt::format("; at the peak {} more", words_of_bytes(need.own - named))
                       : "";
  std::string words = fmt::format(
      "a worker needs about {}: {} of its own (loaded tables {}, {}; tiles {}{}), {} of the "
      "program",
      words_of_bytes(need.total()), words_of_bytes(need.own),
      words_of_bytes(run_.loaded.now.anonymous), engine, words_of_bytes(plan_.tile_bytes), others,
      words_of_bytes(need.program));
  if (need.items > 0)
    words +=
        fmt::format(", {} of item rows that it reads again and again", words_of_bytes(need.items));
  if (need.users > 0) words += fmt::format(", {} of users' rows", words_of_bytes(need.users));
  if (need.rows > 0)
    words += fmt::format(", {} for the rows of a shard", words_of_bytes(need.rows));
  return words + (is_estimate_ ? "; no row was tried, so this is an estimate" : "");
}

std::string WorkerMemory::json(const MemoryLimit& limit, const SliceChoice& choice,
                               bool chosen) const {
  const WorkerNeed& need = choice.need;
  const Json needs = {{"total_bytes", need.total()},
                      {"own_bytes", need.own},
                      {"loaded_bytes", run_.loaded.now.anonymous},
                      {"engine_bytes", plan_.resident_bytes},
                      {"prepared_bytes", plan_.prepared_bytes},
                      {"tile_bytes", plan_.tile_bytes},
                      {"program_bytes", need.program},
                      {"item_row_bytes", need.items},
                      {"user_row_bytes", need.users},
                      {"shard_row_bytes", need.rows}};
  const Json json = {{"bytes", limit.bytes},
                     {"from", limit.from},
                     {"given", limit.given},
                     {"item_slices", choice.slices},
                     {"chosen", chosen},
                     {"rule", choice.rule},
                     {"needs", needs},
                     {"is_estimate", is_estimate_},
                     {"threads", run_.request.miner.exec.threads}};
  return json.dump();
}

std::string WorkerMemory::advice(const WorkerNeed& need, std::uint64_t slices) const {
  std::string words = "give workers more memory";
  if (plan_.tile_bytes > need.total() / 8)
    words +=
        fmt::format(", or a smaller --host-memory (it is {})", run_.request.options.host_memory);
  if (slices > 1 && need.rows > need.total() / 8) words += ", or more --shards";
  return words;
}

MemoryLimit memory_limit(const std::string& worker_memory) {
  if (!worker_memory.empty())
    return {parse_bytes(worker_memory, "--worker-memory"), "--worker-memory", true};
  const std::uint64_t machine = machine_facts().memory_bytes;
  const std::uint64_t group = control_group_limit();
  if (group > 0 && (machine == 0 || group < machine))
    return {group,
            "the limit of this process's control group, for one worker on a machine like it"};
  return {machine, "all of this machine's, for one worker on a machine like it"};
}

SliceChoice choose_slices(const WorkerMemory& memory, const MemoryLimit& limit,
                          const std::function<std::uint64_t(std::uint64_t)>& rows) {
  SliceChoice choice;
  choice.need = memory.need(1, rows(1));
  const WorkerNeed whole = choice.need;
  if (whole.total() <= limit.bytes) {
    choice.rule = fmt::format("1 slice: with all items a worker stays within {}", words_of(limit));
    if (!memory.not_sliced().empty())
      choice.rule += fmt::format(" (it could not be cut: {})", memory.not_sliced());
    return choice;
  }
  WorkerNeed before = whole, least = whole;
  std::uint64_t of_least = 1;
  for (std::uint64_t n = 2; n <= memory.most_slices(); ++n) {
    const WorkerNeed need = memory.need(n, rows(n));
    if (need.total() <= limit.bytes) {
      choice.slices = n;
      choice.need = need;
      choice.rule = fmt::format(
          "{} slices: the fewest by which a worker stays within {}; with {} it would need {}", n,
          words_of(limit), n == 2 ? "all items" : std::to_string(n - 1),
          words_of_bytes(before.total()));
      return choice;
    }
    if (need.total() < least.total()) {
      least = need;
      of_least = n;
    }
    before = need;
  }
  std::string why;
  if (!memory.not_sliced().empty()) {
    why = fmt::format("{}, so slices do not help", memory.not_sliced());
  } else if (memory.most_slices() == 1) {
    why = "so few items are not cut";
  } else {
    why = fmt::format("no number of slices up to {} is enough, {} is best", memory.most_slices(),
                      of_least);
  }
  why += "; " + memory.words(least);
  throw ConfigError(fmt::format("--item-slices auto: a worker has {}: {}; {}", words_of(limit), why,
                                memory.advice(least, of_least)));
}

SliceChoice check_slices(const WorkerMemory& memory, const MemoryLimit& limit, std::uint64_t slices,
                         std::uint64_t rows) {
  SliceChoice choice{slices, memory.need(slices, rows), "as asked for", ""};
  if (limit.bytes == 0 || choice.need.total() <= limit.bytes) return choice;
  const std::string remedy =
      memory.not_sliced().empty()
          ? "--item-slices auto chooses how many slices are enough, by --worker-memory"
          : fmt::format("slices do not help: {}; {}", memory.not_sliced(),
                        memory.advice(choice.need, slices));
  const std::string what = slices == 1 ? "all items" : fmt::format("{} slices", slices);
  if (limit.given) {
    throw ConfigError(fmt::format("--worker-memory: is {}, and with {} {}; {}",
                                  words_of_bytes(limit.bytes), what, memory.words(choice.need),
                                  remedy));
  }
  choice.warning = fmt::format(
      "with {} a worker needs about {}, more than {}: a worker of no more memory would read the "
      "items from the disk again and again, or be killed. {}",
      what, words_of_bytes(choice.need.total()), words_of(limit), remedy);
  return choice;
}

std::uint64_t most_rows_of_shard(const MemoryLimit& limit) {
  return std::max<std::uint64_t>(limit.bytes / kRowsShare / kBytesPerRow, 1);
}

}  // namespace quarry
