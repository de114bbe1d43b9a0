// Versions, tags and shards of a store.
#include "host/store/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "host/store/decisions.h"
#include "host/store/digest.h"
#include "host/store/flipped_bit.h"
#include "host/store/journal.h"
#include "host/store/kept_array.h"
#include "host/store/set_hash.h"
#include "host/store/set_lock.h"
#include "host/store/set_manifest.h"
#include "host/store/store_texts.h"
#include "host/store/version_basis.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMostText = 256ull << 20;
constexpr std::size_t kMostTagLength = 64;
constexpr const char* kLatest = "latest";

std::string text_of(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error))
    names.push_back(entry->path().filename().string());
  if (error && error != std::errc::no_such_file_or_directory)
    throw IoError(folder.string() + ": cannot list: " + error.message());
  std::sort(names.begin(), names.end());
  return names;
}

Json parsed(const std::string& path) {
  Json json = Json::parse(read_text(path, kMostText), nullptr, false);
  if (json.is_discarded() || !json.is_object())
    throw InputError(path + ": is not a JSON object; it is damaged");
  return json;
}

void check_format(const std::string& path) {
  const std::string file = path + "/store.json";
  const Json store = parsed(file);
  if (store.value("format", Json()) != "quarry.store")
    throw InputError(file + ": 'format' is not quarry.store; this is no store");
  if (store.value("format_version", Json()) != kStoreVersion) {
    throw InputError(file + ": 'format_version' is " +
                     store.value("format_version", Json()).dump() + ", this program reads " +
                     std::to_string(kStoreVersion) + " only");
  }
}

std::uint64_t bytes_of(const fs::path& folder) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    if (entry->is_regular_file(ignored)) bytes += entry->file_size(ignored);
  }
  return bytes;
}

std::vector<Json> parsed_events(const Store& store) {
  std::vector<Json> events;
  for (const std::string& line : store.events()) {
    Json event = Json::parse(line, nullptr, false);
    if (event.is_object()) events.push_back(std::move(event));
  }
  return events;
}

}  // namespace

StoreLock::StoreLock(const std::string& store) : file_(open_file(store + "/LOCK")) {
  int result = 0;
  do {
    result = ::flock(file_.get(), LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return;
  if (errno == EWOULDBLOCK)
    throw SetLocked(store + ": another run is writing this store now; wait for its end");
  throw IoError(io_message(store + "/LOCK", "cannot lock"));
}

bool Store::is_store(const std::string& path) {
  std::error_code error;
  const bool is = fs::is_regular_file(fs::path(path) / "store.json", error);
  if (error == std::errc::permission_denied)
    throw IoError(path + "/store.json: cannot be looked at: " + error.message());
  return is;
}

bool Store::is_tag_name(const std::string& name) {
  std::uint64_t number = 0;
  const bool letters =
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
      std::string::npos;
  return !name.empty() && name.size() <= kMostTagLength && name[0] != '.' && letters &&
         !is_version(name, &number);
}

void Store::check_tag_name(const std::string& name) {
  if (is_tag_name(name)) return;
  throw ConfigError("'" + name +
                    "' is no name for a tag; 1 to 64 letters, digits, '.', '_' and '-', not "
                    "beginning with '.' and not like a version (7, v7), are");
}

/// The parts of a store are there, and are folders of its own.
void Store::check_parts() const {
  for (const char* part : {"shards", "versions", "tags", "work"}) {
    std::error_code error;
    const fs::path folder = fs::path(path_) / part;
    const fs::file_type type = fs::symlink_status(folder, error).type();
    const bool may_lack = part == std::string("work");  // holds nothing that is needed
    if (type == fs::file_type::directory || (may_lack && type == fs::file_type::not_found))
      continue;
    throw InputError(folder.string() + (type == fs::file_type::not_found
                                            ? ": is missing; the store is damaged"
                                            : ": is no folder of the store's own"));
  }
}

Store Store::create(const std::string& path) {
  const std::string folder = set_folder(path).string();
  if (is_store(folder)) {
    Store store = open(folder);
    // One whose maker was killed may not be on disk whole.
    sync_folder(folder);
    const std::string parent = fs::path(folder).parent_path().string();
    if (::access(parent.c_str(), R_OK) == 0) sync_folder(parent);
    return store;
  }
  std::error_code error;
  const fs::file_status status = fs::symlink_status(folder, error);
  // A maker that was killed leaves folders and the parts of store.json, which comes last.
  const std::set<std::string> parts = {"LOCK", "shards",      "versions",  "tags",
                                       "work", ".store.json", "lost+found"};
  if (status.type() != fs::file_type::not_found) {
    if (!fs::is_directory(fs::status(folder, error)))
      throw IoError(folder + ": exists and is not a folder; choose another --store");
    for (const std::string& name : names_in(folder)) {
      if (!parts.contains(name)) {
        throw IoError(folder + ": is not empty and not a store (it has no store.json); choose " +
                      "another --store");
      }
    }
  } else {
    make_folder(folder);
  }
  const StoreLock lock(folder);
  if (is_store(folder)) return Store(folder);  // another run has just made it
  for (const char* part : {"shards", "versions", "tags", "work"}) make_folder(folder + "/" + part);
  const std::string draft = folder + "/.store.json";
  remove_path(draft);
  write_new_file(draft, store_text());
  sync_folder(folder);
  rename_path(draft, folder + "/store.json");
  sync_folder(folder);
  sync_folder(fs::path(folder).parent_path().string());
  return Store(folder);
}

Store Store::open(const std::string& path) {
  const std::string folder = set_folder(path).string();
  if (!is_store(folder)) {
    throw InputError(path + ": is no store (it has no store.json); quarry mine --store makes one");
  }
  check_format(folder);
  Store store(folder);
  store.check_parts();
  return store;
}

std::string Store::version_file(std::uint64_t number) const {
  return path_ + "/versions/" + version_name(number) + ".json";
}

std::vector<std::uint64_t> Store::versions() const {
  std::vector<std::uint64_t> numbers;
  for (const std::string& name : names_in(fs::path(path_) / "versions")) {
    std::uint64_t number = 0;
    if (name.size() == 26 && name.ends_with(".json") && is_version(name.substr(0, 21), &number) &&
        version_name(number) + ".json" == name)
      numbers.push_back(number);
  }
  return numbers;
}

std::uint64_t Store::read_tag(const std::string& name) const {
  const std::string file = path_ + "/tags/" + name;
  const std::optional<std::uint64_t> number = version_in_tag(name, read_text(file, kMostTag));
  if (!number) throw InputError(file + ": is damaged; set the tag again, or quarry tag --remove");
  return *number;
}

std::map<std::string, std::uint64_t> Store::tags(std::vector<std::string>* damaged) const {
  std::map<std::string, std::uint64_t> tags;
  for (const std::string& name : names_in(fs::path(path_) / "tags")) {
    if (!is_tag_name(name)) continue;  // a draft of a killed run, an editor's backup
    try {
      tags[name] = read_tag(name);
    } catch (const InputError& error) {
      if (damaged == nullptr) throw;
      damaged->emplace_back(error.what());
    }
  }
  return tags;
}

std::uint64_t Store::resolve(const std::string& reference) const {
  const std::vector<std::uint64_t> there = versions();
  std::uint64_t number = 0;
  std::error_code error;
  if (!is_version(reference, &number)) {
    if (is_tag_name(reference) && fs::exists(path_ + "/tags/" + reference, error)) {
      number = read_tag(reference);
    } else {
      std::string names;
      std::vector<std::string> damaged;
      for (const auto& [name, version] : tags(&damaged))
        names += (names.empty() ? "" : ", ") + name;
      if (reference == kLatest && read_policy(*this) != Policy{}) {
        throw InputError(path_ + ": no version has what its policy asks for (" +
                         words_of(read_policy(*this)) +
                         "), so 'latest' means none; quarry log says what is pending");
      }
      throw InputError(path_ + ": has no tag '" + reference + "'; " +
                       (names.empty() ? "it has none" : "tags are " + names));
    }
  }
  if (!std::binary_search(there.begin(), there.end(), number)) {
    throw InputError(path_ + ": has no version " + std::to_string(number) + "; " +
                     (there.empty() ? std::string("it has none")
                                    : "versions go from " + std::to_string(there.front()) + " to " +
                                          std::to_string(there.back())));
  }
  return number;
}

std::string Store::manifest(std::uint64_t number) const {
  return parsed(version_file(number)).dump();
}

std::string Store::identity(std::uint64_t number) const {
  try {
    const Json about = parsed(version_file(number)).value("store", Json::object());
    const Json identity = about.is_object() ? about.value("identity", Json()) : Json();
    return identity.is_string() ? identity.get<std::string>() : "";
  } catch (const InputError&) {
    return "";  // quarry verify names the damage
  }
}

NegativeSet Store::read(std::uint64_t number, bool verify) const {
  return NegativeSet::open_version(path_, "versions/" + version_name(number) + ".json", verify);
}

std::string Store::work_folder(const std::string& identity) const {
  return path_ + "/work/" + identity;
}

std::string Store::shard_folder(const std::string& digest) const {
  return path_ + "/shards/" + digest;
}

/// Puts a folder aside, whole, before it is removed: half of one is never in its place.
void Store::discard_shard(const std::string& digest) {
  make_folder(path_ + "/work");
  const std::string aside = path_ + "/work/trash-" + digest;
  remove_folder(aside);
  rename_path(shard_folder(digest), aside);
  sync_folder(path_ + "/work");
  sync_folder(path_ + "/shards");
  remove_folder(aside);
}

/// The shard in its place is the one that `facts` tells of, headers and columns.
bool Store::is_whole(const ShardFacts& facts, const SetSchema& schema) const {
  try {
    ContentHash unused(schema.k);
    NegativeSet::hash_shard(path_, shard_entry("shards/" + facts.digest.hex(), 0, facts), schema,
                            unused);
    return true;
  } catch (const InputError&) {
    return false;
  }
}

bool Store::keep_shard(const std::string& folder, const ShardFacts& facts,
                       const SetSchema& schema) {
  const std::string digest = facts.digest.hex();
  const std::string place = shard_folder(digest);
  std::error_code error;
  if (fs::exists(fs::symlink_status(place, error))) {
    if (is_whole(facts, schema)) {
      sync_folder(path_ + "/shards");  // whoever put it there may have been killed before
      remove_folder(folder);
      return true;
    }
    discard_shard(digest);  // it was damaged
  }
  rename_path(folder, place);
  sync_folder(path_ + "/shards");
  return false;
}

std::uint64_t Store::commit(const std::string& text, const std::vector<std::string>& tags) {
  for (const std::string& name : tags) check_tag_name(name);
  read_policy(*this);  // throws before the version is there, not behind it
  const std::vector<std::uint64_t> there = versions();
  std::uint64_t number = there.empty() ? 1 : there.back() + 1;
  // A number that was pruned is not given again.
  for (const Json& event : parsed_events(*this)) {
    const Json version = event.value("version", Json());
    if (version.is_number_unsigned()) number = std::max(number, version.get<std::uint64_t>() + 1);
  }
  Json manifest = Json::parse(text);
  manifest["version"] = number;
  manifest["created"] = static_cast<std::int64_t>(std::time(nullptr));
  const std::string draft = path_ + "/versions/.draft.json";
  remove_path(draft);
  write_new_file(draft, text_of(manifest));
  // The one step by which the version is there.
  if (!link_file(draft, version_file(number)))
    throw IoError(version_file(number) + ": appeared meanwhile; run again");
  finish_commit(number, tags);
  return number;
}

void Store::finish_commit(std::uint64_t number, const std::vector<std::string>& tags) {
  for (const char* draft : {"/versions/.draft.json", "/tags/.draft"}) remove_path(path_ + draft);
  // What is there already may be so only until the power goes.
  sync_folder(path_ + "/versions");
  sync_folder(path_ + "/tags");
  const std::vector<Json> happened = parsed_events(*this);
  const bool recorded = std::any_of(happened.begin(), happened.end(), [&](const Json& event) {
    return event.value("event", "") == "version" && event.value("version", Json()) == number;
  });
  if (!recorded) {
    const std::string text = read_text(version_file(number), kMostText);
    record(Json{{"event", "version"},
                {"version", number},
                {"xxh3_128", digest_of(text).hex()},
                {"blocks_xxh3_64", block_hashes(text)}}
               .dump());
  }
  std::vector<std::string> names = tags;
  if (may_be_latest(*this, number)) names.emplace_back(kLatest);
  std::vector<std::string> damaged;
  const auto known = this->tags(&damaged);
  for (const std::string& name : names) {
    const auto found = known.find(name);
    if (found == known.end() || found->second != number) tag(name, number);
  }
}

std::vector<std::string> Store::verify(std::optional<std::uint64_t> only) const {
  std::vector<std::string> damages;
  const auto look = [&](const std::string& what, auto&& at) {
    try {
      at();
    } catch (const InputError& error) {
      damages.push_back(what + error.what());
    } catch (const IoError& error) {
      damages.push_back(what + error.what());
    }
  };
  std::map<std::uint64_t, std::string> hashes;  // of version files, as the journal has them
  look("", [&] {
    for (const Json& event : parsed_events(*this)) {
      if (event.value("event", "") == "version" && event.contains("xxh3_128"))
        hashes[event.at("version").get<std::uint64_t>()] = event.value("xxh3_128", "");
    }
  });
  const std::vector<std::uint64_t> there = versions();
  for (const std::uint64_t number : there) {
    if (only && number != *only) continue;
    const std::string name = "version " + std::to_string(number) + ": ";
    std::string manifest_text;
    look(name, [&] {
      const auto hash = hashes.find(number);
      if (hash != hashes.end() && digest_file(version_file(number)).digest.hex() != hash->second)
        throw InputError(version_file(number) +
                         ": does not have the hash in the store's log; the file is damaged");
      manifest_text = manifest(number);
      read(number, true);
    });
    if (manifest_text.empty()) continue;  // its own file is damaged: it tells nothing of others
    std::vector<std::string> arrays;
    look(name, [&] { arrays = arrays_of(manifest_text); });
    for (const std::string& entry : arrays) look(name, [&] { check_array(path_, entry); });
  }
  if (only) return damages;
  look("", [&] {
    for (const auto& [name, number] : tags(&damages)) {
      if (!std::binary_search(there.begin(), there.end(), number))
        damages.push_back(path_ + "/tags/" + name + ": there is no version " +
                          std::to_string(number) + "; set the tag again");
    }
  });
  look("", [&] {
    if (unflipped_policy(*this))
      throw InputError(policy_file(path_) + ": has a flipped bit; the log tells what was written");
  });
  return damages;
}

void Store::tag(const std::string& name, std::uint64_t number) {
  check_tag_name(name);
  events();  // throws before anything is changed where the log is damaged
  const std::string draft = path_ + "/tags/.draft";
  remove_path(draft);
  write_new_file(draft, tag_text(name, number));
  rename_path(draft, path_ + "/tags/" + name);
  sync_folder(path_ + "/tags");
  record(Json{{"event", "tag"}, {"tag", name}, {"to", number}}.dump());
}

void Store::remove_tag(const std::string& name) {
  check_tag_name(name);
  std::error_code error;
  if (!fs::exists(path_ + "/tags/" + name, error))
    throw InputError(path_ + ": has no tag '" + name + "'");
  events();
  remove_path(path_ + "/tags/" + name);
  sync_folder(path_ + "/tags");
  record(Json{{"event", "untag"}, {"tag", name}}.dump());
}

Pruned Store::to_prune(std::uint64_t keep, bool unfinished) const {
  Pruned pruned;
  const std::vector<std::uint64_t> there = versions();
  std::set<std::uint64_t> kept;
  for (const auto& [name, number] : tags()) {
    if (!std::binary_search(there.begin(), there.end(), number)) {
      throw InputError(path_ + "/tags/" + name + ": there is no version " + std::to_string(number) +
                       "; nothing is pruned before the tag is set again or removed");
    }
    kept.insert(number);
  }
  for (std::size_t i = there.size() - std::min<std::uint64_t>(keep, there.size()); i < there.size();
       ++i)
    kept.insert(there[i]);
  std::set<std::string> needed, arrays;
  const auto need_array = [&](const std::string& entry) {
    arrays.insert(fs::path(Json::parse(entry).value("path", "")).filename().string());
  };
  for (const std::uint64_t number : there) {
    if (!kept.contains(number)) {
      pruned.versions.push_back(number);
      continue;
    }
    const Json version = parsed(version_file(number));
    const Json shards = version.value("shards", Json::array());
    for (const Json& shard : shards) {
      if (!shard.is_object() || !shard.contains("path") || !shard["path"].is_string())
        throw InputError(version_file(number) + ": 'shards' are damaged; nothing is pruned");
      needed.insert(fs::path(shard["path"].get<std::string>()).filename().string());
    }
    for (const std::string& entry : arrays_of(version.dump())) need_array(entry);
  }
  // What unfinished runs have completed stays with them.
  for (const std::string& name : names_in(fs::path(path_) / "work")) {
    if (unfinished || name.rfind("trash-", 0) == 0) {
      pruned.works.push_back(name);
      continue;
    }
    for (const std::string& line : read_journal(path_ + "/work/" + name + "/journal")) {
      const Json done = Json::parse(line, nullptr, false);
      if (done.is_object() && done.contains("entry") && done["entry"].is_object())
        needed.insert(fs::path(done["entry"].value("path", "")).filename().string());
      const Json about = done.is_object() ? done.value("about", Json()) : Json();
      if (about.is_object() && about.contains("basis") && about["basis"].is_object())
        need_array(about["basis"].dump());
    }
  }
  for (const std::string& name : names_in(fs::path(path_) / "shards")) {
    if (needed.contains(name)) continue;
    pruned.shards.push_back(name);
    pruned.bytes += bytes_of(fs::path(path_) / "shards" / name);
  }
  for (const std::string& name : names_in(fs::path(path_) / kArrayFolder)) {
    if (arrays.contains(name)) continue;
    pruned.arrays.push_back(name);
    std::error_code error;
    const std::uint64_t bytes = fs::file_size(fs::path(path_) / kArrayFolder / name, error);
    if (!error) pruned.bytes += bytes;
  }
  return pruned;
}

void Store::prune(const Pruned& pruned) {
  for (const std::uint64_t number : pruned.versions) {
    record(Json{{"event", "prune"}, {"version", number}}.dump());
    remove_path(version_file(number));
  }
  // No version may name a shard that is gone, whatever reaches the disk first.
  if (!pruned.versions.empty()) sync_folder(path_ + "/versions");
  for (const std::string& name : pruned.works) remove_folder(path_ + "/work/" + name);
  if (!pruned.works.empty()) sync_folder(path_ + "/work");
  for (const std::string& name : pruned.shards) discard_shard(name);
  for (const std::string& name : pruned.arrays)
    remove_path(path_ + "/" + kArrayFolder + "/" + name);
  if (!pruned.arrays.empty()) sync_folder(path_ + "/" + kArrayFolder);
}

void Store::record(const std::string& event) {
  Json line = Json::parse(event);
  line["time"] = static_cast<std::int64_t>(std::time(nullptr));
  Journal(path_ + "/log").append(line.dump(-1, ' ', false, Json::error_handler_t::replace));
}

std::vector<std::string> Store::events() const { return read_journal(path_ + "/log"); }

bool split_reference(const std::string& text, std::string* store, std::string* reference) {
  const std::size_t at = text.rfind('@');
  std::error_code error;
  if (fs::exists(fs::path(text) / "manifest.json", error)) return false;  // a set of that name
  if (Store::is_store(text)) {
    *store = text;
    *reference = kLatest;
    return true;
  }
  if (at == std::string::npos || !Store::is_store(text.substr(0, at))) return false;
  *store = text.substr(0, at);
  *reference = text.substr(at + 1);
  return true;
}

}  // namespace quarry
