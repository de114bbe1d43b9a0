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

constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 30;

class RecordMender {
 public:
  explicit RecordMender(const std::string& store) : folder_(store) {}

  std::vector<std::string> run() {
    mend(folder_ + "/store.json", unflipped_store_text);
    mend(folder_ + "/log", unflipped_journal);
    const Store store = Store::open(folder_);
    mend_versions(store);
    mend_tags();
    mend(policy_file(folder_), [&](const std::string&) { return unflipped_policy(store); });
    std::error_code error;
    for (fs::directory_iterator work(folder_ + "/work", error), end; !error && work != end;
         work.increment(error))
      mend(work->path().string() + "/journal", unflipped_journal);
    return std::move(mended_);
  }

 private:
  /// A format of a later program is whole, however near its text is.
  static std::optional<std::string> unflipped_store_text(const std::string& text) {
    const Json json = Json::parse(text, nullptr, false);
    if (json.is_object() && json.value("format", Json()) == "quarry.store" &&
        json.value("format_version", Json()).is_number())
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
      if (event.is_object() && event.value("event", "") == "version" && event.contains("xxh3_128"))
        made[event.at("version").get<std::uint64_t>()] = event;
    }
    for (const std::uint64_t number : store.versions()) {
      const auto event = made.find(number);
      if (event == made.end()) continue;
      const auto blocks = event->second.value("blocks_xxh3_64", std::vector<std::string>());
      mend(store.version_file(number), [&](const std::string& text) {
        return unflipped(text, event->second.value("xxh3_128", ""), blocks);
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

  /// Replaces a file by what `mended` makes of it, if anything.
  void mend(const std::string& file, const Mended& mended) {
    std::error_code error;
    if (!fs::is_regular_file(fs::symlink_status(file, error)) || !text_of(file, mended)) return;
    if (!lock_) lock_.emplace(folder_);
    const std::optional<std::string> text = text_of(file, mended);  // as it is under the lock
    if (!text) return;
    const std::string parent = fs::path(file).parent_path().string();
    const std::string draft = parent + "/.mended";
    remove_path(draft);
    write_new_file(draft, *text);
    rename_path(draft, file);
    sync_folder(parent);
    mended_.push_back(file);
  }

  static std::optional<std::string> text_of(const std::string& file, const Mended& mended) {
    try {
      return mended(read_text(file, kMostBytes));
    } catch (const InputError&) {
      return std::nullopt;  // Store::verify names it
    }
  }

  std::string folder_;
  std::optional<StoreLock> lock_;
  std::vector<std::string> mended_;
};

}  // namespace

std::vector<std::string> mend_records(const std::string& store) {
  return RecordMender(set_folder(store).string()).run();
}

}  // namespace quarry
