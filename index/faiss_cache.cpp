// Reading and writing of the checked envelope around a FAISS index.
#if defined(QUARRY_HAS_FAISS)

#include "index/faiss_cache.h"

#include <faiss/impl/FaissException.h>
#include <faiss/impl/io.h>
#include <faiss/index_io.h>
#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "index/faiss_compat.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the envelope is written as it lies in memory");

constexpr char kMagic[8] = {'Q', 'R', 'Y', 'F', 'A', 'I', 'S', 'S'};
constexpr std::uint32_t kEnvelopeVersion = 1;

struct Envelope {
  char magic[8];
  std::uint32_t version;
  std::uint32_t metric;
  std::uint32_t num_items;
  std::uint32_t dim;
  std::uint64_t seed;
  std::uint64_t table_hash;
  std::uint64_t payload_bytes;
  std::uint64_t payload_hash[2];
  char faiss_version[64];
  char index[376];
  std::uint64_t self_hash;
};
static_assert(sizeof(Envelope) == 512 && offsetof(Envelope, self_hash) == 504);

using File = std::unique_ptr<std::FILE, decltype([](std::FILE* f) { std::fclose(f); })>;

/// XXH3-128 of a stream.
class StreamHash {
 public:
  StreamHash() : state_(XXH3_createState()) {
    if (state_ == nullptr) throw OutOfMemory("no memory for a hash state");
    XXH3_128bits_reset(state_);
  }
  ~StreamHash() { XXH3_freeState(state_); }
  StreamHash(const StreamHash&) = delete;
  StreamHash& operator=(const StreamHash&) = delete;
  void add(const void* data, std::size_t bytes) { XXH3_128bits_update(state_, data, bytes); }
  std::pair<std::uint64_t, std::uint64_t> digest() const {
    const XXH128_hash_t h = XXH3_128bits_digest(state_);
    return {h.low64, h.high64};
  }

 private:
  XXH3_state_t* state_;
};

/// Counts and hashes what FAISS writes, and passes it on to a file if there is one.
class HashingWriter final : public faiss::IOWriter {
 public:
  explicit HashingWriter(std::FILE* file) : file_(file) {}
  size_t operator()(const void* data, size_t size, size_t count) override {
    if (size * count == 0) return count;  // FAISS passes null for an empty array
    const size_t written = file_ == nullptr ? count : std::fwrite(data, size, count, file_);
    hash.add(data, size * written);
    bytes += size * written;
    return written;
  }
  StreamHash hash;
  std::uint64_t bytes = 0;

 private:
  std::FILE* file_;
};

class FileReader final : public faiss::IOReader {
 public:
  FileReader(std::FILE* file, std::string path) : file_(file) { name = std::move(path); }
  size_t operator()(void* data, size_t size, size_t count) override {
    return size * count == 0 ? count : std::fread(data, size, count, file_);
  }

 private:
  std::FILE* file_;
};

std::string because(int error) { return std::string(": ") + std::strerror(error); }

[[noreturn]] void damaged(const std::string& path, const std::string& what) {
  throw InputError("index cache " + path + " is damaged: " + what +
                   "; delete the file and the next run builds it again");
}

Envelope envelope_of(const IndexIdentity& identity) {
  Envelope e;
  std::memset(&e, 0, sizeof e);
  std::memcpy(e.magic, kMagic, sizeof kMagic);
  e.version = kEnvelopeVersion;
  e.metric = identity.metric;
  e.num_items = identity.num_items;
  e.dim = identity.dim;
  e.seed = identity.seed;
  e.table_hash = identity.table_hash;
  std::strncpy(e.faiss_version, identity.faiss_version.c_str(), sizeof e.faiss_version - 1);
  std::strncpy(e.index, identity.index.c_str(), sizeof e.index - 1);
  return e;
}

std::uint64_t hash_of(const Envelope& e) { return XXH3_64bits(&e, offsetof(Envelope, self_hash)); }

/// A text of an envelope for a terminal: whoever wrote the file chose the bytes.
template <std::size_t kSize>
std::string words_of(const char (&text)[kSize]) {
  std::string words(text, ::strnlen(text, kSize));
  for (char& c : words) {
    if (c < ' ' || c > '~') c = '?';
  }
  return "'" + words + "'";
}

/// What the file was made from that is asked for otherwise, in words; "" if nothing is.
std::string differences(const Envelope& file, const Envelope& asked) {
  std::string all;
  const auto differs = [&](const std::string& what) { all += (all.empty() ? "" : ", ") + what; };
  if (file.table_hash != asked.table_hash || file.num_items != asked.num_items ||
      file.dim != asked.dim || file.metric != asked.metric) {
    differs("other embeddings or another metric");
  }
  if (std::memcmp(file.index, asked.index, sizeof file.index) != 0)
    differs("the index string " + words_of(file.index));
  if (file.seed != asked.seed) differs("the seed " + std::to_string(file.seed));
  if (std::memcmp(file.faiss_version, asked.faiss_version, sizeof file.faiss_version) != 0)
    differs("FAISS " + words_of(file.faiss_version));
  if (file.version != asked.version) differs("version " + std::to_string(file.version));
  return all;
}

/// A new file beside `path`, for its owner only; removed again unless it has become `path`.
class FileAside {
 public:
  explicit FileAside(const std::string& path) : path_(path) {
    // Neither through a link nor into a file that lies there; a killed run whose process had this
    // number may have left one.
    constexpr int kMostNames = 100;
    const std::string name = path + ".tmp-" + std::to_string(::getpid());
    int fd = -1;
    for (int n = 0; fd < 0 && n < kMostNames; ++n) {
      aside_ = n == 0 ? name : name + "-" + std::to_string(n);
      fd = ::open(aside_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
      if (fd < 0 && errno != EEXIST) break;
    }
    if (fd < 0)
      throw IoError("cannot write index cache " + aside_ + because(errno) + "; check the folder");
    file_.reset(::fdopen(fd, "wb"));
    if (file_) return;
    const int error = errno;
    ::close(fd);
    ::unlink(aside_.c_str());
    fail(because(error));
  }
  ~FileAside() {
    if (!kept_) ::unlink(aside_.c_str());
  }
  FileAside(const FileAside&) = delete;
  FileAside& operator=(const FileAside&) = delete;

  std::FILE* get() const { return file_.get(); }
  [[noreturn]] void fail(const std::string& why) const {
    throw IoError("cannot write index cache " + path_ + why +
                  "; free space or choose another file");
  }
  void keep() {
    if (std::fflush(get()) != 0 || ::fsync(::fileno(get())) != 0) fail(because(errno));
    if (std::fclose(file_.release()) != 0) fail(because(errno));
    if (std::rename(aside_.c_str(), path_.c_str()) != 0) fail(because(errno));
    kept_ = true;
  }

 private:
  std::string path_, aside_;
  File file_;
  bool kept_ = false;
};

void sync_directory_of(const std::string& path) {
  std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) folder = ".";
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY);
  if (fd < 0)
    return;  // the rename is done; only its durability over a power cut is not assured here
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

IndexIdentity identify(const ItemTable& items, const std::string& index, std::uint64_t seed) {
  if (index.size() >= sizeof(Envelope::index)) {
    throw ConfigError("FAISS index string of " + std::to_string(index.size()) +
                      " characters; up to " + std::to_string(sizeof(Envelope::index) - 1) +
                      " can be cached, shorten it or drop the cache");
  }
  IndexIdentity id;
  id.index = index;
  id.faiss_version = faiss_header_version() + "/" + faiss_library_version();
  id.seed = seed;
  id.table_hash = XXH3_64bits(items.rows, std::size_t{items.num_items} * items.dim * sizeof(float));
  id.metric = static_cast<std::uint32_t>(items.metric);
  id.num_items = items.num_items;
  id.dim = items.dim;
  return id;
}

std::unique_ptr<faiss::Index> load_index(const std::string& path, const IndexIdentity& identity,
                                         std::string& stale) {
  const File file(std::fopen(path.c_str(), "rb"));
  if (!file) {
    if (errno == ENOENT) return nullptr;
    throw IoError("cannot open index cache " + path + because(errno) + "; check its permissions");
  }
  Envelope e;
  const std::size_t read = std::fread(&e, 1, sizeof e, file.get());
  if (read < sizeof kMagic || std::memcmp(e.magic, kMagic, sizeof kMagic) != 0) {
    throw InputError("index cache " + path +
                     " is not one of quarry's: it does not start with QRYFAISS; name another file");
  }
  if (read < sizeof e)
    damaged(path, "shorter than its envelope of " + std::to_string(sizeof e) + " bytes");
  if (e.self_hash != hash_of(e)) damaged(path, "the hash of its envelope does not match");

  StreamHash hash;
  std::uint64_t bytes = 0;
  std::vector<char> block(std::size_t{1} << 20);
  while (const std::size_t n = std::fread(block.data(), 1, block.size(), file.get())) {
    hash.add(block.data(), n);
    bytes += n;
  }
  if (std::ferror(file.get()) != 0)
    throw IoError("cannot read index cache " + path + because(errno));
  if (bytes != e.payload_bytes) {
    damaged(path, std::to_string(bytes) + " bytes behind the envelope, which names " +
                      std::to_string(e.payload_bytes));
  }
  if (hash.digest() != std::pair{e.payload_hash[0], e.payload_hash[1]}) {
    damaged(path, "the hash of its content does not match");
  }
  stale = differences(e, envelope_of(identity));
  if (!stale.empty()) return nullptr;

  if (std::fseek(file.get(), static_cast<long>(sizeof e), SEEK_SET) != 0) {
    throw IoError("cannot seek in index cache " + path + because(errno));
  }
  std::unique_ptr<faiss::Index> index;
  try {
    FileReader reader(file.get(), path);
    index.reset(faiss::read_index(&reader));
  } catch (const faiss::FaissException& error) {
    damaged(path, std::string("FAISS cannot read it (") + error.what() + ")");
  }
  if (index->d != static_cast<int>(identity.dim) ||
      index->ntotal != static_cast<FaissId>(identity.num_items)) {
    damaged(path, "it holds " + std::to_string(index->ntotal) + " vectors of dimension " +
                      std::to_string(index->d));
  }
  return index;
}

void save_index(const std::string& path, const IndexIdentity& identity, const faiss::Index& index) {
  FileAside file(path);
  Envelope e = envelope_of(identity);
  HashingWriter writer(file.get());
  if (std::fwrite(&e, sizeof e, 1, file.get()) != 1) file.fail(because(errno));
  try {
    faiss::write_index(&index, &writer);
  } catch (const faiss::FaissException& error) {
    file.fail(std::string(": ") + error.what());
  }
  e.payload_bytes = writer.bytes;
  std::tie(e.payload_hash[0], e.payload_hash[1]) = writer.hash.digest();
  e.self_hash = hash_of(e);
  if (std::fseek(file.get(), 0, SEEK_SET) != 0 || std::fwrite(&e, sizeof e, 1, file.get()) != 1)
    file.fail(because(errno));
  file.keep();
  sync_directory_of(path);
}

std::uint64_t serialized_bytes(const faiss::Index& index) {
  HashingWriter counter(nullptr);
  faiss::write_index(&index, &counter);
  return counter.bytes;
}

}  // namespace quarry

#endif
