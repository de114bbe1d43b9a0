// Lists of slices on disk.
#include "host/store/slice_file.h"

#include <cstddef>
#include <cstring>
#include <limits>
#include <vector>

#include "host/store/digest.h"
#include "host/store/files.h"
#include "host/store/unfinished.h"
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
/// Last in the file. The digest is of all bytes before it, these sizes too.
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

}  // namespace

struct SliceFileWriter::State {
  std::string folder, target;
  Unfinished draft;
  std::uint64_t at = 0, entries = 0;
  DigestStream digest;
  std::vector<std::uint64_t> buffer, row_key, list_end;
  std::vector<std::uint32_t> row_list, passed;
  std::vector<float> pass_above;
  std::vector<std::uint8_t> complete;

  State(const std::string& in, const std::string& name)
      : folder(in), target(in + "/" + name), draft(in, name, Unfinished::Kind::kFile) {}

  void write(const void* data, std::size_t bytes) {
    write_to(draft.file(), draft.path(), data, bytes, at);
    digest.update(data, bytes);
    at += bytes;
  }
  void write_padded(const void* data, std::size_t bytes) {
    constexpr char kZeros[8] = {};
    write(data, bytes);
    write(kZeros, padded(bytes) - bytes);
  }
  void flush() {
    if (buffer.empty()) return;
    write(buffer.data(), buffer.size() * 8);
    buffer.clear();
  }
};

SliceFileWriter::SliceFileWriter(const std::string& folder, const std::string& name)
    : state_(std::make_unique<State>(folder, name)) {
  State& s = *state_;
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
  write_to(s.draft.file(), s.draft.path(), &footer, sizeof(footer), s.at);
  sync_file(s.draft.file(), s.draft.path());
  s.draft.put_at(s.target);
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
