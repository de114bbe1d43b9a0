// Structured synthetic data: clusters, skewed popularity, timelines, and planted cases whose right
// answer is known. Everything is a function of (seed, index), so any block can be made alone, in
// any order, on any machine.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/core/exec.h"

namespace quarry::demo {

struct SyntheticOptions {
  std::uint32_t num_users = 1000;
  std::uint32_t num_items = 5000;
  std::uint32_t dim = 64;
  std::uint32_t events_per_user = 20;
  std::uint32_t clusters = 0;  ///< 0: about the square root of the number of items
  std::uint32_t seed = 0;
  double zipf = 1.0;              ///< exponent of the popularity of items
  double duplicate_share = 0.01;  ///< items that copy another one, half exactly and half nearly
  double cold_share = 0.03;       ///< items first seen at the very end, without events
  double retired_share = 0.03;    ///< items withdrawn during the year, without events after that
  double leak_share =
      0.05;  ///< held-out positives that also stand in the events, with their later time
};

/// What an item is. An exact copy shares its original's vector and group; a near copy only nearly
/// its vector (cosine above 0.98 at 16 dimensions and more).
enum class ItemRole : std::uint8_t { kNormal, kExactCopy, kNearCopy, kCold, kRetired };

struct SyntheticItem {
  ItemRole role = ItemRole::kNormal;
  std::uint32_t original = 0;  ///< for copies
  std::uint32_t cluster = 0;
  std::uint32_t category = 0, seller = 0, group = 0;
  std::int64_t first_seen = 0;
  std::int64_t retired = INT64_MAX;
};

enum class EventKind : std::uint8_t { kView, kSkip, kDislike, kLike, kPurchase };
const char* event_kind_name(EventKind kind);

struct SyntheticEvent {
  std::uint32_t item = 0;
  std::int64_t time = 0;
  EventKind kind = EventKind::kView;
  float value = 0.0f;     ///< seconds of a view, price of a purchase; 0 elsewhere
  bool held_out = false;  ///< after the end of the log: belongs to the held-out file
  bool leaked = false;    ///< held out, and written into the events nevertheless
};

/// The catalogue is made at once (about 40 bytes per item); users, events and vectors on demand.
class SyntheticWorld {
 public:
  /// Throws ConfigError on sizes that cannot be made.
  explicit SyntheticWorld(const SyntheticOptions& options);

  const SyntheticOptions& options() const { return options_; }
  const std::vector<SyntheticItem>& items() const { return items_; }
  std::int64_t log_begin() const;
  /// Time of the end of the log: `--as-of` of a run that must not know the held-out events.
  std::int64_t log_end() const;

  /// Writes rows [begin, end) to `out` [end - begin, dim].
  void item_vectors(std::uint32_t begin, std::uint32_t end, float* out) const;
  void user_vectors(std::uint32_t begin, std::uint32_t end, float* out) const;
  /// Events of a user by (time, item); at most one per item. Replaces the content of `out`.
  void user_events(std::uint32_t user, std::vector<SyntheticEvent>& out) const;

 private:
  struct Interests {
    std::uint32_t cluster[3];
    std::uint32_t count;
  };
  Interests interests_of(std::uint32_t user) const;
  void centre(std::uint32_t cluster, float* out) const;
  void item_vector(std::uint32_t item, float* out) const;
  std::uint32_t draw_item(std::uint64_t random, std::uint64_t low, std::uint64_t high) const;

  SyntheticOptions options_;
  std::vector<SyntheticItem> items_;
  std::vector<std::uint32_t> by_cluster_;     ///< items ordered by (cluster, item)
  std::vector<std::uint64_t> cumulative_;     ///< [items + 1] popularity weights in that order
  std::vector<std::uint32_t> cluster_begin_;  ///< [clusters + 1]
};

enum class VectorFormat : std::uint8_t { kNpy, kFbin };

struct SyntheticFiles {
  std::uint64_t events = 0, held_out = 0, leaks = 0;
  std::uint64_t exact_copies = 0, near_copies = 0, cold = 0, retired = 0;
  std::uint64_t bytes = 0;
  std::vector<std::string> paths;
};

/// Writes items, users, events.csv, heldout.csv, catalogue.csv and planted.csv into `folder` in
/// blocks of bounded memory; the bytes depend on the options alone. `progress(share)` may be empty.
/// Throws IoError.
SyntheticFiles write_synthetic(const Exec& exec, const SyntheticWorld& world, VectorFormat format,
                               const std::string& folder,
                               const std::function<void(double share)>& progress);

}  // namespace quarry::demo
