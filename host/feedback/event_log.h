// Events that verdicts and wishes become: a log that quarry refresh --more-events takes, and what
// pairs are once it is read after those that a set was mined from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/data/tables.h"
#include "host/feedback/kind_use.h"

namespace quarry {

struct FeedbackEvent {
  std::uint32_t user = 0, item = 0;
  std::int64_t time = 0;
  std::string kind;
  std::string where;  ///< "file:line" that it comes from
};

/// One event a user, item and kind: the latest. By user, item, kind.
std::vector<FeedbackEvent> without_repeats(std::vector<FeedbackEvent> events);

/// Columns of the log, named as in the logs beside which it is read; no event has a value.
std::vector<std::string> event_header(const EventColumns& columns);

/// Throws ConfigError where the run gave every event one kind (--event-kind), so that a log with
/// kinds cannot be read beside its own.
void check_kinds_are_read(const EventColumns& columns);

/// What the pair of an event is in the end.
struct PairClass {
  /// Nothing: the exposure is forgotten (outside the window of [exposure]).
  std::optional<ExposureClass> exposure_class;
  std::int64_t age = 0;  ///< seconds from the pair's last event to as-of
  /// Whether no branch may pick the item for the user.
  bool kept_out = false;
};
struct LogContext {
  const std::vector<std::string>& logs;  ///< read before; may be empty
  const EventColumns& columns;
  const IdMap& users;
  const IdMap& items;
  UnknownIds unknown = UnknownIds::kReject;
  std::int64_t as_of = 0;  ///< at least that of the set
};
/// Of each event, as the recipe classes all events of its pair at as-of.
std::vector<PairClass> pair_classes(const std::vector<FeedbackEvent>& events,
                                    const LogContext& context, const Recipe& recipe,
                                    const Exec& exec);

}  // namespace quarry
