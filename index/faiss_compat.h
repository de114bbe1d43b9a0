// What differs between FAISS 1.7.3 (Debian 12) and newer ones. Private: includes FAISS.
#pragma once

#include <faiss/Index.h>

#include <cstdint>
#include <string>
#include <type_traits>

#define QUARRY_FAISS_VERSION \
  (FAISS_VERSION_MAJOR * 10000 + FAISS_VERSION_MINOR * 100 + FAISS_VERSION_PATCH)

#if QUARRY_FAISS_VERSION >= 10800
#include <faiss/utils/utils.h>
#endif

namespace quarry {

/// Labels: faiss::Index::idx_t up to 1.7.3, faiss::idx_t later; the same type in all of them.
using FaissId = std::int64_t;
static_assert(
    std::is_invocable_v<decltype(&faiss::Index::add), faiss::Index&, FaissId, const float*>);

inline std::string faiss_header_version() {
  return std::to_string(FAISS_VERSION_MAJOR) + "." + std::to_string(FAISS_VERSION_MINOR) + "." +
         std::to_string(FAISS_VERSION_PATCH);
}

/// "unknown" where the library has no function that tells.
inline std::string faiss_library_version() {
#if QUARRY_FAISS_VERSION >= 10800
  return faiss::get_version();
#else
  return "unknown";
#endif
}

}  // namespace quarry
