// What users asked for, settled: of each user and item the latest record counts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/data/feedback_tables.h"

namespace quarry {

/// Kinds of records: two strengths of aversion, and the question why an item was hidden, of one who
/// wants it.
enum class Wish : std::uint8_t { kAvoid, kNotInterested, kHidden };
inline constexpr std::size_t kNumWishes = 3;
/// "avoid", "not_interested", "hidden".
const char* words_of(Wish wish);

struct SettledWish {
  std::uint32_t user = 0, item = 0;
  std::int64_t time = 0;
  Wish wish = Wish::kAvoid;
  std::string where;  ///< "file:line"
};
struct UserWishes {
  std::vector<SettledWish> wishes;  ///< by user and item, one each
  std::uint64_t records = 0;        ///< of known ids
  std::uint64_t repeated = 0;       ///< equal in everything
  std::uint64_t superseded = 0;  ///< an aversion of which the pair has a later one, likewise hidden
  std::uint64_t withdrawn = 0;   ///< an aversion before the pair was asked for
  std::uint64_t renewed = 0;     ///< asked for before an aversion
};

/// A file of records.
struct RecordFile {
  std::string path;
  UserRecords read;
};
/// At equal times hidden counts before avoid, that before not_interested. Throws InputError with
/// file and line for a kind that is none.
UserWishes settle_wishes(const std::vector<RecordFile>& files);

}  // namespace quarry
