// Chooses the retriever that a recipe or a flag names.
#include "index/retriever.h"

namespace quarry {

void Retriever::search_toward(const Exec& exec, const float* queries, std::uint32_t num_queries,
                              std::uint32_t most, const SearchGoal&, const SearchResult& out) {
  search(exec, queries, num_queries, most, out);
}

bool Retriever::follows_goals(const Exec&, std::uint32_t, bool) const { return false; }

std::optional<FirstPass> exact_kind(const std::string& name) {
  for (const FirstPass pass :
       {FirstPass::kFastest, FirstPass::kFp32, FirstPass::kInt8, FirstPass::kBf16}) {
    if (name == name_of(pass)) return pass;
  }
  return std::nullopt;
}

const char* name_of(FirstPass pass) {
  switch (pass) {
    case FirstPass::kFp32:
      return "exact-fp32";
    case FirstPass::kInt8:
      return "exact-int8";
    case FirstPass::kBf16:
      return "exact-bf16";
    case FirstPass::kFastest:
      break;
  }
  return "exact";
}

std::unique_ptr<Retriever> make_retriever(const Exec& exec, const ItemTable& items,
                                          const std::string& kind, const FaissOptions& options) {
  if (kind == "auto") return make_exact_retriever(items);
  if (const auto pass = exact_kind(kind)) return make_exact_retriever(items, *pass);
  FaissOptions named = options;
  named.index = kind;
  return make_faiss_retriever(exec, items, named);
}

}  // namespace quarry
