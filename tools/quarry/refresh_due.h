// Whether a refresh is due: what a scheduler asks each time that it calls.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/mine/vector_drift.h"

namespace CLI {
class App;
}

namespace quarry {

struct DueOptions {
  bool asked = false;
  std::string after;         ///< age of the version gone on from: "1d"
  std::uint64_t events = 0;  ///< new ones; 0: not asked
  std::uint64_t items = 0;   ///< changed or new
  double drift = 0;          ///< overlap of nearest items at or below this
};
/// --if-due, --due-after, --due-events, --due-items, --due-drift.
void add_due_options(CLI::App& verb, DueOptions& options);
/// Throws ConfigError where --if-due names nothing to reach, or the others are given without it.
void check_due_options(const DueOptions& options);

/// What happened since a version was made.
struct SinceVersion {
  std::int64_t seconds = 0;
  std::uint64_t events = 0;
  std::uint64_t items = 0;
  std::optional<VectorDrift> drift;  ///< nothing: the vectors are the same, or those then are gone
  bool vectors_gone = false;         ///< they changed, and those of the version are not to be had
};
/// A sentence for each limit that is reached.
std::vector<std::string> due_reasons(const DueOptions& options, const SinceVersion& since);
/// A sentence on how far each limit that was asked for is.
std::string not_due_words(const DueOptions& options, const SinceVersion& since);

}  // namespace quarry
