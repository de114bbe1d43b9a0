// Chooses the retriever that a recipe or a flag names.
#include "index/retriever.h"

namespace quarry {

void Retriever::search_toward(const Exec& exec, const float* queries, std::uint32_t num_queries,
                              std::uint32_t most, const SearchGoal&, const SearchResult& out) {
  search(exec, queries, num_queries, most, out);
}

bool Retriever::follows_goals(const Exec&, std::uint32_t) const { return false; }

std::unique_ptr<Retriever> make_retriever(const Exec& exec, const ItemTable& items,
                                          const std::string& kind, const FaissOptions& options) {
  if (kind == "exact" || kind == "auto") return make_exact_retriever(items);
  if (kind == "exact-bf16") return make_exact_retriever(items, CoarsePass::kAlways);
  if (kind == "exact-fp32") return make_exact_retriever(items, CoarsePass::kNever);
  FaissOptions named = options;
  named.index = kind;
  return make_faiss_retriever(exec, items, named);
}

}  // namespace quarry
