// Flipped bits of a store's own records.
#include "host/store/mend_records.h"

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "host/store/files.h"
#include "host/store/flipped_bit.h"
#include "host/store/journal.h"
#include "host/store/policy.h"
#include "host/store/set_lock.h"
#include "host/store/store.h"
#include "host/store/store_texts.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Mended = std::function<std::optional<std::string>(const std::string&)>;

constexpr std::uint64_t kMostRecordBytes = std::uint64_t{1} << 30;

class RecordMender {
 public:
  RecordMender(std::string store, const MendingEvents& events)
      : folder_(std::move(store)), events_(events) {}

  void run() {
    mend(folder_ + "/store.json", unflipped_store_text);
    const Mended journal = [&](const std::string& text) {
      return unflipped_journal(text, events_.between);
    };
    mend(folder_ + "/log", journal);
    const Store store = Store::open(folder_);
    mend_versions(store);
    mend_tags();
    mend(policy_file(folder_), [&](const std::string&) { return unflipped_policy(store); });
    std::error_code error;
    for (fs::directory_iterator work(folder_ + "/work", error), end; !error && work != end;
         work.increment(error)) {
      std::error_code ignored;
      if (fs::is_directory(work->symlink_status(ignored)))
        mend(work->path().string() + "/journal", journal);
    }
  }

 private:
  /// A format of a later program is whole, however near its text is; there was none before 1.
  static std::optional<std::string> unflipped_store_text(const std::string& text) {
    const Json json = Json::parse(text, nullptr, false);
    if (json.is_object() && json.value("format", Json()) == "quarry.store" &&
        json.value("format_version", Json()).is_number() && json["format_version"] > kStoreVersion)
      return std::nullopt;
    return unflipped(text, 0, text.size(),
                     [](const std::string& other) { return other == store_text(); });
  }

  void mend_versions(const Store& store) {
    std::vector<std::string> events;
    try {
      events = store.events();
    } catch (const InputError&) {
      return;  // without the log nothing tells what they were
    }
    std::map<std::uint64_t, Json> made;  // the last line on a version counts, as in Store::verify
    for (const std::string& line : events) {
      const Json event = Json::parse(line, nullptr, false);
      if (event.is_object() && event.value("event", Json()) == "version" &&
          event.value("version", Json()).is_number_unsigned() &&
          event.value("xxh3_128", Json()).is_string())
        made[event["version"].get<std::uint64_t>()] = event;
    }
    for (const std::uint64_t number : store.versions()) {
      const auto event = made.find(number);
      if (event == made.end()) continue;
      std::vector<std::string> blocks;
      for (const Json& block : event->second.value("blocks_xxh3_64", Json::array()))
        blocks.push_back(block.is_string() ? block.get<std::string>() : "");
      mend(store.version_file(number), [&](const std::string& text) {
        return unflipped(text, event->second["xxh3_128"].get<std::string>(), blocks,
                         events_.between);
      });
    }
  }

  void mend_tags() {
    std::vector<fs::path> files;
    std::error_code error;
    for (fs::directory_iterator tag(folder_ + "/tags", error), end; !error && tag != end;
         tag.increment(error))
      files.push_back(tag->path());
    for (const fs::path& file : files) {
      const std::string name = file.filename().string();
      if (name.front() == '.') continue;  // a draft of a killed run
      mend(file.string(), [&](const std::string& text) -> std::optional<std::string> {
        if (text.size() > kMostTag || version_in_tag(name, text)) return std::nullopt;
        return unflipped(text, 0, text.size(), [&](const std::string& other) {
          return version_in_tag(name, other).has_value();
        });
      });
    }
  }

  /// Writes what `mended` makes of a file, if anything, over what differs.
  void mend(const std::string& file, const Mended& mended) {
    std::error_code error;
    if (!fs::is_regular_file(fs::symlink_status(file, error))) return;
    std::string text;
    std::optional<std::string> right;
    const auto look = [&] {
      try {
        std::string now = read_text(file, kMostRecordBytes);
        if (right && now == text) return;  // as it was before the lock
        text = std::move(now);
        right = mended(text);
      } catch (const InputError&) {
        right.reset();  // Store::verify names it
      }
    };
    look();
    if (!right) return;
    if (!lock_) {
      lock_.emplace(folder_);
      look();
    }
    if (!right || right->size() != text.size()) return;
    const FileHandle handle = open_file(file);
    for (std::size_t at = 0; at < text.size(); ++at) {
      if (text[at] != (*right)[at]) write_to(handle, file, right->data() + at, 1, at);
    }
    sync_file(handle, file);
    if (events_.mended) events_.mended(file);
  }

  std::string folder_;
  const MendingEvents& events_;
  std::optional<StoreLock> lock_;
};

}  // namespace

void mend_records(const std::string& store, const MendingEvents& events) {
  RecordMender(set_folder(store).string(), events).run();
}

}  // namespace quarry
