// The quarry program and its retrievers: index strings, what auto chooses, what an approximate one
// loses.
#include <nlohmann/json.hpp>

#include "host/store/negative_set.h"
#include "index/retriever.h"
#include "tests/support/cli.h"

namespace quarry {
namespace {

using namespace test;
using Json = nlohmann::ordered_json;

TEST_F(CliTest, IndexStringsAreCheckedBeforeAnythingIsRead) {
  write_file("events.csv", "not a table");
  expect(mine_args("set", {"--retriever", "IVF,bad"}), 2, "--retriever");
}

/// Negatives of `whole`'s rows, and how many of them `part` has in the same row.
std::pair<std::uint64_t, std::uint64_t> shared_negatives(const std::string& part,
                                                         const std::string& whole) {
  const NegativeSet a = NegativeSet::open(part, false);
  const NegativeSet b = NegativeSet::open(whole, false);
  std::uint64_t wanted = 0, found = 0;
  for (std::uint64_t r = 0; r < b.rows(); ++r) {
    const NegativeSet::Row x = a.row(r), y = b.row(r);
    wanted += y.count;
    for (std::uint32_t j = 0; j < y.count; ++j)
      found += std::find(x.item, x.item + x.count, y.item[j]) != x.item + x.count ? 1 : 0;
  }
  return {wanted, found};
}

TEST_F(CliTest, AnApproximateIndexSaysWhatItLoses) {
  if (!faiss_info().present) GTEST_SKIP() << "this build has no FAISS";
  const Args ivf = {"--retriever", "IVF12,Flat", "--nprobe", "1"};
  const auto with = [&](const Args& more) {
    Args all = ivf;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  ASSERT_EQ(run(mine_args("exact")).code, 0);
  const Result mined = run(mine_args("ivf", with({"--json"})));
  ASSERT_EQ(mined.code, 0) << mined.err;
  const Json facts = Json::parse(mined.out)["run"];
  EXPECT_EQ(facts["search"]["promise"], "same_index");
  const Json& recall = facts["recall"];
  EXPECT_EQ(recall["rows"], 2 * kUsers);  // fewer than 256: all
  EXPECT_EQ(recall["depth"], 20);         // the pool of the topk branch
  EXPECT_EQ(recall["candidates"]["wanted"], 2 * kUsers * 20);
  const auto [wanted, found] = shared_negatives(path("ivf"), path("exact"));
  EXPECT_EQ(recall["negatives"]["wanted"], wanted);
  EXPECT_EQ(recall["negatives"]["found"], found);
  EXPECT_LT(found, wanted);
  EXPECT_LE(recall["negatives"]["low"], recall["negatives"]["share"]);
  EXPECT_GE(recall["negatives"]["high"], recall["negatives"]["share"]);
  EXPECT_GT(recall["share_of_time"], 0.0);
  // All is wanted where nothing else is said; people are told at once and later.
  EXPECT_NE(mined.err.find("warning: --recall is 1, but on 80 sample rows"), std::string::npos)
      << mined.err;
  EXPECT_EQ(facts["warnings"].size(), 1u);
  const std::string line = "recall: on 80 rows mined again exactly";
  EXPECT_NE(mined.err.find(line), std::string::npos) << mined.err;
  expect({"show", path("ivf")}, 0, line);
  EXPECT_EQ(Json::parse(run({"show", path("ivf"), "--json"}).out)["recall"], recall);
  // Enough, a sample, and none.
  const Result enough = run(mine_args("enough", with({"--recall", "0.001"})));
  EXPECT_EQ(enough.err.find("warning"), std::string::npos) << enough.err;
  const auto recall_of = [&](const std::string& set) {
    Json json = Json::parse(read_file(set + "/manifest.json"))["run"]["recall"];
    json.erase("seconds");
    json.erase("share_of_time");
    return json;
  };
  ASSERT_EQ(run(mine_args("sample", with({"--recall-rows", "10"}))).code, 0);
  EXPECT_EQ(recall_of("sample")["rows"], 10);
  Args tiles =
      without(mine_args("tiles", with({"--recall-rows", "10", "--tile", "7"})), "--threads");
  tiles.insert(tiles.end(), {"--threads", "2"});
  ASSERT_EQ(run(tiles).code, 0);
  EXPECT_EQ(recall_of("tiles"), recall_of("sample"));
  const Result none = run(mine_args("none", with({"--recall-rows", "0"})));
  EXPECT_NE(none.err.find("recall: not measured (switched off"), std::string::npos) << none.err;
  EXPECT_EQ(recall_of("none")["rows"], 0);
  EXPECT_EQ(Json::parse(read_file("none/manifest.json"))["content_hash"],
            Json::parse(read_file("ivf/manifest.json"))["content_hash"]);
  // Before it is mined, and beside others.
  Args plan = without(mine_args("set", with({"--json"})), "--out");
  plan[0] = "plan";
  const Json planned = Json::parse(run(plan).out);
  EXPECT_EQ(planned["recall"]["negatives"], recall["negatives"]);
  EXPECT_GT(planned["seconds"]["build_index"], 0.0);
  Args bench = without(
      mine_args("set", {"--json", "--repetitions", "1", "--compare", "IVF12,Flat"}), "--out");
  bench[0] = "bench";
  const Result measured = run(bench);
  ASSERT_EQ(measured.code, 0) << measured.err;
  const Json ways = Json::parse(measured.out)["retrievers"];
  EXPECT_TRUE(ways[0]["recall"].is_null());
  EXPECT_EQ(ways[1]["recall"]["rows"], 2 * kUsers);
}

TEST_F(CliTest, ExactRetrievalNeedsNoRecall) {
  for (const Args& more : {Args{}, Args{"--retriever", "exact", "--recall", "0.5"},
                           Args{"--recall", "0.5"}, Args{"--recall-rows", "0"}}) {
    const Result r = run(mine_args("set", [&] {
      Args all = more;
      all.insert(all.end(), {"--json", "--overwrite"});
      return all;
    }()));
    ASSERT_EQ(r.code, 0) << r.err;
    const Json facts = Json::parse(r.out)["run"];
    EXPECT_TRUE(facts["recall"].is_null());
    EXPECT_EQ(facts["search"]["promise"], "cpu_gpu_identical");
    EXPECT_EQ(r.err.find("recall:"), std::string::npos) << r.err;
    EXPECT_EQ(r.err.find("warning"), std::string::npos) << r.err;
    fs::remove_all(path("set.old"));
  }
  EXPECT_EQ(run({"show", path("set")}).out.find("recall"), std::string::npos);
}

TEST_F(CliTest, FlagsOfAnIndexThatDoNothingAreWarnedOf) {
  const auto warnings = [&](const Args& more) {
    Args all = more;
    all.push_back("--overwrite");
    EXPECT_EQ(run(mine_args("set", all)).code, 0) << read_file("stderr");
    fs::remove_all(path("set.old"));
    const Json json = Json::parse(read_file("set/manifest.json"))["run"]["warnings"];
    for (const Json& text : json)
      EXPECT_NE(read_file("stderr").find("warning: " + text.get<std::string>()), std::string::npos);
    return json;
  };
  const Args flags = {"--nprobe", "3", "--ef-search", "9", "--index-cache", path("index")};
  const auto with = [&](const Args& more) {
    Args all = flags;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  EXPECT_EQ(warnings(with({"--retriever", "exact"})).size(), 3u);
  const Json chosen = warnings(flags);
  ASSERT_EQ(chosen.size(), 3u) << chosen;
  EXPECT_NE(chosen[0].get<std::string>().find(
                "--nprobe has no effect: the retriever that auto chose is exact"),
            std::string::npos)
      << chosen;
  EXPECT_FALSE(fs::exists(path("index")));
  if (faiss_info().present) {
    const Json ivf = warnings(with({"--retriever", "IVF3,Flat"}));
    ASSERT_EQ(ivf.size(), 1u) << ivf;
    EXPECT_NE(ivf[0].get<std::string>().find("--ef-search has no effect"), std::string::npos);
    ASSERT_EQ(run(mine_args("first", {"--retriever", "IVF3,Flat", "--nprobe", "3", "--index-cache",
                                      path("index")}))
                  .code,
              0);
    // The index of one run in the file of another: replaced, and said.
    const Json other =
        warnings({"--retriever", "IVF2,Flat", "--nprobe", "2", "--index-cache", path("index")});
    ASSERT_EQ(other.size(), 1u) << other;
    EXPECT_NE(
        other[0].get<std::string>().find("held an index with the index string 'IVF3,Flat', so"),
        std::string::npos)
        << other;
    // A look at the first set changes no file, and makes none.
    const Args look = {"explain", path("first"), "--row", "0", "--item", "1"};
    const std::string bytes = read_file("index");
    expect(look, 0, "exact score");
    EXPECT_EQ(read_file("index"), bytes);
    fs::remove(path("index"));
    expect(look, 0, "exact score");
    EXPECT_FALSE(fs::exists(path("index")));
    Args named = look;
    named.insert(named.end(), {"--index-cache", path("index")});
    expect(named, 5, "index: cannot be opened");
  }
  write_file("recipe.toml",
             "name = \"r\"\nk = 2\n[exposure]\npositive = [\"like\"]\naversion = "
             "[\"dislike\"]\n[safety]\nfilters = [\"positives\"]\n[[branch]]\nname = "
             "\"random\"\nsource = \"uniform\"\n");
  const Json none = warnings(flags);
  ASSERT_EQ(none.size(), 3u) << none;
  EXPECT_NE(none[0].get<std::string>().find("no branch of the recipe searches"), std::string::npos);
  // Nothing was chosen, so no line says what.
  EXPECT_EQ(read_file("stderr").find("chosen:"), std::string::npos) << read_file("stderr");
}

TEST_F(CliTest, WhatAutoChoseIsSaidAndKept) {
  const Result mined = run(mine_args("set", {"--json", "--recall", "0.9"}));
  ASSERT_EQ(mined.code, 0) << mined.err;
  Json manifest = Json::parse(read_file("set/manifest.json"));
  const Json& choice = manifest["run"]["search"]["choice"];
  EXPECT_EQ(choice["retriever"], "exact");
  EXPECT_GT(choice["estimate"]["rows_per_second"], 0.0);
  const auto rule = choice["rule"].get<std::string>();
  EXPECT_NE(mined.err.find("chosen: " + rule), std::string::npos) << mined.err;
  Args plan = without(mine_args("set", {"--recall", "0.9"}), "--out");
  plan[0] = "plan";
  expect(plan, 0, "chosen, because        " + rule);
  expect(plan, 0, "building the index");
  plan.push_back("--json");
  EXPECT_EQ(Json::parse(run(plan).out)["retriever_choice"], choice);
  // Named, nothing is chosen.
  Args named = mine_args("named", {"--retriever", "exact"});
  const Result exact = run(named);
  EXPECT_EQ(exact.err.find("chosen"), std::string::npos) << exact.err;
  // What was chosen then counts, not what would be now.
  expect({"explain", path("set"), "--row", "0", "--item", "1"}, 0, "row 0");
  manifest["run"]["search"]["choice"]["retriever"] = "IVF,bad";
  write_file("set/manifest.json", manifest.dump());
  expect({"explain", path("set"), "--row", "0", "--item", "1"}, 2, "IVF,bad");
  expect({"explain", path("set"), "--row", "0", "--item", "1", "--retriever", "exact"}, 0, "row 0");
  for (const Json& other : {Json(7), Json::array(), Json({{"retriever", 7}})}) {
    manifest["run"]["search"]["choice"] = other;
    write_file("set/manifest.json", manifest.dump());
    const Result r = run({"explain", path("set"), "--row", "0", "--item", "1"});
    EXPECT_EQ(r.code, other.is_object() ? 3 : 0) << other.dump() << r.err;
  }
  const Json options = manifest["run"]["options"];
  manifest["run"]["options"] = 7;
  write_file("set/manifest.json", manifest.dump());
  expect({"explain", path("set"), "--row", "0", "--item", "1"}, 3, "not an object");
  manifest["run"]["options"] = options;
  manifest["run"]["search"]["choice"] = nullptr;
  // What a damaged manifest says of recall is not believed, nor a reason to fail.
  for (const Json& other : {Json(7), Json({{"rows", -3}}), Json({{"rows", 3}, {"depth", "x"}}),
                            Json({{"rows", 0}, {"why", "\x1b[2J"}})}) {
    manifest["run"]["recall"] = other;
    write_file("set/manifest.json", manifest.dump());
    const Result r = run({"show", path("set")});
    EXPECT_EQ(r.code, 0) << other.dump() << r.err;
    EXPECT_EQ(r.out.find('\x1b'), std::string::npos);
  }
}

}  // namespace
}  // namespace quarry
