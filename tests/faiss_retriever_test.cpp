// FAISS behind the Retriever interface: approximate kinds, errors in words, the cache and its
// damage.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "index/retriever.h"
#include "kernels/core/errors.h"
#include "kernels/core/exact_math.h"
#include "tests/support/retrieval_cases.h"

namespace quarry {
namespace {

using namespace test;

class Faiss : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_faiss()) GTEST_SKIP() << "this build has no FAISS";
    folder_ = std::filesystem::temp_directory_path() /
              ("quarry_retriever_test_" + std::to_string(std::random_device{}()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override {
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::filesystem::path folder_;
};

std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

double recall(const Ranking& truth, const Found& f, std::uint32_t k) {
  std::uint64_t hits = 0;
  for (std::size_t q = 0; q < truth.size(); ++q) {
    for (std::uint32_t j = 0; j < f.count[q]; ++j) {
      const std::uint32_t item = f.items[q * k + j];
      hits += std::any_of(truth[q].begin(), truth[q].begin() + k,
                          [&](const auto& e) { return e.second == item; });
    }
  }
  return static_cast<double>(hits) / (static_cast<double>(truth.size()) * k);
}

TEST_F(Faiss, InfoSaysThatItWorks) {
  const FaissInfo info = faiss_info();
  EXPECT_TRUE(info.self_test_passed);
  EXPECT_EQ(std::count(info.header_version.begin(), info.header_version.end(), '.'), 2);
}

TEST_F(Faiss, ApproximateKindsComeInKeyOrderWithExactScores) {
  constexpr std::uint32_t kDepth = 20;
  struct Kind {
    const char* index;
    std::uint32_t nprobe, ef_search;
    double least_recall;
  };
  constexpr Kind kKinds[] = {{"IVF32,Flat", 8, 0, 0.5},
                             {"IVF32,Flat", 32, 0, 1.0},
                             {"IVF32,SQfp16", 8, 0, 0.5},
                             {"HNSW16,Flat", 0, 200, 0.8},
                             {"IVF32,Flat", 0, 0, 0.1}};
  for (const Metric metric : kMetrics) {
    const Tables t = make_tables(Data::kGaussian, metric, 4000, 30, 16, 12);
    const Ranking truth = brute_force(t);
    for (const Kind& kind : kKinds) {
      FaissOptions options;
      options.nprobe = kind.nprobe;
      options.ef_search = kind.ef_search;
      const auto retriever = make(kind.index, t, options);
      EXPECT_FALSE(retriever->exact());
      const Found f = search(*retriever, 2, t, kDepth, 11);
      for (std::uint32_t q = 0; q < t.num_queries; ++q) {
        EXPECT_EQ(f.certified[q], 0);
        EXPECT_EQ(f.complete[q], f.count[q] < kDepth ? 1 : 0);
        for (std::uint32_t j = 0; j < f.count[q]; ++j) {
          const std::size_t at = std::size_t{q} * kDepth + j;
          const float score = naive_score(metric, &t.queries[std::size_t{q} * t.dim],
                                          &t.items[std::size_t{f.items[at]} * t.dim], t.dim);
          ASSERT_EQ(bits_of_float(f.scores[at]), bits_of_float(score));
          if (j > 0) {
            ASSERT_LT(score_key(score, f.items[at]), score_key(f.scores[at - 1], f.items[at - 1]));
          }
        }
      }
      const double r = recall(truth, f, kDepth);
      std::printf("%-32s %-6s recall@%u %.3f\n", retriever->description().c_str(), name_of(metric),
                  kDepth, r);
      EXPECT_GE(r, kind.least_recall);
      EXPECT_GT(retriever->memory_bytes(), std::uint64_t{4000} * 16 * 2);
    }
  }
}

TEST_F(Faiss, FewerThanAskedForMeansComplete) {
  // One list of many: only its members are reached.
  const Tables t = make_tables(Data::kGaussian, Metric::kL2, 1000, 5, 8, 2);
  FaissOptions options;
  options.nprobe = 1;
  const auto retriever = make("IVF16,Flat", t, options);
  const Found f = search(*retriever, 1, t, 900, 5);
  for (std::uint32_t q = 0; q < t.num_queries; ++q) {
    EXPECT_GT(f.count[q], 0u);
    EXPECT_LT(f.count[q], 900u);
    EXPECT_EQ(f.complete[q], 1);
  }
}

TEST_F(Faiss, AGraphIsBuiltAndSearchedTheSameWayEveryTime) {
  const Tables t = make_tables(Data::kGaussian, Metric::kInnerProduct, 3000, 50, 16, 4);
  for (const char* kind : {"HNSW16,Flat", "IVF16_HNSW8,Flat"}) {
    FaissOptions options;
    options.first_depth = 40;
    options.max_depth = 1000;
    options.cache = path("first");
    const auto first = make(kind, t, options);  // two threads
    options.cache = path("second");
    const auto second = make(kind, t, options);
    EXPECT_EQ(bytes_of(path("first")), bytes_of(path("second"))) << kind << ": another graph";
    const Found one = search(*first, 2, t, 40, 50);
    // A miner that had to go deeper before, in tiles of another size.
    search(*second, 2, t, 160, 7);
    search(*second, 2, t, 640, 7);
    const Found other = search(*second, 1, t, 40, 7);
    EXPECT_EQ(one.items, other.items) << kind;
    EXPECT_EQ(one.scores, other.scores) << kind;
    EXPECT_EQ(one.complete, other.complete) << kind;
    std::filesystem::remove(path("first"));
    std::filesystem::remove(path("second"));
  }
}

TEST_F(Faiss, ABuildEndsWhenItIsAskedTo) {
  const Tables t = make_tables(Data::kGaussian, Metric::kInnerProduct, 4000, 1, 16, 21);
  FaissOptions options;
  options.index = "IVF64,Flat";
  int asked = 0, most = 1 << 30;
  options.interrupted = [&] { return ++asked > most; };
  EXPECT_NO_THROW(make_faiss_retriever({}, t.view(), options));
  ASSERT_GT(asked, 2);  // between the steps of k-means
  for (most = 0; most < 3; ++most) {
    asked = 0;
    EXPECT_THROW(make_faiss_retriever({}, t.view(), options), Cancelled) << most;
    EXPECT_EQ(asked, most + 1);  // nothing goes on behind it
  }
  options.interrupted = nullptr;  // the next one is asked nothing
  asked = 0;
  EXPECT_NO_THROW(make_faiss_retriever({}, t.view(), options));
  EXPECT_EQ(asked, 0);
}

TEST_F(Faiss, ADeeperSearchOfAGraphGoesOnWhereTheFirstEnded) {
  const Tables t = make_tables(Data::kDuplicates, Metric::kInnerProduct, 3000, 20, 16, 4);
  FaissOptions options;
  options.first_depth = 50;
  const auto retriever = make("HNSW16,Flat", t, options);
  EXPECT_NE(retriever->description().find("ef_search=200"), std::string::npos);
  const Found deep = search(*retriever, 2, t, 1000, 20);
  const Found shallow = search(*retriever, 2, t, 50, 20);
  for (std::uint32_t q = 0; q < t.num_queries; ++q) {
    EXPECT_LE(deep.count[q], 200u);
    EXPECT_EQ(deep.complete[q], 1) << "as many as a graph gives";
    ASSERT_EQ(shallow.count[q], 50u);
    EXPECT_EQ(shallow.complete[q], 0);
    for (std::size_t j = 0; j < 50; ++j)
      ASSERT_EQ(shallow.items[std::size_t{q} * 50 + j], deep.items[std::size_t{q} * 1000 + j]);
  }
}

TEST_F(Faiss, WidthOfAGraphComesFromTheRecipeNotFromTheSearch) {
  const Tables t = make_tables(Data::kGaussian, Metric::kInnerProduct, 300, 2, 8, 1);
  struct Width {
    std::uint32_t ef_search, first_depth, max_depth;
    const char* said;
  };
  for (const Width& w : {Width{0, 0, 0, "ef_search=256"}, Width{0, 10, 0, "ef_search=64"},
                         Width{0, 100, 150, "ef_search=150"}, Width{0, 100, 9000, "ef_search=400"},
                         Width{30, 0, 0, "ef_search=30"}, Width{30, 100, 0, "ef_search=100"}}) {
    FaissOptions options;
    options.ef_search = w.ef_search;
    options.first_depth = w.first_depth;
    options.max_depth = w.max_depth;
    const std::string said = make("HNSW8,Flat", t, options)->description();
    EXPECT_NE(said.find(std::string(w.said) + " "), std::string::npos) << said;
  }
}

TEST_F(Faiss, UnknownAndImpossibleIndexesAreNamed) {
  const Tables t = make_tables(Data::kGaussian, Metric::kInnerProduct, 50, 2, 8, 1);
  for (const char* kind : {"Flatt", "IVF,Flat", "nothing", "IVF4,", "", "IVF4000,Flat"}) {
    try {
      make(kind, t);
      ADD_FAILURE() << kind << " was accepted";
    } catch (const ConfigError& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find(kind), std::string::npos) << text;
      EXPECT_NE(text.find("Flat"), std::string::npos) << text;
    }
  }
}

void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

TEST_F(Faiss, CacheRoundTripGivesTheSameAnswers) {
  const Tables t = make_tables(Data::kGaussian, Metric::kCosine, 2000, 20, 16, 6);
  for (const char* kind : {"IVF16,Flat", "HNSW16,Flat", "Flat"}) {
    FaissOptions options;
    options.cache = path("index");
    const auto built = make(kind, t, options);
    const std::string bytes = bytes_of(options.cache);
    ASSERT_GT(bytes.size(), 512u);
    const auto loaded = make(kind, t, options);
    EXPECT_EQ(bytes_of(options.cache), bytes) << "a fresh cache is read, not rewritten";
    const Found a = search(*built, 1, t, 30, 20);
    const Found b = search(*loaded, 2, t, 30, 9);
    EXPECT_EQ(a.items, b.items);
    EXPECT_EQ(a.count, b.count);
    EXPECT_EQ(built->description(), loaded->description());
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_),
                          std::filesystem::directory_iterator()),
            1)
      << "nothing is left aside";
}

TEST_F(Faiss, StaleCacheIsRebuilt) {
  Tables t = make_tables(Data::kGaussian, Metric::kInnerProduct, 500, 10, 8, 6);
  FaissOptions options;
  options.cache = path("index");
  EXPECT_EQ(make("IVF8,Flat", t, options)->notice(), "");
  const std::string before = bytes_of(options.cache);
  // What is replaced is named.
  const auto notice = [&](const char* kind) { return make(kind, t, options)->notice(); };
  options.seed = 2;
  EXPECT_NE(notice("IVF8,Flat").find(options.cache + " held an index with the seed 1, so"),
            std::string::npos);
  const std::string other_seed = bytes_of(options.cache);
  EXPECT_NE(other_seed, before);
  t.items[77] += 1.0f;  // one changed number in the table
  EXPECT_NE(notice("IVF8,Flat").find("other embeddings"), std::string::npos);
  EXPECT_NE(bytes_of(options.cache), other_seed);
  EXPECT_NE(notice("IVF4,Flat").find("the index string 'IVF8,Flat'"), std::string::npos);
  FaissOptions all = options;
  all.nprobe = 4;
  const auto retriever = make("IVF4,Flat", t, all);
  EXPECT_EQ(retriever->notice(), "") << "loaded";
  const Found f = search(*retriever, 1, t, 10, 10);
  EXPECT_DOUBLE_EQ(recall(brute_force(t), f, 10), 1.0) << "the index holds the changed table";
}

TEST_F(Faiss, TheCacheIsWrittenIntoAFileOfItsOwn) {
  const Tables t = make_tables(Data::kGaussian, Metric::kInnerProduct, 60, 2, 4, 6);
  FaissOptions options;
  options.cache = path("index");
  // A link where the file is made aside must not lead the bytes elsewhere.
  write_bytes(path("other"), "precious");
  const std::string aside = options.cache + ".tmp-" + std::to_string(::getpid());
  std::filesystem::create_symlink(path("other"), aside);
  make("IVF2,Flat", t, options);
  EXPECT_EQ(bytes_of(path("other")), "precious");
  EXPECT_TRUE(std::filesystem::is_symlink(aside));
  EXPECT_EQ(std::filesystem::status(options.cache).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  // A disk that is full half-way leaves nothing, and what was there stays.
  const std::string before = bytes_of(options.cache);
  const auto former = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small = {600, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THROW(make("IVF3,Flat", t, options), IoError);
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, former);
  EXPECT_EQ(bytes_of(options.cache), before);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_),
                          std::filesystem::directory_iterator()),
            3);
}

TEST_F(Faiss, EveryDamageOfTheCacheIsAnInputError) {
  const Tables t = make_tables(Data::kGaussian, Metric::kInnerProduct, 60, 2, 4, 6);
  FaissOptions options;
  options.cache = path("index");
  make("IVF2,Flat", t, options);
  const std::string good = bytes_of(options.cache);
  const auto expect_damaged = [&](const std::string& bytes, const std::string& what) {
    write_bytes(options.cache, bytes);
    try {
      make("IVF2,Flat", t, options);
      ADD_FAILURE() << what << " was not noticed";
    } catch (const InputError& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find(options.cache), std::string::npos) << text;
      // A file without our name at its beginning may be anything: nobody is told to delete it.
      const bool ours = bytes.compare(0, 8, good, 0, 8) == 0;
      EXPECT_NE(text.find(ours ? "delete the file" : "name another file"), std::string::npos)
          << text;
    }
  };
  for (std::size_t at = 0; at < good.size(); at += at < 512 ? 1 : 5) {  // 512: the envelope
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
    expect_damaged(bytes, "a flipped bit at byte " + std::to_string(at));
  }
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{7}, std::size_t{511}, std::size_t{512}, good.size() - 1}) {
    expect_damaged(good.substr(0, length), "truncation to " + std::to_string(length));
  }
  expect_damaged(good + "x", "a trailing byte");
  write_bytes(options.cache, good);
  EXPECT_NO_THROW(make("IVF2,Flat", t, options));
  options.cache = path("no_such_folder/index");
  EXPECT_THROW(make("IVF2,Flat", t, options), IoError);
}

}  // namespace
}  // namespace quarry
