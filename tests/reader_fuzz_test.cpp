// Random damage to valid files: every reader succeeds or throws InputError or IoError, and asks for
// no absurd memory.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <new>
#include <random>

#include "host/data/embeddings.h"
#include "host/data/table.h"
#include "host/data/tables.h"
#include "kernels/core/errors.h"
#include "tests/support/files.h"

namespace {
std::atomic<std::size_t> largest_request{0};
std::atomic<std::size_t> live_bytes{0}, peak_bytes{0};

void raise_to(std::atomic<std::size_t>& most, std::size_t bytes) {
  std::size_t seen = most.load();
  while (bytes > seen && !most.compare_exchange_weak(seen, bytes)) {
  }
}

void* counted(std::size_t bytes, std::size_t alignment) {
  raise_to(largest_request, bytes);
  void* memory = nullptr;
  if (::posix_memalign(&memory, alignment, bytes == 0 ? 1 : bytes) != 0) throw std::bad_alloc();
  const std::size_t size = ::malloc_usable_size(memory);
  raise_to(peak_bytes, live_bytes.fetch_add(size) + size);
  return memory;
}

void released(void* memory) {
  live_bytes.fetch_sub(::malloc_usable_size(memory));
  std::free(memory);
}
}  // namespace

[[gnu::noinline]] void* operator new(std::size_t bytes) { return counted(bytes, 16); }
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
// Every form, or a sanitizer's own stands in for those that are missing.
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return counted(bytes, 16);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment,
                                     const std::nothrow_t&) noexcept {
  try {
    return counted(bytes, static_cast<std::size_t>(alignment));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { released(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { released(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  released(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  released(memory);
}

namespace quarry {
namespace {

using testing::TempDir;

constexpr int kCases = 2500;
/// The CSV buffer is 1 MiB and the files are small; nothing else may come near it.
constexpr std::size_t kLargestAllowed = (std::size_t{1} << 21);

/// One to four edits: flipped bits, chosen bytes, cuts, repeats, insertions.
std::string damage(std::string bytes, std::mt19937& random) {
  static const std::string kNasty = std::string(1, '\0') + "\xFF\"',\n\r\t{}[]():<>-9|";
  for (std::uint32_t edits = 1 + random() % 4; edits > 0 && !bytes.empty(); --edits) {
    const std::size_t at = random() % bytes.size();
    const std::size_t count = std::min<std::size_t>(random() % 24, bytes.size() - at);
    switch (random() % 6) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ 1 << random() % 8);
        break;
      case 1:
        bytes[at] = kNasty[random() % kNasty.size()];
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.insert(at, bytes.substr(at, count));
        break;
      case 4:
        bytes.insert(at, 1, kNasty[random() % kNasty.size()]);
        break;
      default:
        bytes.erase(at, count);
        break;
    }
  }
  return bytes;
}

/// Reads `kCases` damaged copies of each valid file; every valid file itself must be read.
void fuzz(const std::string& name, const std::vector<std::string>& valid,
          const std::function<void(const std::string&)>& read) {
  const TempDir dir;
  std::mt19937 random(20240501);
  int accepted = 0, refused = 0;
  for (const std::string& bytes : valid) ASSERT_NO_THROW(read(dir.write(name, bytes)));
  largest_request = 0;
  for (int i = 0; i < kCases; ++i) {
    const std::string bytes = damage(valid[static_cast<std::size_t>(i) % valid.size()], random);
    const std::string path = dir.write(name, bytes);
    try {
      read(path);
      ++accepted;
    } catch (const InputError& error) {
      ++refused;
      ASSERT_NE(std::string(error.what()).find(path), std::string::npos)
          << "case " << i << ": " << error.what();
    } catch (const IoError&) {
      ++refused;
    } catch (const std::exception& error) {
      FAIL() << "case " << i << ": another type of error: " << error.what();
    }
    ASSERT_LE(largest_request.load(), kLargestAllowed) << "case " << i;
  }
  EXPECT_GT(refused, kCases / 10);
  EXPECT_GT(accepted, 0);
}

/// Touches every number, so that a wrong layout faults.
void read_table(const Embeddings& table) {
  const MatrixView& view = table.view();
  ASSERT_LE(view.rows * view.dim, std::uint64_t{1} << 16);
  check_rows(view, Metric::kCosine, BadRows::kDrop, table.path());
  std::vector<float> out(view.rows * view.dim);
  prepare_rows(view, 0, view.rows, true, out.data());
}

TEST(Fuzz, Npy) {
  const std::vector<float> values(12, 1.5f);
  const std::string payload = testing::bytes_of_values(values);
  fuzz("f.npy",
       {testing::padded_npy("<f4", "(3, 4)", payload),
        testing::padded_npy("<f2", "(6, 4)", payload, 2, 3),
        testing::npy_bytes(testing::npy_header("<f4", "(12, 1)"), payload, 3)},
       [](const std::string& path) { read_table(Embeddings::open(path)); });
}

TEST(Fuzz, Fbin) {
  const std::vector<float> values(12, 1.5f);
  fuzz("f.fbin", {testing::fbin_bytes(3, 4, testing::bytes_of_values(values))},
       [](const std::string& path) { read_table(Embeddings::open(path)); });
}

TEST(Fuzz, Safetensors) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
      R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[16,24]}})";
  fuzz("f.safetensors",
       {testing::safetensors_bytes(header, std::string(24, '\x3F')),
        testing::safetensors_bytes(
            R"({"w":{"dtype":"F16","shape":[4,2],"data_offsets":[0,16]}})" + std::string(3, ' '),
            std::string(16, '\x3C'))},
       [](const std::string& path) { read_table(Embeddings::open(path)); });
}

TEST(Fuzz, Csv) {
  fuzz("f.csv",
       {"\xEF\xBB\xBFuser:token,\"it\"\"em\",x\r\n1,\"a\nb\",\r\n\"\"\"\",,3\r\n\r\n4,5,6",
        "a,b\n1,2\n3,\"4\"\n", "a\n1\n2\n"},
       [](const std::string& path) {
         const auto reader = open_table(path);
         TableBatch batch;
         std::uint64_t bytes = 0;
         while (reader->next(batch)) {
           for (const ColumnView& column : batch.columns) {
             for (const std::string_view text : column.text) {
               for (const char c : text) bytes += static_cast<unsigned char>(c);
             }
           }
           ASSERT_GE(reader->line_of(batch.first_row), 2u);
         }
         ASSERT_LT(bytes, 1000000u);
       });
}

TEST(Fuzz, Tables) {
  const IdMap users = IdMap::identity(4), items = IdMap::from_ids({"a", "b", "c"}, "items");
  ExposureRules rules;
  rules.rules.push_back(
      {ExposureClass::kPositive, {{"buy", ExposureTerm::Op::kGreaterEqual, 2.0}}});
  rules.window = 100;
  fuzz("e.csv",
       {"user,item,time,kind,value\n0,a,10,buy,3\n1,b,2024-05-01,view,\n3,\"c\",2024-05-01T10:00:"
        "00Z,buy,1.5e1\n"},
       [&](const std::string& path) {
         const Exposure e =
             read_exposure(path, {}, rules, users, items, std::nullopt, UnknownIds::kDrop);
         ASSERT_EQ(e.offsets.back(), e.items.size());
       });
  fuzz("c.tsv",
       {"item\tbrand\tfirst_seen\tretired\ttitle\na\tx\t5\t\tA\nb\t\t\t2024-01-01\t\"B "
        "\"\"b\"\"\"\n"},
       [&](const std::string& path) {
         const Catalogue c = read_catalogue(path, {}, items, UnknownIds::kDrop);
         for (const CatalogueColumn& column : c.columns) {
           for (const std::uint32_t code : column.codes) ASSERT_LT(code, column.names.size());
         }
       });
  fuzz("r.csv",
       {"row_key,user,item,time,segment\n7,0,a|b,5,s\n8,1,,,t\n9,2,c,2024-01-01,\n",
        "user,item\n0,a\n1,b|c\n"},
       [&](const std::string& path) {
         const RowTable rows = read_rows(path, {}, users, items, UnknownIds::kDrop, false);
         ASSERT_EQ(rows.positive_offsets.size(), rows.size() + 1);
         ASSERT_EQ(rows.positive_offsets.back(), rows.positives.size());
       });
  fuzz("p.csv", {"user,item,score\n0,a,0.5\n0,b,-1e-3\n3,c,2\n"}, [&](const std::string& path) {
    const PairValues pairs = read_pairs(path, {}, users, items, UnknownIds::kDrop);
    ASSERT_EQ(pairs.offsets.back(), pairs.items.size());
    for (const float value : pairs.values) ASSERT_TRUE(std::isfinite(value));
  });
  fuzz("i.csv", {"x,item\n1,a\n2,b\n3,\"c\"\n"}, [&](const std::string& path) {
    ASSERT_EQ(IdMap::from_table(path, "item", 3, "items.npy").size(), 3u);
    read_item_list(path, "item", items, UnknownIds::kDrop);
  });
}

/// Bytes of the heap that opening the file needs at its peak, whether it is accepted or not.
std::size_t heap_of_opening(const std::string& path) {
  const std::size_t before = live_bytes.load();
  peak_bytes = before;
  try {
    Embeddings::open(path);
  } catch (const InputError&) {
  }
  return peak_bytes.load() - before;
}

TEST(Memory, ASafetensorsHeaderTakesAtMostItsOwnSizeAndAMegabyte) {
  const TempDir dir;
  const auto many = [](int count, const std::string& begin, const std::string& name,
                       const std::string& behind) {
    std::string header = begin;
    for (int i = 0; i < count; ++i)
      header += (i == 0 ? "\"" : ",\"") + name + std::to_string(i) + "\":" + behind;
    return header + "}";
  };
  const std::string tensor = R"({"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
  const std::string metadata = R"({"__metadata__":{)";
  std::string extents = "[1";
  for (int i = 0; i < 40'000'000; ++i) extents += ",1";
  const std::string headers[] = {
      many(16384, "{", "", tensor),                   // the most tensors, the shortest names
      many(16384, "{", "a.name.of.17.char", tensor),  // names that live on the heap
      many(1'600'000, "{", "", tensor),               // 84 MB
      many(4096, metadata, "", "\"\"") + "}",         // the most metadata
      many(8'000'000, metadata, "", "\"\"") + "}",    // 80 MB
      metadata + "\"a\":\"" + std::string(131072, 'x') + "\"}}",
      metadata + "\"a\":\"" + std::string(84'000'000, 'x') + "\"}}",
      "{\"" + std::string(84'000'000, 'x') + "\":" + tensor + "}",
      R"({"w":{"shape":)" + extents + "]}}",
      R"({"w":{"shape":[)" + std::string(84'000'000, '1') + "]}}",
      std::string("{") + std::string(84'000'000, ' ') + "}",
  };
  for (const std::string& header : headers) {
    SCOPED_TRACE(header.substr(0, 60));
    const std::string path = dir.write("m.safetensors", testing::safetensors_bytes(header, ""));
    EXPECT_LE(heap_of_opening(path), header.size() + (std::size_t{1} << 20));
  }
}

}  // namespace
}  // namespace quarry
