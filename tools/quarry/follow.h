// Waiting for what a version is refreshed by: files that it was mined from, and logs that appear in
// a folder.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "tools/quarry/file_identity.h"
#include "tools/quarry/load_inputs.h"

namespace CLI {
class App;
}

namespace quarry {

struct FollowOptions {
  std::string folder;  ///< "": not asked for
  double every = 5;    ///< seconds between two looks
};
/// --follow, --every.
void add_follow_options(CLI::App& verb, FollowOptions& options);
/// Throws ConfigError for an interval that is none, IoError where there is no such folder.
void check_follow_options(const CLI::App& verb, const FollowOptions& options);

class Follower {
 public:
  /// stop is borrowed.
  Follower(const FollowOptions& options, const std::atomic<bool>& stop);
  /// Event logs of the folder, ascending by name: files that end in .csv or .tsv and do not begin
  /// with a dot, so that one may be written under another name and renamed when it is whole.
  std::vector<std::string> logs() const;
  /// What was read last, as it was then.
  void have_read(const std::vector<InputFile>& files);
  /// Returns when something is not as it was read, or tried before, and was left alone for an
  /// interval; or after so many intervals, if that is not 0. False: it is to stop.
  bool wait(std::uint32_t most_looks);

 private:
  bool pause() const;  ///< an interval; false: it is to stop
  /// Of no file at all where there is none.
  using State = std::map<std::string, FileIdentity>;
  State look() const;

  std::string folder_;
  std::chrono::duration<double> every_;
  const std::atomic<bool>& stop_;
  State known_;
};

}  // namespace quarry
