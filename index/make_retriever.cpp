// Chooses the retriever that a recipe or a flag names.
#include "index/retriever.h"

namespace quarry {

std::unique_ptr<Retriever> make_retriever(const Exec& exec, const ItemTable& items,
                                          const std::string& kind, const FaissOptions& options) {
  if (kind == "exact" || kind == "auto") return make_exact_retriever(items);
  FaissOptions named = options;
  named.index = kind;
  return make_faiss_retriever(exec, items, named);
}

}  // namespace quarry
