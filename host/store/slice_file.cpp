// Lists of slices on disk.
#include "host/store/slice_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <limits>
#include <vector>

#include "host/store/digest.h"
#include "host/store/files.h"
#include "host/store/run_part.h"
#include "kernels/core/errors.h"
#include "kernels/core/exact_math.h"

namespace quarry {
namespace {

constexpr char kMagic[8] = {'Q', 'R', 'Y', 'L', 'I', 'S', 'T', 'S'};
constexpr std::uint64_t kVersion = 1;
/// Entries written at a time.
constexpr std::size_t kBufferEntries = std::size_t{1} << 17;

struct Header {
  char magic[8];
  std::uint64_t version;
};
/// At the end, behind all that the digest is of but for the sizes.
struct Footer {
  std::uint64_t entries, lists, rows, about_bytes;
  unsigned char digest[16];
};

std::uint64_t padded(std::uint64_t bytes) { return (bytes + 7) / 8 * 8; }

/// Of columns as they stand in the file.
std::uint64_t file_bytes(const Footer& f) {
  return sizeof(Header) + f.entries * 8 + f.lists * 8 + f.rows * 8 + padded(f.rows * 4) +
         padded(f.lists) + 2 * padded(f.lists * 4) + padded(f.about_bytes) + sizeof(Footer);
}

/// Removes drafts of writers on this machine who were killed: the kernel has dropped their locks.
void remove_litter(const std::string& folder, const std::string& prefix) {
  for (const std::string& path : unfinished_parts(folder, prefix)) {
    const FileHandle held(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
    std::error_code ignored;
    if (held.get() >= 0 && ::flock(held.get(), LOCK_EX | LOCK_NB) == 0)
      std::filesystem::remove(path, ignored);
  }
}

}  // namespace

struct SliceFileWriter::State {
  std::string folder, target, draft;
  FileHandle file;
  std::uint64_t at = 0, entries = 0;
  DigestStream digest;
  std::vector<std::uint64_t> buffer, row_key, list_end;
  std::vector<std::uint32_t> row_list, passed;
  std::vector<float> pass_above;
  std::vector<std::uint8_t> complete;

  ~State() {
    std::error_code ignored;
    if (!draft.empty()) std::filesystem::remove(draft, ignored);
  }

  void write(const void* data, std::size_t bytes) {
    write_to(file, draft, data, bytes, at);
    digest.update(data, bytes);
    at += bytes;
  }
  void write_padded(const void* data, std::size_t bytes) {
    constexpr char kZeros[8] = {};
    write(data, bytes);
    write(kZeros, padded(bytes) - bytes);
  }
  /// A draft that no other writer has, on whatever machine, and that is locked while this lives.
  void make_draft(const std::string& prefix) {
    for (int n = 0; n < 1000; ++n) {
      const std::string path = prefix + std::to_string(::getpid()) + "-" + std::to_string(n);
      std::error_code ignored;
      if (std::filesystem::exists(path, ignored)) continue;
      try {
        file = create_file(path);
      } catch (const IoError&) {
        if (!std::filesystem::exists(path, ignored)) throw;
        continue;  // another writer of this machine's name was quicker
      }
      // A file system without locks leaves what killed writers left to join --clean.
      const bool taken = ::flock(file.get(), LOCK_EX | LOCK_NB) == 0;
      if ((!taken && errno == EWOULDBLOCK) || ::access(path.c_str(), F_OK) != 0) continue;
      draft = path;
      return;
    }
    throw IoError(folder + ": too many unfinished files (.*.partial-*) lie here; delete them");
  }
  void flush() {
    if (buffer.empty()) return;
    write(buffer.data(), buffer.size() * 8);
    buffer.clear();
  }
};

SliceFileWriter::SliceFileWriter(const std::string& folder, const std::string& name)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.folder = folder;
  s.target = folder + "/" + name;
  const std::string prefix = unfinished_prefix(name);
  remove_litter(folder, prefix.substr(1));
  s.make_draft(folder + "/" + prefix);
  Header header{{}, kVersion};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  s.write(&header, sizeof(header));
}

SliceFileWriter::~SliceFileWriter() = default;

void SliceFileWriter::append(const FoundLists& lists, const std::uint64_t* row_key) {
  State& s = *state_;
  const auto first = static_cast<std::uint32_t>(s.list_end.size());
  for (std::uint32_t r = 0; r < lists.num_rows; ++r) {
    s.row_key.push_back(row_key[r]);
    s.row_list.push_back(first + (lists.query != nullptr ? lists.query[r] : r));
  }
  for (std::uint32_t q = 0; q < lists.num_queries; ++q) {
    const std::uint64_t begin = std::uint64_t{q} * lists.stride;
    for (std::uint64_t j = begin; j < begin + lists.count[q]; ++j)
      s.buffer.push_back(score_key(lists.scores[j], lists.items[j]));
    s.entries += lists.count[q];
    s.list_end.push_back(s.entries);
    s.complete.push_back(lists.complete[q]);
    constexpr float kNothing = std::numeric_limits<float>::infinity();
    s.passed.push_back(lists.passed != nullptr ? lists.passed[q] : 0);
    s.pass_above.push_back(lists.pass_above != nullptr ? lists.pass_above[q] : kNothing);
    if (s.buffer.size() >= kBufferEntries) s.flush();
  }
}

void SliceFileWriter::commit(const std::string& about) {
  State& s = *state_;
  s.flush();
  s.write(s.list_end.data(), s.list_end.size() * 8);
  s.write(s.row_key.data(), s.row_key.size() * 8);
  s.write_padded(s.row_list.data(), s.row_list.size() * 4);
  s.write_padded(s.complete.data(), s.complete.size());
  s.write_padded(s.passed.data(), s.passed.size() * 4);
  s.write_padded(s.pass_above.data(), s.pass_above.size() * 4);
  s.write_padded(about.data(), about.size());
  Footer footer{s.entries, s.list_end.size(), s.row_key.size(), about.size(), {}};
  s.digest.update(&footer, offsetof(Footer, digest));
  std::memcpy(footer.digest, s.digest.digest().bytes, sizeof(footer.digest));
  write_to(s.file, s.draft, &footer, sizeof(footer), s.at);
  sync_file(s.file, s.draft);
  close_file(s.file, s.draft);
  rename_path(s.draft, s.target);
  s.draft.clear();
  sync_folder(s.folder);
}

std::uint64_t SliceFileWriter::entries() const { return state_->entries; }

SliceFile::SliceFile(const std::string& path, ItemSlice slice) : file_(MappedFile::open(path)) {
  const auto fail = [&path](const std::string& why) {
    throw InputError(path + ": " + why + "; it is damaged, search the slice again");
  };
  const std::byte* bytes = file_->bytes().data();
  const std::uint64_t size = file_->bytes().size();
  Header header;
  Footer footer;
  if (size < sizeof(Header) + sizeof(Footer)) fail("is too short for lists of a slice");
  std::memcpy(&header, bytes, sizeof(header));
  std::memcpy(&footer, bytes + size - sizeof(footer), sizeof(footer));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) fail("holds no lists of a slice");
  if (header.version != kVersion) fail("has lists of another version");
  DigestStream digest;
  digest.update(bytes, size - sizeof(footer.digest));
  if (std::memcmp(digest.digest().bytes, footer.digest, sizeof(footer.digest)) != 0)
    fail("does not have the hash that stands at its end");
  const std::uint64_t most = size / 8;  // no sum below overflows
  if (footer.entries > most || footer.lists > most || footer.rows > most ||
      footer.about_bytes > size || file_bytes(footer) != size)
    fail("has another length than its parts");
  const std::byte* at = bytes + sizeof(Header);
  const auto take = [&at](std::uint64_t length) {
    const std::byte* here = at;
    at += padded(length);
    return here;
  };
  lists_.keys = reinterpret_cast<const std::uint64_t*>(take(footer.entries * 8));
  lists_.list_end = reinterpret_cast<const std::uint64_t*>(take(footer.lists * 8));
  const auto* keys = reinterpret_cast<const std::uint64_t*>(take(footer.rows * 8));
  lists_.row_key = {keys, static_cast<std::size_t>(footer.rows)};
  lists_.row_list = reinterpret_cast<const std::uint32_t*>(take(footer.rows * 4));
  lists_.complete = reinterpret_cast<const std::uint8_t*>(take(footer.lists));
  lists_.passed = reinterpret_cast<const std::uint32_t*>(take(footer.lists * 4));
  lists_.pass_above = reinterpret_cast<const float*>(take(footer.lists * 4));
  about_.assign(reinterpret_cast<const char*>(take(footer.about_bytes)), footer.about_bytes);
  entries_ = footer.entries;
  // The hash is of what was written: the rest tells of a writer that was wrong.
  std::uint64_t begin = 0;
  for (std::uint64_t l = 0; l < footer.lists; ++l) {
    const std::uint64_t end = lists_.list_end[l];
    if (end > footer.entries || end < begin) fail("has lists outside its entries");
    for (std::uint64_t j = begin; j < end; ++j) {
      const std::uint32_t item = item_of_key(lists_.keys[j]);
      if (item < slice.first || item >= slice.end ||
          (j > begin && lists_.keys[j] >= lists_.keys[j - 1]))
        fail("list " + std::to_string(l) + " names item " + std::to_string(item) +
             ", which is of another slice or out of order");
    }
    begin = end;
  }
  for (std::uint64_t r = 0; r < footer.rows; ++r)
    if (lists_.row_list[r] >= footer.lists) fail("has a row without a list");
}

}  // namespace quarry
