// A FAISS index on disk inside a checked envelope. Private: includes FAISS.
//
// FAISS files are trusted by FAISS: damaged or foreign bytes are read as sizes and pointers. So a
// file is 512 bytes of envelope, then FAISS's own bytes; all of it is verified before FAISS sees
// any. Little-endian:
//   0 magic "QRYFAISS" | 8 u32 envelope version | 12 u32 metric | 16 u32 items | 20 u32 dim | 24
//   u64 seed 32 u64 XXH3-64 of the item table | 40 u64 payload bytes | 48 u64, 56 u64 XXH3-128 of
//   the payload (low, high) 64 char[64] FAISS version | 128 char[376] index string | 504 u64
//   XXH3-64 of bytes 0 .. 503
#pragma once

#include <faiss/Index.h>

#include <cstdint>
#include <memory>
#include <string>

#include "index/retriever.h"

namespace quarry {

/// What an index was made from; a file made from something else is stale.
struct IndexIdentity {
  std::string index;
  std::string faiss_version;
  std::uint64_t seed = 0;
  std::uint64_t table_hash = 0;
  std::uint32_t metric = 0;
  std::uint32_t num_items = 0;
  std::uint32_t dim = 0;
};

/// Reads all rows once. Throws ConfigError for an index string longer than the envelope holds.
IndexIdentity identify(const ItemTable& items, const std::string& index, std::uint64_t seed);

/// Null if there is no file or it was made from something else, which `stale` then says in words
/// ("other embeddings"). InputError if it is damaged.
std::unique_ptr<faiss::Index> load_index(const std::string& path, const IndexIdentity& identity,
                                         std::string& stale);

/// Written aside, for its owner only, synced, renamed; on failure nothing is left. Throws IoError.
void save_index(const std::string& path, const IndexIdentity& identity, const faiss::Index& index);

/// Bytes of the index in FAISS's format: close to what it holds in memory.
std::uint64_t serialized_bytes(const faiss::Index& index);

}  // namespace quarry
