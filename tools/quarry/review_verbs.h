// What quarry review and quarry feedback share: the log of events that they write.
#pragma once

#include <string>
#include <vector>

#include "host/feedback/event_log.h"
#include "tools/quarry/named_set.h"

namespace CLI {
class App;
}

namespace quarry {

struct Context;

void add_review_export(CLI::App& review, Context& context);
void add_review_import(CLI::App& review, Context& context);
void add_feedback_users(CLI::App& feedback, Context& context);

/// Throws ConfigError unless the name ends with .csv or .tsv.
char table_separator(const std::string& path, const char* flag);

/// What stands at `path` and beside it may be replaced by a verb whose sidecars are of `format`:
/// nothing, or what that verb wrote and nobody changed since. Throws IoError as
/// check_export_target() does and where that is not so; ConfigError where it is one of `inputs`.
void check_replaced(const std::string& path, bool overwrite, const std::string& format,
                    const std::vector<std::string>& inputs);
/// The files that ids, titles and events of a set are read from.
std::vector<std::string> files_of(const NamedSet& named);

/// The recipe that the next refresh will use: `path`, or the set's own.
Recipe next_recipe(const NamedSet& named, const std::string& path);

/// Of events, as of the set or the latest of them, whichever is later.
std::vector<PairClass> pair_classes_of(const NamedSet& named, const Recipe& recipe,
                                       const std::vector<FeedbackEvent>& events);

/// "a.csv:3, a.csv:9, ... (12 in all)".
std::string places_of(const std::vector<FeedbackEvent>& events,
                      const std::vector<std::size_t>& which);

/// A log with the columns of the set's own, whole or not there; the text of the sidecar is an
/// object to which the file is added. Returns the XXH3-128 of the log.
std::string write_event_log(const NamedSet& named, const std::vector<FeedbackEvent>& events,
                            const std::string& path, bool overwrite, const std::string& sidecar);

/// Of files, as `name`, `bytes` and `xxh3_128`: a JSON array.
std::string files_json(const std::vector<std::string>& paths);

/// What to type next; "" where there is no event.
std::string next_words(const NamedSet& named, const std::vector<FeedbackEvent>& events,
                       const std::string& log, const std::string& recipe);

}  // namespace quarry
