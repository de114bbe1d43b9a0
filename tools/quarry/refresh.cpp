// quarry refresh: the next version of a store, of which only rows are mined that what happened
// since can have changed.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/data/table.h"
#include "host/store/digest.h"
#include "host/store/set_lock.h"
#include "host/store/version_basis.h"
#include "kernels/core/errors.h"
#include "tools/quarry/audit_run.h"
#include "tools/quarry/config_file.h"
#include "tools/quarry/file_identity.h"
#include "tools/quarry/follow.h"
#include "tools/quarry/mine_into_store.h"
#include "tools/quarry/next_version.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/recorded_run.h"
#include "tools/quarry/refresh_due.h"
#include "tools/quarry/run_report.h"
#include "tools/quarry/set_place.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

/// Below this share of equal nearest items it is said to be worth mining again: a rule of thumb.
constexpr double kWorthRefreshing = 0.7;

struct RefreshArgs : NextVersion {
  std::string parent_users;
  AuditWish audit;
  DueOptions due;
  FollowOptions follow;
  bool mine_all = false, dry_run = false, json = false;
};

Json parsed_manifest(const EarlierVersion& earlier) {
  return Json::parse(earlier.set().manifest_json());
}

void print_words(const Stored& stored, const MiningRun& run, bool dry_run) {
  const std::uint64_t rows = run.rows();
  if (!stored.obstacles.empty()) {
    fmt::print(stderr, "every row is mined:\n");
    for (const std::string& words : stored.obstacles) fmt::print(stderr, "  {}\n", words);
  }
  if (stored.items_changed + stored.items_added > 0) {
    fmt::print(stderr, "{} items changed, {} are new\n", words_of_count(stored.items_changed),
               words_of_count(stored.items_added));
  }
  fmt::print(
      stderr, "{} of {} rows {} ({:.2f} %), {} taken from version {}\n",
      words_of_count(stored.rows_mined), words_of_count(rows), dry_run ? "would be mined" : "mined",
      rows > 0 ? 100.0 * static_cast<double>(stored.rows_mined) / static_cast<double>(rows) : 0.0,
      words_of_count(stored.rows_taken), stored.taken_from);
}

Json json_of(const RefreshArgs& args, const Store& store, const Stored& stored,
             std::uint64_t rows) {
  return {{"store", store.path()},
          {"version", stored.version == 0 ? Json() : Json(stored.version)},
          {"dry_run", args.dry_run},
          {"was_there", stored.was_there},
          {"content_hash", stored.content_hash.empty() ? Json() : Json(stored.content_hash)},
          {"parent", stored.taken_from},
          {"rows", rows},
          {"rows_mined", stored.rows_mined},
          {"rows_taken", stored.rows_taken},
          {"items_changed", stored.items_changed},
          {"items_added", stored.items_added},
          {"obstacles", stored.obstacles}};
}

/// One refresh, from the lock to the words.
class Refresh {
 public:
  Refresh(const RefreshArgs& args, const CLI::App& verb, const Context& context)
      : args_(args),
        context_(context),
        store_(store_of(args)),
        lock_(store_.path()),
        earlier_(store_, version_of(args, store_)),
        options_(store_options_of(args, store_, earlier_)) {
    check_new_version(store_, args.tags);
    if (!may_be_due_by_age()) return;
    RunRequest request =
        request_of(args, verb, earlier_, fmt::format("{}@{}", store_.path(), earlier_.number()));
    run_.emplace(std::move(request), options_.rows_per_shard, store_.path(), context);
    const RunOptions& now = run_->request.options;
    items_ = embeddings_of(earlier_, "items", args.parent_items, *run_->inputs, now.items_tensor);
    users_ = embeddings_of(earlier_, "users", args.parent_users, *run_->inputs, now.users_tensor);
    since_.vectors_gone = !items_ || !users_;
    const Json before = parsed_manifest(earlier_).value("run", Json::object());
    const auto read = before.value("events", Json::object()).value("read", std::uint64_t{0});
    const std::uint64_t events = run_->inputs->exposure ? run_->inputs->exposure->events : 0;
    since_.events = events > read ? events - read : 0;
    for (std::string& words : other_logs_warnings(store_, earlier_, run_->request.options))
      run_->inputs->warnings.push_back(std::move(words));
    if (!args.mine_all) from_.version = &earlier_;
    if (items_) from_.items = items_->view();
  }

  /// Returns the version; 0: none was to be made.
  std::uint64_t make() {
    if (run_) measure_drift();
    if (args_.due.asked && !is_due()) return 0;
    if (std::string late = late_events_warning(args_, *run_->inputs); !late.empty())
      run_->inputs->warnings.push_back(std::move(late));
    stored_ = args_.dry_run ? plan_into_store(store_, options_, *run_, context_, from_)
                            : mine_into_store(store_, options_, *run_, context_, from_);
    say();
    print_json(args_.dry_run ? "planned" : "refreshed");
    return args_.dry_run ? 0 : stored_.version;
  }

  /// Null before an age that is not reached.
  const Inputs* inputs() const { return run_ ? run_->inputs.get() : nullptr; }
  bool was_there() const { return stored_.was_there; }

 private:
  /// False: only age was asked for, and it is not reached; nothing need be read.
  bool may_be_due_by_age() {
    since_.seconds = static_cast<std::int64_t>(std::time(nullptr)) -
                     parsed_manifest(earlier_).value("created", std::int64_t{0});
    const DueOptions& due = args_.due;
    const bool more = due.events > 0 || due.items > 0 || due.drift > 0;
    return !due.asked || more || !due_reasons(due, since_).empty();
  }

  bool is_due() {
    if (run_) {
      if (args_.due.items > 0) {
        EarlierRun from = from_;
        from.version = &earlier_;
        const Stored planned = plan_into_store(store_, options_, *run_, context_, from);
        since_.items = planned.items_changed + planned.items_added;
      }
    }
    const std::vector<std::string> reasons = due_reasons(args_.due, since_);
    for (const std::string& words : reasons) fmt::print(stderr, "due: {}\n", words);
    if (!reasons.empty()) return true;
    fmt::print(stderr, "{}\n", not_due_words(args_.due, since_));
    print_json("not due");
    return false;
  }

  /// Vectors of another model, or of the same one trained on: is a refresh worth it?
  void measure_drift() {
    const Inputs& now = *run_->inputs;
    const auto same = [](const MatrixView& a, const MatrixView& b) { return a.data == b.data; };
    if (!items_ || !users_) return;
    if (same(items_->view(), now.items.view()) && same(users_->view(), now.users.view())) return;
    since_.drift =
        measure_vector_drift(items_->view(), users_->view(), now.item_view, now.user_view,
                             run_->request.recipe.metric, run_->request.miner.exec);
    const VectorDrift& drift = *since_.drift;
    fmt::print(stderr,
               "vectors are new: of the {} nearest items of {} users {:.1f} % are the same "
               "(95 % interval {:.1f} to {:.1f} %){}; {}\n",
               drift.depth, drift.users, 100 * drift.overlap, 100 * drift.low, 100 * drift.high,
               drift.mean_cosine ? fmt::format(", an item's vectors have a mean cosine of {:.3f}",
                                               *drift.mean_cosine)
                                 : "",
               drift.overlap < kWorthRefreshing
                   ? "negatives mined then are no longer the near ones: a refresh is worth it"
                   : "few negatives will be others: a refresh changes little");
  }

  void say() {
    if (stored_.was_there) {
      fmt::print(stderr, "{}: nothing changed that version {} does not know; nothing was mined{}\n",
                 store_.path(), stored_.version,
                 args_.mine_all
                     ? " (to check that version, mine into another store with --snapshot)"
                     : "");
      return;
    }
    if (from_.version != nullptr) print_words(stored_, *run_, args_.dry_run);
    if (args_.dry_run) return;
    std::fputs(why_not_latest(store_, stored_.version).c_str(), stderr);
    std::fputs(run_to_words(run_->facts).c_str(), stderr);
    fmt::print(stderr, "wrote {} version {}  content hash {}\n", store_.path(), stored_.version,
               stored_.content_hash);
  }

  void print_json(const char* what) const {
    if (!args_.json) return;
    Json json = json_of(args_, store_, stored_, run_ ? run_->rows() : 0);
    json["what"] = what;
    json["parent"] = earlier_.number();
    json["since"] = {{"seconds", since_.seconds}, {"events", since_.events}};
    if (since_.drift) {
      const VectorDrift& drift = *since_.drift;
      json["drift"] = {{"users", drift.users},
                       {"depth", drift.depth},
                       {"overlap", drift.overlap},
                       {"low", drift.low},
                       {"high", drift.high},
                       {"mean_cosine", drift.mean_cosine ? Json(*drift.mean_cosine) : Json()}};
    }
    // A line each where there will be more.
    const int indent = args_.follow.folder.empty() ? 2 : -1;
    std::puts(json.dump(indent, ' ', false, Json::error_handler_t::replace).c_str());
    std::fflush(stdout);
  }

  const RefreshArgs& args_;
  const Context& context_;
  Store store_;
  StoreLock lock_;
  EarlierVersion earlier_;
  StoreOptions options_;
  std::optional<MiningRun> run_;
  std::optional<Embeddings> items_, users_;
  EarlierRun from_;
  SinceVersion since_;
  Stored stored_;
};

std::uint64_t refresh(const RefreshArgs& args, const CLI::App& verb, const Context& context) {
  try {
    return Refresh(args, verb, context).make();
  } catch (const Cancelled&) {
    throw Cancelled(
        "stopped; the same command goes on from the shards that are complete, but for those of the "
        "stretch of rows that was being mined");
  }
}

/// A version of the store that `version` names.
std::string version_in_store(const std::string& version, std::uint64_t number) {
  std::string folder, reference;
  split_reference(version, &folder, &reference);
  return fmt::format("{}@{}", folder, number);
}

/// What is wrong with files may be mended while it waits, unless it was so from the beginning;
/// anything else ends it.
class Following {
  static constexpr std::uint32_t kLooksPerTrial = 12;

 public:
  Following(const RefreshArgs& args, const CLI::App& verb, const Context& context)
      : args_(args), verb_(verb), context_(context), follower_(args.follow, *context.stop) {}

  int run() {
    for (;;) {
      std::uint32_t looks = 0;  // after which it is tried again though no file changed; 0: never
      try {
        refresh_once();
      } catch (const SetLocked& error) {
        say_once(fmt::format("waiting: {}", error.what()));
        looks = 1;
      } catch (const InputError& error) {
        if (!started_) throw;
        say_once(fmt::format("not refreshed: {}\nwaiting until a file changes", error.what()));
      } catch (const IoError& error) {  // a disk that was full has room again without a sign
        if (!started_) throw;
        say_once(fmt::format("not refreshed: {}\ntrying again from time to time", error.what()));
        looks = kLooksPerTrial;
      }
      if (!follower_.wait(looks)) break;
    }
    fmt::print(stderr, "stopped; {} made\n", words_of_count(made_, "version"));
    return exit_code_;
  }

 private:
  void refresh_once() {
    args_.run.more_events = follower_.logs();
    if (verb_.count("--as-of") == 0) args_.follow_as_of = as_of(args_.run.more_events);
    args_.run.more_events.insert(args_.run.more_events.begin(), given_.begin(), given_.end());
    std::uint64_t version = 0;
    {
      Refresh refresh(args_, verb_, context_);
      follower_.have_read(refresh.inputs()->files);
      started_ = true;
      version = refresh.make();
      said_.clear();
      made_ += refresh.was_there() ? 0 : 1;
    }
    const bool is_new = args_.version != version_in_store(args_.version, version);
    args_.version = version_in_store(args_.version, version);
    if (is_new && args_.audit.wanted())
      exit_code_ = audit_finished(args_.version, args_.audit, context_);
  }
  /// What the version knew, and up to the last event of the logs that appeared: what else its own
  /// log holds behind its end was kept back on purpose. "" for a version without an end.
  std::string as_of(const std::vector<std::string>& logs) const {
    const RunOptions then =
        recorded_options(text_of(open_set(args_.version, false)), CLI::App(), {});
    if (then.as_of.empty()) return {};
    const LogTimes times = times_of(logs, parse_event_columns(then.event_columns, then.event_kind));
    return std::to_string(std::max(parse_time(then.as_of, "--as-of"), times.last));
  }
  void say_once(const std::string& words) {
    if (said_ != words) fmt::print(stderr, "{}\n", words);
    said_ = words;
  }

  RefreshArgs args_;
  const std::vector<std::string> given_ = args_.run.more_events;
  const CLI::App& verb_;
  const Context& context_;
  Follower follower_;
  bool started_ = false;  ///< its inputs are known
  std::string said_;      ///< what was wrong last
  std::uint64_t made_ = 0;
  int exit_code_ = 0;  ///< of the last audit
};

int run_refresh(const RefreshArgs& args, const CLI::App& verb, const Context& context) {
  check_audit_wish(args.audit);
  check_due_options(args.due);
  check_follow_options(verb, args.follow);
  for (const std::string& path : {args.parent_items, args.parent_users}) {
    if (!path.empty()) identity_of(path);  // a wrong path is told whether it is needed or not
  }
  for (const std::string& name : args.tags) Store::check_tag_name(name);
  if (!args.follow.folder.empty()) return Following(args, verb, context).run();
  const std::uint64_t version = refresh(args, verb, context);
  if (!args.audit.wanted() || version == 0) return 0;
  return audit_finished(version_in_store(args.version, version), args.audit, context);
}

}  // namespace

void add_refresh(CLI::App& app, Context& context) {
  auto args = std::make_shared<RefreshArgs>();
  CLI::App* verb = app.add_subcommand(
      "refresh", "add the next version: mine only rows that what is new can have changed");
  verb->add_option("version", args->version, "STORE, or STORE@VERSION to go on from")->required();
  add_next_version_options(*verb, *args);
  verb->add_option("--parent-users", args->parent_users,
                   "user embeddings of the version gone on from, likewise");
  verb->add_option("--tag", args->tags, "tags to move to the new version");
  verb->add_option("--note", args->note, "words kept with the version");
  add_audit_wish(*verb, args->audit);
  add_due_options(*verb, args->due);
  add_follow_options(*verb, args->follow);
  verb->add_flag("--mine-all", args->mine_all, "take no row over; the result is the same");
  verb->add_flag("--dry-run", args->dry_run, "only say how many rows would be mined, and why");
  verb->add_flag("--json", args->json, "print what was done as JSON on stdout");
  // What is new; all else is as the version's manifest records it.
  add_run_options(*verb, args->run);
  add_config_option(*verb);
  verb->callback([&context, args, verb] {
    context.run = [&context, args, verb] { return run_refresh(*args, *verb, context); };
  });
}

}  // namespace quarry
