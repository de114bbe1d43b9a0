// The set on disk: what is written is what is read, damage is named, nothing half-written is left.
#include "host/store/negative_set.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "host/store/column_file.h"
#include "host/store/set_lock.h"
#include "kernels/core/errors.h"
#include "kernels/core/ids.h"
#include "tests/support/files.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using testing::expect_error;

class NegativeSetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "quarry-set-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  fs::path folder_;
};

SetSchema schema_of(std::uint32_t k) {
  SetSchema schema;
  schema.k = k;
  schema.branches = {"hard", "random"};
  schema.strata = {"tail", "head"};
  schema.num_items = 1000;
  return schema;
}

/// Rows whose numbers follow from their place, with short rows and rows without positives among
/// them.
NegativeBatch batch_of(std::uint64_t first, std::uint32_t rows, std::uint32_t k) {
  NegativeBatch b;
  b.first_row = first;
  b.num_rows = rows;
  b.k = k;
  b.num_branches = 2;
  for (std::uint32_t r = 0; r < rows; ++r) {
    const auto row = static_cast<std::uint32_t>(first + r);
    const std::uint32_t count = row % (k + 1);
    b.count.push_back(static_cast<std::uint16_t>(count));
    b.positive_min.push_back(row % 5 == 0 ? -std::numeric_limits<float>::quiet_NaN()
                                          : 2.0f + static_cast<float>(row));
    b.certified.push_back(row % 2);
    b.kappa.push_back(0.25f * static_cast<float>(row));
    b.kappa.push_back(std::numeric_limits<float>::quiet_NaN());
    for (std::uint32_t j = 0; j < k; ++j) {
      const bool filled = j < count;
      b.item.push_back(filled ? row * 10 + j : kNoItem);
      b.score.push_back(filled ? 1.0f / static_cast<float>(1 + row + j)
                               : 77.0f);  // rubbish behind the count
      b.branch.push_back(filled ? static_cast<std::uint8_t>(j % 2) : 0xFF);
      b.raw_rank.push_back(j % 2 == 0 ? row + j + 1 : 0);
      b.survivor_rank.push_back(j % 2 == 0 ? j + 1 : 0);
      b.stratum.push_back(j % 2);
      b.logq.push_back(j % 2 == 0 ? -1.5f : std::numeric_limits<float>::quiet_NaN());
      b.fill.push_back(filled ? 0 : 1 + (row + j) % 4);
    }
  }
  return b;
}

std::uint64_t key_of(std::uint64_t row) { return row * 0x9E3779B97F4A7C15ull; }

std::int64_t time_of(std::uint64_t row) {
  return row % 6 == 0 ? INT64_MAX : static_cast<std::int64_t>(1000 + row);
}

/// Row 3 n + i has i positives.
std::vector<std::uint32_t> positives_of(std::uint64_t row) {
  std::vector<std::uint32_t> all;
  for (std::uint64_t p = 0; p < row % 3; ++p)
    all.push_back(static_cast<std::uint32_t>(row * 2 + p));
  return all;
}

/// Rows from `first` on; their positives lie somewhere inside a longer array.
struct Rows {
  Rows(std::uint64_t first, std::uint32_t rows) : positives(5, 99) {
    offsets.push_back(5);
    for (std::uint64_t row = first; row < first + rows; ++row) {
      keys.push_back(key_of(row));
      users.push_back(static_cast<std::uint32_t>(row) % 7);
      times.push_back(time_of(row));
      const std::vector<std::uint32_t> own = positives_of(row);
      positives.insert(positives.end(), own.begin(), own.end());
      offsets.push_back(positives.size());
    }
  }
  SetRows view() const {
    return {keys.data(), users.data(), times.data(), offsets.data(), positives.data()};
  }
  std::vector<std::uint64_t> keys, offsets;
  std::vector<std::uint32_t> users, positives;
  std::vector<std::int64_t> times;
};

void append(SetWriter& writer, std::uint64_t first, std::uint32_t rows, std::uint32_t k) {
  writer.append(batch_of(first, rows, k), Rows(first, rows).view());
}

/// A set of `rows` rows given to the writer in pieces.
std::string write_set(const std::string& path, std::uint64_t first, std::uint64_t rows,
                      std::uint32_t piece, std::uint64_t rows_per_shard,
                      Existing existing = Existing::kRefuse, std::uint32_t k = 4) {
  SetWriter writer(path, schema_of(k), rows_per_shard, existing);
  for (std::uint64_t at = 0; at < rows; at += piece) {
    append(writer, first + at,
           static_cast<std::uint32_t>(std::min<std::uint64_t>(piece, rows - at)), k);
  }
  return writer.finish(R"({"seed": 7})");
}

std::string slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void spit(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
}

/// What opening says; "" if it succeeds.
std::string complaint(const std::string& path, bool verify) {
  try {
    NegativeSet::open(path, verify);
    return "";
  } catch (const InputError& error) {
    return error.what();
  }
}

fs::path only_shard(const std::string& set) {
  for (const auto& entry : fs::directory_iterator(set)) {
    if (entry.is_directory()) return entry.path();
  }
  return {};
}

TEST_F(NegativeSetTest, ReadsBackWhatWasWritten) {
  write_set(path("set"), 0, 23, 5, 10);
  const NegativeSet set = NegativeSet::open(path("set"), true);
  ASSERT_EQ(set.rows(), 23u);
  ASSERT_EQ(set.k(), 4u);
  EXPECT_EQ(set.schema().branches, schema_of(4).branches);
  EXPECT_EQ(set.schema().num_items, 1000u);
  for (std::uint64_t i = 0; i < set.rows(); ++i) {
    const NegativeSet::Row row = set.row(i);
    const NegativeBatch want = batch_of(i, 1, 4);
    EXPECT_EQ(row.row_key, key_of(i));
    EXPECT_EQ(row.user, i % 7);
    EXPECT_EQ(row.time, time_of(i));
    EXPECT_EQ(std::vector<std::uint32_t>(row.positives.begin(), row.positives.end()),
              positives_of(i));
    EXPECT_EQ(row.count, want.count[0]);
    EXPECT_EQ(row.certified, want.certified[0]);
    EXPECT_EQ(row.kappa[0], want.kappa[0]);
    EXPECT_EQ(std::bit_cast<std::uint32_t>(row.kappa[1]), 0x7FC00000u);
    for (std::uint32_t j = 0; j < 4; ++j) {
      EXPECT_EQ(row.item[j], want.item[j]);
      EXPECT_EQ(row.fill[j], want.fill[j]);
      EXPECT_EQ(row.stratum[j], want.stratum[j]);
      if (j >= row.count) {
        EXPECT_EQ(row.branch[j], 0xFF);
        EXPECT_EQ(row.raw_rank[j], 0u);
        EXPECT_EQ(row.survivor_rank[j], 0u);
        for (const float value : {row.score[j], row.gap[j], row.quantile[j], row.logq[j]}) {
          EXPECT_EQ(std::bit_cast<std::uint32_t>(value), 0x7FC00000u);
        }
        continue;
      }
      EXPECT_EQ(row.score[j], want.score[j]);
      EXPECT_EQ(row.branch[j], want.branch[j]);
      EXPECT_EQ(row.raw_rank[j], want.raw_rank[j]);
      if (i % 5 == 0) {
        EXPECT_EQ(std::bit_cast<std::uint32_t>(row.gap[j]), 0x7FC00000u);
      } else {
        EXPECT_EQ(row.gap[j], want.positive_min[0] - want.score[j]);
      }
      if (want.raw_rank[j] == 0) {
        EXPECT_TRUE(std::isnan(row.quantile[j]));
      } else {
        EXPECT_EQ(row.quantile[j], static_cast<float>(want.raw_rank[j]) / 1000.0f);
      }
    }
  }
  EXPECT_EQ(Json::parse(set.manifest_json())["run"]["seed"], 7);
  EXPECT_EQ(Json::parse(set.manifest_json())["fill_codes"],
            (Json{"filled", "exhausted", "max_rank", "cap", "quota", "bad_row"}));
}

TEST_F(NegativeSetTest, ContentHashDoesNotDependOnShardsOrPieces) {
  const std::string whole = write_set(path("a"), 0, 40, 40, 65536);
  EXPECT_EQ(whole.size(), 32u);
  EXPECT_EQ(write_set(path("b"), 0, 40, 1, 7), whole);
  EXPECT_EQ(write_set(path("c"), 0, 40, 13, 40), whole);
  EXPECT_EQ(NegativeSet::open(path("b"), true).content_hash(), whole);
  EXPECT_NE(write_set(path("d"), 1, 40, 40, 65536), whole);
  write_set(path("p0"), 0, 11, 3, 5);
  write_set(path("p1"), 11, 29, 7, 100);
  EXPECT_EQ(
      content_hash_of({NegativeSet::open(path("p0"), false), NegativeSet::open(path("p1"), false)}),
      whole);
  EXPECT_NE(
      content_hash_of({NegativeSet::open(path("p1"), false), NegativeSet::open(path("p0"), false)}),
      whole);
}

TEST_F(NegativeSetTest, ColumnFilesAreNumpyOneDotZero) {
  write_set(path("set"), 0, 3, 3, 100);
  const std::string item = slurp(only_shard(path("set")) / "item.npy");
  ASSERT_EQ(item.size(), 128u + 3 * 4 * 4);
  EXPECT_EQ(item.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  EXPECT_EQ(static_cast<unsigned char>(item[8]) + 256 * static_cast<unsigned char>(item[9]), 118);
  EXPECT_EQ(item.substr(10, 60), "{'descr': '<u4', 'fortran_order': False, 'shape': (3, 4), } ");
  EXPECT_EQ(item[127], '\n');
  std::uint32_t first = 0;
  std::memcpy(&first, item.data() + 128 + 16, 4);
  EXPECT_EQ(first, 10u);  // row 1, slot 0
  const std::string key = slurp(only_shard(path("set")) / "row_key.npy");
  EXPECT_EQ(key.substr(10, 57), "{'descr': '<u8', 'fortran_order': False, 'shape': (3,), }");
  // Rows 0, 1 and 2 have 0, 1 and 2 positives.
  const std::string offset = slurp(only_shard(path("set")) / "positive_offset.npy");
  EXPECT_EQ(offset.substr(10, 57), "{'descr': '<u8', 'fortran_order': False, 'shape': (4,), }");
  std::uint64_t offsets[4] = {};
  ASSERT_EQ(offset.size(), 128 + sizeof(offsets));
  std::memcpy(offsets, offset.data() + 128, sizeof(offsets));
  EXPECT_EQ((std::vector<std::uint64_t>(offsets, offsets + 4)),
            (std::vector<std::uint64_t>{0, 0, 1, 3}));
  const std::string positive = slurp(only_shard(path("set")) / "positive.npy");
  EXPECT_EQ(positive.substr(10, 57), "{'descr': '<u4', 'fortran_order': False, 'shape': (3,), }");
  std::uint32_t positives[3] = {};
  ASSERT_EQ(positive.size(), 128 + sizeof(positives));
  std::memcpy(positives, positive.data() + 128, sizeof(positives));
  EXPECT_EQ((std::vector<std::uint32_t>(positives, positives + 3)),
            (std::vector<std::uint32_t>{2, 4, 5}));
}

TEST_F(NegativeSetTest, PlacesOfPositivesThatLieAreRefused) {
  write_set(path("set"), 0, 5, 5, 100);  // 0 + 1 + 2 + 0 + 1 positives
  const fs::path file = only_shard(path("set")) / "positive_offset.npy";
  const std::string good = slurp(file);
  for (const std::uint64_t lie : {std::uint64_t{5}, std::uint64_t{1} << 63, std::uint64_t{0}}) {
    std::string bytes = good;
    std::memcpy(bytes.data() + 128 + 3 * 8, &lie, 8);  // the end of row 2, the beginning of row 3
    spit(file, bytes);
    const NegativeSet set = NegativeSet::open(path("set"), false);
    EXPECT_EQ(set.row(1).positives.size(), 1u);
    expect_error<InputError>([&] { set.row(2); }, {"positive_offset.npy", "row 2", "of 4 positives",
                                                   "mine the set again"});
  }
}

TEST_F(NegativeSetTest, EmptySetIsASet) {
  write_set(path("set"), 0, 0, 1, 10);
  EXPECT_EQ(NegativeSet::open(path("set"), true).rows(), 0u);
}

TEST_F(NegativeSetTest, NothingIsLeftOfAnUnfinishedWriter) {
  {
    SetWriter writer(path("set"), schema_of(4), 10);
    append(writer, 0, 25, 4);
    EXPECT_FALSE(fs::exists(path("set")));
    EXPECT_FALSE(fs::is_empty(folder_));
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(NegativeSetTest, RefusesWhatLiesAtTheTarget) {
  fs::create_directory(path("set"));
  write_set(path("set"), 0, 5, 5, 10);  // an empty folder may be filled
  try {
    write_set(path("set"), 0, 5, 5, 10);
    FAIL() << "wrote over a set";
  } catch (const IoError& error) {
    EXPECT_NE(std::string(error.what()).find("--overwrite"), std::string::npos) << error.what();
  }
  spit(path("file"), "x");
  EXPECT_THROW(write_set(path("file"), 0, 5, 5, 10), IoError);
  EXPECT_THROW(write_set(path("nowhere/set"), 0, 5, 5, 10), IoError);
  fs::create_directory(path("precious"));
  spit(path("precious/letter.txt"), "x");
  EXPECT_THROW(write_set(path("precious"), 0, 5, 5, 10, Existing::kReplace), IoError);
  EXPECT_TRUE(fs::exists(path("precious/letter.txt")));
}

TEST_F(NegativeSetTest, OverwriteKeepsTheOldSet) {
  const std::string old_hash = write_set(path("set"), 0, 5, 5, 10);
  {
    SetWriter writer(path("set"), schema_of(4), 10, Existing::kReplace);
    append(writer, 100, 6, 4);
    EXPECT_EQ(NegativeSet::open(path("set"), true).content_hash(), old_hash)
        << "moved before the new one is complete";
    writer.finish("{}");
    EXPECT_EQ(writer.moved_aside(), path("set.old"));
  }
  EXPECT_EQ(NegativeSet::open(path("set"), true).rows(), 6u);
  EXPECT_EQ(NegativeSet::open(path("set.old"), true).content_hash(), old_hash);
  write_set(path("set"), 0, 7, 7, 10, Existing::kReplace);
  EXPECT_EQ(NegativeSet::open(path("set.old-2"), true).rows(), 6u);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 3);
}

TEST_F(NegativeSetTest, EveryDamagedColumnIsNamed) {
  write_set(path("set"), 0, 9, 9, 100);
  const fs::path shard = only_shard(path("set"));
  for (std::size_t c = 0; c < kNumColumns; ++c) {
    const std::string name = std::string(column_type(static_cast<Column>(c)).name) + ".npy";
    const std::string good = slurp(shard / name);
    const auto damaged = [&](const std::string& bytes, bool verify) {
      spit(shard / name, bytes);
      const std::string said = complaint(path("set"), verify);
      EXPECT_NE(said.find("/" + name), std::string::npos) << name << ": " << said;
    };
    std::string flipped = good;
    flipped.back() = static_cast<char>(flipped.back() ^ 1);
    damaged(flipped, true);
    spit(shard / name, flipped);
    EXPECT_EQ(complaint(path("set"), false), "") << "contents are compared by verify only";
    damaged(good.substr(0, good.size() - 1), false);
    damaged(good + "x", false);
    damaged("", false);
    std::string header = good;
    header[22] = '8';
    damaged(header, false);
    fs::remove(shard / name);
    EXPECT_NE(complaint(path("set"), false).find(name), std::string::npos);
    spit(path("elsewhere"), good);
    fs::create_symlink(path("elsewhere"), shard / name);
    EXPECT_NE(complaint(path("set"), false).find("link"), std::string::npos);
    fs::remove(shard / name);
    spit(shard / name, good);
  }
  EXPECT_EQ(complaint(path("set"), true), "");
}

TEST_F(NegativeSetTest, EveryDamagedManifestIsRefused) {
  write_set(path("set"), 0, 9, 9, 4);
  const fs::path file = fs::path(path("set")) / "manifest.json";
  const std::string good = slurp(file);
  const auto refused = [&](const char* what, const std::function<void(Json&)>& change) {
    Json manifest = Json::parse(good);
    change(manifest);
    spit(file, manifest.dump());
    EXPECT_NE(complaint(path("set"), true).find("manifest.json"), std::string::npos) << what;
  };
  refused("format", [](Json& m) { m["format"] = "other"; });
  refused("newer version", [](Json& m) { m["format_version"] = 3; });
  refused("older version", [](Json& m) { m["format_version"] = 1; });
  refused("no positives", [](Json& m) { m["shards"][0].erase("positives"); });
  refused("no version", [](Json& m) { m.erase("format_version"); });
  refused("k", [](Json& m) { m["k"] = 0; });
  refused("k text", [](Json& m) { m["k"] = "4"; });
  refused("k negative", [](Json& m) { m["k"] = -4; });
  refused("k large", [](Json& m) { m["k"] = 65536; });
  refused("rows", [](Json& m) { m["rows"] = 10; });
  refused("rows huge", [](Json& m) { m["rows"] = 0xFFFFFFFFFFFFFFFFull; });
  refused("branches", [](Json& m) { m["branches"] = Json::array(); });
  refused("branches", [](Json& m) { m["branches"] = Json::array({1}); });
  refused("strata", [](Json& m) { m["strata"] = "tail"; });
  refused("content hash", [](Json& m) { m["content_hash"] = std::string(32, '0'); });
  refused("no shards", [](Json& m) { m.erase("shards"); });
  refused("shards", [](Json& m) { m["shards"] = 3; });
  refused("shard lost", [](Json& m) { m["shards"].erase(1); });
  refused("shard path", [](Json& m) {
    m["shards"][0]["path"] = "../set/" + m["shards"][0]["path"].get<std::string>();
  });
  refused("shard absolute", [](Json& m) { m["shards"][0]["path"] = "/etc"; });
  refused("gap", [](Json& m) { m["shards"][1]["first_row"] = 5; });
  refused("no digest", [](Json& m) { m["shards"][0]["columns"].erase("item"); });
  for (const std::string& text :
       {std::string("{"), std::string("[]"), std::string(), good.substr(0, good.size() / 2)}) {
    spit(file, text);
    EXPECT_NE(complaint(path("set"), false).find("manifest.json"), std::string::npos)
        << text.substr(0, 20);
  }
  Json manifest = Json::parse(good);
  manifest["k"] = 5;
  spit(file, manifest.dump());
  EXPECT_NE(complaint(path("set"), false).find(".npy"), std::string::npos);
  fs::remove(file);
  EXPECT_NE(complaint(path("set"), false).find("manifest.json"), std::string::npos);
  EXPECT_NE(complaint(path("missing"), false), "");
  spit(path("file"), "x");
  EXPECT_NE(complaint(path("file"), false), "");
}

TEST_F(NegativeSetTest, RefusesBatchesThatContradictThemselves) {
  SetWriter writer(path("set"), schema_of(4), 10);
  NegativeBatch batch = batch_of(3, 1, 4);
  const Rows one(3, 1);
  batch.item[0] = kNoItem;  // an empty slot in front of filled ones
  EXPECT_THROW(writer.append(batch, one.view()), std::logic_error);
  batch = batch_of(3, 1, 4);
  batch.fill[0] = 1;
  EXPECT_THROW(writer.append(batch, one.view()), std::logic_error);
}

TEST_F(NegativeSetTest, AppendingStopsBetweenShards) {
  std::atomic<bool> stop{false};
  const NegativeBatch batch = batch_of(0, 9, 3);
  const Rows rows(0, 9);
  {
    SetWriter writer(path("set"), schema_of(3), 2);
    writer.append(batch, rows.view(), &stop);
    stop.store(true);
    EXPECT_THROW(writer.append(batch, rows.view(), &stop), Cancelled);
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(NegativeSetTest, ALockIsHeldOnceAndLeavesNothing) {
  {
    const SetLock lock(path("set"));
    EXPECT_THROW(SetLock(path("set/")), SetLocked);
    const SetLock other(path("other"));
    fs::create_directory(path(".set.partial-1-0"));
    EXPECT_EQ(lock.leftovers(), std::vector<std::string>{path(".set.partial-1-0")});
    EXPECT_TRUE(other.leftovers().empty());
  }
  fs::remove(path(".set.partial-1-0"));
  EXPECT_TRUE(fs::is_empty(folder_));
  const SetLock again(path("set"));
}

}  // namespace
}  // namespace quarry
