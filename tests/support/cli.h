// The program `quarry` as a child process with small inputs in a folder of its own.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "host/data/embeddings.h"

namespace quarry::test {

namespace fs = std::filesystem;
using Args = std::vector<std::string>;

struct Result {
  int code = -1;
  std::string out, err;
};

class CliTest : public ::testing::Test {
 protected:
  static constexpr std::uint32_t kUsers = 40, kItems = 120, kDim = 8;

  void SetUp() override {
    const char* program = std::getenv("QUARRY_PROGRAM");
    program_ = program != nullptr ? program : std::string(QUARRY_BINARY_DIR) + "/quarry";
    ASSERT_TRUE(fs::exists(program_))
        << program_ << " is not built; QUARRY_PROGRAM names the program";
    std::string pattern = (fs::temp_directory_path() / "quarry-cli-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    write_data(kUsers);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  void write_file(const std::string& name, const std::string& text) const {
    std::ofstream(path(name)) << text;
  }

  std::string read_file(const std::string& name) const {
    std::ifstream file(path(name));
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  /// Vectors that differ in every element, three events per user, titles and a seller per item.
  void write_data(std::uint32_t users) {
    const auto table = [](std::uint32_t rows, float phase) {
      std::vector<float> data(std::size_t{rows} * kDim);
      for (std::size_t i = 0; i < data.size(); ++i)
        data[i] = std::sin(phase + 0.7f * static_cast<float>(i));
      return data;
    };
    write_npy(path("items.npy"), table(kItems, 0.1f).data(), kItems, kDim);
    write_npy(path("users.npy"), table(users, 0.4f).data(), users, kDim);
    std::string events = "user,item,time,kind,value\n";
    for (std::uint32_t u = 0; u < users; ++u) {
      for (std::uint32_t j = 0; j < 3; ++j) {
        events += std::to_string(u) + "," + std::to_string((u * 7 + j * 31) % kItems) + "," +
                  std::to_string(1000 + u * 10 + j) + "," + (j == 2 ? "dislike" : "like") + ",\n";
      }
    }
    write_file("events.csv", events);
    std::string catalogue = "item,title,seller\n";
    for (std::uint32_t i = 0; i < kItems; ++i) {
      catalogue += std::to_string(i) + ",\"Film no. " + std::to_string(i) + "\",S" +
                   std::to_string(i % 9) + "\n";
    }
    write_file("catalogue.csv", catalogue);
    write_file("recipe.toml", R"(name = "small"
k = 5
metric = "ip"
[exposure]
positive = ["like"]
aversion = ["dislike"]
[safety]
filters = [{ kind = "positives" }, { kind = "group", column = "seller" }]
[[branch]]
name = "hard"
share = 0.6
source = { kind = "topk", pool = 20, max_rank = 100 }
filters = [{ kind = "exposed", classes = ["aversion"] }]
select = { kind = "sample", weight = { kind = "softmax", tau = 0.5 } }
[[branch]]
name = "random"
share = 0.4
source = { kind = "uniform" }
)");
  }

  Args mine_args(const std::string& out, const Args& more = {}) const {
    Args args = {"mine",
                 "--items",
                 path("items.npy"),
                 "--users",
                 path("users.npy"),
                 "--events",
                 path("events.csv"),
                 "--catalogue",
                 path("catalogue.csv"),
                 "--recipe",
                 path("recipe.toml"),
                 "--threads",
                 "1",
                 "--out",
                 path(out)};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  /// The same command without one flag and its value.
  static Args without(Args args, const std::string& flag) {
    const auto at = std::find(args.begin(), args.end(), flag);
    if (at != args.end()) args.erase(at, at + 2);
    return args;
  }

  pid_t start(const Args& args, const char* stdout_path = nullptr) const {
    const pid_t child = ::fork();
    if (child != 0) return child;
    std::vector<char*> argv = {const_cast<char*>(program_.c_str())};
    for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
    argv.push_back(nullptr);
    const int out = stdout_path != nullptr
                        ? ::open(stdout_path, O_WRONLY)
                        : ::open(path("stdout").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int err = ::open(path("stderr").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(out, 1);
    ::dup2(err, 2);
    ::execv(program_.c_str(), argv.data());
    ::_exit(127);
  }

  Result finish(pid_t child) const {
    int status = 0;
    Result result;
    if (::waitpid(child, &status, 0) == child && WIFEXITED(status))
      result.code = WEXITSTATUS(status);
    result.out = read_file("stdout");
    result.err = read_file("stderr");
    return result;
  }

  Result run(const Args& args) const { return finish(start(args)); }

  void expect(const Args& args, int code, const std::string& words) const {
    const Result r = run(args);
    EXPECT_EQ(r.code, code) << r.err << r.out;
    EXPECT_NE((r.err + r.out).find(words), std::string::npos)
        << "'" << words << "' is not in: " << r.err << r.out;
  }

  /// Names in the folder that begin like an unfinished set.
  int partial_folders() const {
    int count = 0;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      if (entry.path().filename().string().find(".partial-") != std::string::npos) ++count;
    }
    return count;
  }

  std::string program_;
  fs::path folder_;
};

}  // namespace quarry::test
