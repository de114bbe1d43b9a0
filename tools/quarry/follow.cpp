// Waiting for what a version is refreshed by.
#include "tools/quarry/follow.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <thread>

#include "kernels/core/errors.h"

namespace quarry {
namespace {

constexpr double kLeastEvery = 0.05;
constexpr double kMostEvery = 86400;

FileIdentity identity_or_none(const std::string& path) {
  try {
    return identity_of(path);
  } catch (const IoError&) {  // files may come and go between two looks
    return {};
  }
}

}  // namespace

void add_follow_options(CLI::App& verb, FollowOptions& options) {
  verb.add_option("--follow", options.folder,
                  "folder of event logs: go on until stopped, with a version for what appears in "
                  "it and for inputs that are replaced");
  verb.add_option("--every", options.every, "with --follow: seconds between two looks")
      ->capture_default_str();
}

void check_follow_options(const CLI::App& verb, const FollowOptions& options) {
  if (verb.count("--follow") == 0) {
    if (verb.count("--every") > 0) throw ConfigError("--every says how often --follow looks");
    return;
  }
  if (!(options.every >= kLeastEvery && options.every <= kMostEvery)) {
    throw ConfigError(fmt::format("--every: {} is no interval; allowed are {} to {} seconds",
                                  options.every, kLeastEvery, kMostEvery));
  }
  for (const char* other : {"--if-due", "--dry-run", "--mine-all", "--new-snapshot"}) {
    if (verb.count(other) > 0)
      throw ConfigError(
          fmt::format("--follow makes a version for all that is new; {} is for one "
                      "refresh",
                      other));
  }
  std::error_code error;
  if (!std::filesystem::is_directory(options.folder, error)) {
    throw IoError(fmt::format("{}: is no folder; --follow takes the one in which event logs appear",
                              options.folder));
  }
}

Follower::Follower(const FollowOptions& options, const std::atomic<bool>& stop)
    : folder_(std::filesystem::absolute(options.folder).lexically_normal().string()),
      every_(options.every),
      stop_(stop) {}

std::vector<std::string> Follower::logs() const {
  std::vector<std::string> logs;
  std::error_code error;
  for (auto entry = std::filesystem::directory_iterator(folder_, error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::filesystem::path& path = entry->path();
    const std::string ending = path.extension().string();
    if (path.filename().string().front() == '.' || (ending != ".csv" && ending != ".tsv")) continue;
    std::error_code unreadable;
    if (entry->is_regular_file(unreadable)) logs.push_back(path.string());
  }
  if (error) {
    throw IoError(fmt::format("{}: cannot be listed: {}", folder_, error.message()));
  }
  std::sort(logs.begin(), logs.end());
  return logs;
}

void Follower::have_read(const std::vector<InputFile>& files) {
  known_.clear();
  for (const InputFile& file : files) known_[file.path] = file.identity;
}

Follower::State Follower::look() const {
  State now;
  for (const auto& [path, then] : known_) now[path] = identity_or_none(path);
  for (const std::string& log : logs()) now[log] = identity_or_none(log);
  return now;
}

bool Follower::pause() const {
  const auto end = std::chrono::steady_clock::now() + every_;
  while (!stop_.load() && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::min<std::chrono::duration<double>>(
        std::chrono::milliseconds(50), end - std::chrono::steady_clock::now()));
  return !stop_.load();
}

bool Follower::wait(std::uint32_t most_looks) {
  State last = look();
  for (std::uint32_t looks = 1; pause(); ++looks) {
    State now = look();
    const bool settled = now == last;
    if (settled && now != known_) {
      known_ = std::move(now);
      return true;
    }
    if (looks == most_looks) return true;
    last = std::move(now);
  }
  return false;
}

}  // namespace quarry
