// Flags that did nothing, in words.
#include "tools/quarry/idle_flags.h"

#include <fmt/format.h>

#include "index/retriever.h"

namespace quarry {

std::vector<std::string> search_warnings(const RunOptions& options, const Miner& miner) {
  std::vector<std::string> warnings;
  const MinePlan plan = miner.plan(1);
  const bool searches = !miner.choice().rule.empty();
  const std::string who =
      searches ? fmt::format("the retriever{} is {}",
                             options.retriever == "auto" ? " that auto chose" : "", plan.retriever)
               : std::string("no branch of the recipe searches");
  const auto idle = [&](const char* flag, const char* lacks, const char* remedy) {
    warnings.push_back(fmt::format("{} has no effect: {}{}; take the flag out{}", flag, who,
                                   searches ? fmt::format(", which {}", lacks) : "",
                                   searches ? remedy : ""));
  };
  // A description names the numbers that its index searches with.
  if (options.nprobe > 0 && plan.retriever.find(" nprobe=") == std::string::npos)
    idle("--nprobe", "has no lists to visit", ", or name an IVF index with --retriever");
  if (options.ef_search > 0 && plan.retriever.find(" ef_search=") == std::string::npos)
    idle("--ef-search", "has no graph to walk", ", or name an HNSW index with --retriever");
  if (!options.index_cache.empty() && (!searches || exact_kind(miner.choice().chosen.retriever)))
    idle("--index-cache", "builds no index to keep", ", or name an index with --retriever");
  if (!plan.notice.empty()) warnings.push_back(plan.notice);
  return warnings;
}

std::vector<std::string> lone_flags(const RunOptions& options) {
  const RunOptions& o = options;
  struct Lone {
    const char* flag;
    bool given;
    const char* wants;
    bool there;
  };
  std::vector<std::string> warnings;
  for (const Lone& lone :
       {Lone{"--event-columns", !o.event_columns.empty(), "--events", !o.events.empty()},
        Lone{"--event-kind", !o.event_kind.empty(), "--events", !o.events.empty()},
        Lone{"--catalogue-columns", !o.catalogue_columns.empty(), "--catalogue",
             !o.catalogue.empty()},
        Lone{"--row-columns", !o.row_columns.empty(), "--rows", !o.rows.empty()},
        Lone{"--number-duplicates", o.number_duplicates, "--rows", !o.rows.empty()},
        Lone{"--pair-columns", !o.pair_columns.empty(), "--pairs", !o.pairs.empty()}}) {
    if (!lone.given || lone.there) continue;
    warnings.push_back(fmt::format("{0} has no effect without {1}; take it out, or give {1}",
                                   lone.flag, lone.wants));
  }
  return warnings;
}

}  // namespace quarry
