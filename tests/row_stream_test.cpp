// Rows that are not held: any block is what the whole table gives there, keys are numbered as if
// all were known, and the program's memory does not follow the number of rows.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <sstream>

#include "host/data/embeddings.h"
#include "host/data/row_keys.h"
#include "host/data/row_stream.h"
#include "host/mine/miner.h"
#include "kernels/core/errors.h"
#include "tests/support/files.h"
#include "tests/support/worlds.h"

namespace quarry {
namespace {

using testing::expect_error;
using testing::TempDir;

/// What a table of rows must give, made next to its text.
struct Expected {
  std::string text = "row_key,user,item,time,segment\n";
  std::vector<std::uint64_t> key;
  std::vector<std::uint32_t> user;
  std::vector<std::vector<std::uint32_t>> positives;
  std::vector<std::int64_t> time;
  std::vector<std::string> segment;
};

/// Several megabytes, so that blocks begin in different pieces of the file; a quarter of the keys
/// repeat.
Expected many_rows(std::uint32_t rows, bool repeats) {
  Expected e;
  std::mt19937 random(7);
  std::map<std::uint64_t, std::uint64_t> seen;
  for (std::uint32_t r = 0; r < rows; ++r) {
    const std::uint64_t key = repeats && random() % 4 == 0 ? random() % 1000 : 1'000'000u + r;
    const std::uint32_t user = random() % 50;
    const std::uint32_t first = random() % 90;
    const std::string segment = "\"line one\nof " + std::to_string(random() % 7) + "\"";
    std::string items;
    std::vector<std::uint32_t> positives;
    for (std::uint32_t i = 0; i < random() % 3; ++i) {
      items += (i == 0 ? "" : "|") + std::to_string(first + i);
      positives.push_back(first + i);
    }
    e.text += std::to_string(key) + "," + std::to_string(user) + "," + items + "," +
              std::to_string(r) + "," + segment + "\n";
    if (r % 97 == 0) e.text += "\n" + std::to_string(key) + ",nobody,,5,\n";
    const std::uint64_t n = seen[key]++;
    e.key.push_back(n == 0 ? key : numbered_key(key, n));
    e.user.push_back(user);
    e.positives.push_back(positives);
    e.time.push_back(r);
    e.segment.push_back(segment.substr(1, segment.size() - 2));
  }
  return e;
}

void expect_block(const Expected& e, std::uint64_t first, const RowTable& block) {
  ASSERT_EQ(block.positive_offsets.size(), block.size() + 1);
  for (std::uint64_t r = 0; r < block.size(); ++r) {
    const std::uint64_t row = first + r;
    ASSERT_EQ(block.key[r], e.key[row]) << row;
    ASSERT_EQ(block.user[r], e.user[row]) << row;
    ASSERT_EQ(block.time[r], e.time[row]) << row;
    ASSERT_EQ(block.segment_names[block.segment[r]], e.segment[row]) << row;
    const std::vector<std::uint32_t> own(
        block.positives.begin() + static_cast<std::ptrdiff_t>(block.positive_offsets[r]),
        block.positives.begin() + static_cast<std::ptrdiff_t>(block.positive_offsets[r + 1]));
    ASSERT_EQ(own, e.positives[row]) << row;
  }
}

TEST(RowStream, AnyBlockAnywhere) {
  const TempDir dir;
  const IdMap users = IdMap::identity(50), items = IdMap::identity(100);
  constexpr std::uint32_t kRows = 90000;
  for (const bool repeats : {false, true}) {
    const Expected e = many_rows(kRows, repeats);
    const std::string path = dir.write(repeats ? "numbered.csv" : "rows.csv", e.text);
    const RowStream rows =
        RowStream::of_table(path, {}, {&users, &items}, UnknownIds::kDrop, repeats);
    ASSERT_EQ(rows.size(), kRows);
    EXPECT_EQ(rows.unknown_ids(), (kRows + 96) / 97);
    RowTable block;
    std::mt19937 random(3);
    for (int i = 0; i < 30; ++i) {
      const std::uint64_t first = random() % (kRows + 1);
      const std::uint64_t count = std::min<std::uint64_t>(random() % 3000, kRows - first);
      rows.read(first, count, block);
      ASSERT_EQ(block.size(), count);
      expect_block(e, first, block);
    }
    for (std::uint64_t at = 0; at < kRows; at += block.size()) {
      rows.read(at, std::min<std::uint64_t>(20001, kRows - at), block);
      expect_block(e, at, block);
    }
    if (repeats) {
      expect_error<InputError>(
          [&] {
            RowStream::of_table(path, {}, {&users, &items}, UnknownIds::kDrop, false);
          },
          {"numbered.csv:", "row key 0 stands already in line", "--number-duplicates"});
    }
  }
}

TEST(RowStream, NumberingThatMeetsAnotherKeyIsRefused) {
  const TempDir dir;
  const IdMap ids = IdMap::identity(3);
  const std::string taken = std::to_string(numbered_key(9, 1));
  // The key that is made for the second 9 stands once, or repeats itself.
  for (const char* more : {"", "\n0,"}) {
    std::string text = "user,row_key\n0,9\n1," + taken + "\n2,8\n2,9";
    if (*more != '\0') text += more + taken;
    const std::string path = dir.write("rows.csv", text + "\n");
    expect_error<InputError>(
        [&] {
          RowStream::of_table(path, {}, {&ids, &ids}, UnknownIds::kReject, true);
        },
        {"rows 1 and 3 (from 0)", taken, "after numbering"});
  }
}

TEST(RowStream, LeavesItemsOutAndCollectsNewPositives) {
  const TempDir dir;
  const IdMap users = IdMap::identity(3), items = IdMap::identity(9);
  ExposureRules rules;
  rules.rules.push_back({ExposureClass::kPositive, {{"buy", ExposureTerm::Op::kExists, 0.0}}});
  const float none = std::numeric_limits<float>::quiet_NaN();
  const Exposure exposure = classify_events({{0, 2, 5, 0, none}, {0, 3, 4, 1, none}},
                                            {"buy", "view"}, rules, 3, 9, std::nullopt);
  const std::string path = dir.write("rows.csv", "user,item\n0,2|3\n0,7|4\n2,4\n0,3|2|8\n2,5|4\n");
  const std::vector<std::uint64_t> left_out = {4, 8};
  const RowStream rows = RowStream::of_table(path, {}, {&users, &items, &exposure, &left_out, true},
                                             UnknownIds::kReject, false);
  EXPECT_EQ(rows.dropped_positives(), 4u);
  // 2 is a positive of user 0 already; 3 was only seen.
  EXPECT_EQ(rows.new_positives().offsets, (std::vector<std::uint64_t>{0, 2, 2, 3}));
  EXPECT_EQ(rows.new_positives().values, (std::vector<std::uint32_t>{3, 7, 5}));
  RowTable block;
  rows.read(1, 3, block);
  EXPECT_EQ(block.positives, (std::vector<std::uint32_t>{7, 3, 2}));
  EXPECT_EQ(block.positive_offsets, (std::vector<std::uint64_t>{0, 1, 1, 3}));
  EXPECT_EQ(block.key[0], row_key_of("0", {"7", "4"}, INT64_MAX));  // of the ids as written
}

TEST(RowStream, AChangedFileIsRefused) {
  const TempDir dir;
  const IdMap ids = IdMap::identity(3);
  const std::string path = dir.path_of("rows.csv");
  std::ofstream(path) << "user\n0\n1\n2\n";
  const RowStream rows = RowStream::of_table(path, {}, {&ids, &ids}, UnknownIds::kReject, false);
  std::ofstream(path) << "user\n0\n1\n";  // the same file, shorter
  RowTable block;
  expect_error<InputError>([&] { rows.read(0, 3, block); }, {"rows.csv", "changed"});
}

/// Positives that come by user count as much as those that come with rows.
TEST(RowStream, PositivesByUserJoinTheLists) {
  test::WorldShape shape;
  shape.items = 60;
  const auto w = test::make_world(shape);
  std::mt19937 random(5);
  for (std::uint32_t& item : w->rows.positives) item = random() % shape.items;
  std::vector<std::set<std::uint32_t>> own(shape.users);
  for (std::uint64_t r = 0; r < w->rows.size(); ++r) {
    for (std::uint64_t p = w->rows.positive_offsets[r]; p < w->rows.positive_offsets[r + 1]; ++p)
      own[w->rows.user[r]].insert(w->rows.positives[p]);
  }
  Lists lists;
  lists.offsets = {0};
  for (const auto& items : own) {
    lists.values.insert(lists.values.end(), items.begin(), items.end());
    lists.offsets.push_back(lists.values.size());
  }
  const auto mine = [&] {
    std::vector<std::uint32_t> items;
    Miner(load_recipe("random", 0), w->inputs, {}).mine(w->rows_view, [&](const NegativeBatch& b) {
      items.insert(items.end(), b.item.begin(), b.item.end());
    });
    return items;
  };
  const std::vector<std::uint32_t> by_row = mine();
  w->inputs.rows = nullptr;
  const std::vector<std::uint32_t> without = mine();
  w->inputs.row_positives = &lists;
  EXPECT_EQ(mine(), by_row);
  EXPECT_NE(without, by_row);
}

/// Bytes at the peak of `quarry mine` over the rows of a file, as it reports them itself: what
/// wait4 says of a child includes its parent before exec.
std::uint64_t peak_of_mine(const TempDir& dir, const std::string& rows) {
  const char* named = std::getenv("QUARRY_PROGRAM");
  const std::string program = named != nullptr ? named : std::string(QUARRY_BINARY_DIR) + "/quarry";
  const std::string report = rows + ".json";
  const std::string command =
      "'" + program + "' mine --items '" + dir.path_of("items.npy") + "' --users '" +
      dir.path_of("users.npy") + "' --rows '" + rows + "' --out '" + rows +
      ".set' --recipe random --limit-rows 100 --threads 1 --json > '" + report + "' 2> /dev/null";
  EXPECT_EQ(std::system(command.c_str()), 0) << "failed: " << command;
  std::ifstream file(report);
  std::stringstream text;
  text << file.rdbuf();
  const std::string key = "\"peak_resident_bytes\": ";
  const std::size_t at = text.str().find(key);
  EXPECT_NE(at, std::string::npos) << text.str();
  return at == std::string::npos ? 0 : std::stoull(text.str().substr(at + key.size()));
}

/// At most 16 bytes of host memory per row, also where no positive is known before. Held as a
/// table, rows took 80 to 97.
TEST(RowStream, MemoryPerRow) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's own memory follows every allocation";
#endif
  const TempDir dir;
  const std::vector<float> vectors(std::size_t{1000} * 4, 0.5f);
  for (const char* name : {"items.npy", "users.npy"})
    write_npy(dir.path_of(name), vectors.data(), 1000, 4);
  constexpr std::uint64_t kFew = 500'000, kMany = 1'000'000;
  std::uint64_t peaks[2] = {};
  for (const std::uint64_t rows : {kFew, kMany}) {
    std::string text = "user,item,time,segment\n";
    for (std::uint64_t r = 0; r < rows; ++r) {  // every pair of user and item once: all are new
      text += std::to_string(r % 1000) + "," + std::to_string(r / 1000) + ",1600000000,s\n";
    }
    peaks[rows == kMany] = peak_of_mine(dir, dir.write(std::to_string(rows) + ".csv", text));
  }
  const double per_row =
      (static_cast<double>(peaks[1]) - static_cast<double>(peaks[0])) / (kMany - kFew);
  RecordProperty("bytes_per_row", std::to_string(per_row));
  EXPECT_GT(peaks[0], 0u);
  EXPECT_LE(per_row, 16.0) << peaks[0] << " bytes at " << kFew << " rows, " << peaks[1] << " at "
                           << kMany;
}

}  // namespace
}  // namespace quarry
