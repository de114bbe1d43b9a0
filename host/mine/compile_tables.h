// What filters, weights, caps and sources look up by name, each put into the world once.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "host/mine/compile.h"
#include "host/mine/inputs.h"
#include "host/mine/user_lists.h"
#include "kernels/core/exec.h"
#include "kernels/setup/setup.h"

namespace quarry {

/// Rows of the table of this name as 32-bit floats, of norm 1 if `unit`. `out` keeps and counts
/// them.
const float* prepare_table(const std::string& name, const Exec& exec, const MatrixView& table,
                           bool unit, Compiled& out);

/// Puts tables into the world of `out` and answers with their places there. What is asked for twice
/// is made once. A table that the inputs lack, and one more than the world holds, is a ConfigError;
/// `who` names in it what asks.
class LookupTables {
 public:
  LookupTables(const Exec& exec, const MinerInputs& inputs, Compiled& out)
      : exec_(exec), in_(inputs), out_(out), user_lists_(exec, inputs, out.world) {}

  /// Carries these columns of the catalogue, as far as it has them. There must be a catalogue, and
  /// column() comes after.
  void carry_columns(const std::set<std::string>& wanted);
  std::uint32_t column(const std::string& name, const std::string& who) const;
  /// The column whose codes are the rows' segments: one for the whole recipe.
  std::uint32_t segment_column(const std::string& name, const std::string& who);

  /// Lists per user, places in world.lists. The exposure of the world comes before them.
  std::uint8_t positives();
  std::uint8_t exposed(std::uint32_t classes, std::int64_t oldest);
  std::uint8_t group(const std::string& column_name, std::uint32_t column);
  /// The list at a place as pairs, for draw spaces, and all that it depends on besides the inputs.
  PairView user_list(std::uint8_t at) const { return list_pairs_[at]; }
  const std::string& user_list_name(std::uint8_t at) const { return list_names_[at]; }

  /// Unit rows to compare; "" is the item table, whose unit rows the caller has prepared.
  std::uint8_t feature_table(const std::string& name, const std::string& who);
  std::uint8_t pair_table(const std::string& name, const std::string& who);
  const PairValues& pair_values(const std::string& name, const std::string& who) const;
  /// Items positive for more than `share` of the users that have a positive.
  std::uint8_t universal(double share);
  std::uint8_t allow_list(const std::string& name, const std::string& who);

 private:
  /// Place of the lists called `key`; `make` is called where they are not there yet.
  template <class Make>
  std::uint8_t list_place(const std::string& key, Make&& make);
  struct PlacedList {
    UserLists lists;
    PairView pairs;
  };
  template <class Make>
  const PlacedList& placed_list(const std::string& key, Make&& make);
  const PlacedList& positive_list();
  template <class Make>
  std::uint8_t bitmap(const std::string& key, Make&& make);

  Exec exec_;
  const MinerInputs& in_;
  Compiled& out_;
  UserListMaker user_lists_;
  std::vector<PairView> list_pairs_;  ///< world.lists as pairs
  std::vector<std::string> list_names_;
  std::string segment_column_;
  std::map<std::string, std::uint32_t> column_index_;
  std::map<std::string, std::uint8_t> list_index_, feature_index_, pair_index_, bitmap_index_;
};

}  // namespace quarry
