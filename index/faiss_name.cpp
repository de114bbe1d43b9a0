// Index strings judged by FAISS's own parser.
#include "index/index_name.h"

#include "index/retriever.h"
#include "kernels/core/errors.h"

#if defined(QUARRY_HAS_FAISS)
#include <faiss/Index.h>
#include <faiss/impl/FaissException.h>
#include <faiss/index_factory.h>

#include <memory>
#endif

namespace quarry {

void check_index_name(const std::string& kind, std::uint32_t dim, Metric metric) {
  if (kind == "auto" || exact_kind(kind)) return;
#if defined(QUARRY_HAS_FAISS)
  try {
    const std::unique_ptr<faiss::Index> index(faiss::index_factory(
        static_cast<int>(dim), kind.c_str(),
        metric == Metric::kL2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT));
  } catch (const std::exception& error) {  // FAISS throws std::out_of_range, too, for bad numbers
    throw ConfigError("--retriever: \"" + kind + "\" is not a kind that FAISS " + faiss_version() +
                      " knows for dimension " + std::to_string(dim) + " (FAISS: " + error.what() +
                      "); examples: exact, Flat, IVF1024,Flat, IVF1024,SQfp16, HNSW32,Flat");
  }
#else
  static_cast<void>(dim);
  static_cast<void>(metric);
  throw ConfigError("--retriever: \"" + kind +
                    "\" needs FAISS, which this build does not have; use exact, or build with "
                    "FAISS (-DFAISS_ROOT)");
#endif
}

}  // namespace quarry
