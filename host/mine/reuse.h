// Which rows of a run come out as they did in an earlier run, decided without mining them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/mine/dependence.h"
#include "index/retriever.h"

namespace quarry {

/// What an earlier run stood on.
struct RunBasis {
  CommonBasis common;
  std::vector<ItemBasis> items;
  std::int64_t as_of = INT64_MAX;
  bool exact = false;  ///< its candidates were those of brute force
};

/// Some rows, each with what an earlier run knew of it. Arrays of [rows].
struct EarlierRows {
  const RowFacts* facts = nullptr;
  const std::uint64_t* depends = nullptr;  ///< Dependence::of_row then
  const std::uint64_t* now = nullptr;      ///< and now
  const float* floor = nullptr;            ///< Picks::floor then
};

class Reuse {
 public:
  /// then_items: the embeddings of the earlier run, or nothing where they are gone; asked for only
  /// where embeddings of items changed. exact: so are the candidates of the run at hand. All are
  /// borrowed.
  Reuse(const Dependence& now, const RunBasis& then, const std::optional<MatrixView>& then_items,
        bool exact, const Exec& exec);
  ~Reuse();

  /// Why every row must be mined, in sentences; empty: some may not.
  const std::vector<std::string>& obstacles() const { return obstacles_; }
  std::uint64_t items_changed() const { return changed_.size(); }
  std::uint64_t items_added() const { return added_; }

  /// stands[r] = 1: row r has the negatives that it had. Only without obstacles. Not re-entrant.
  void judge(const EarlierRows& rows, std::uint64_t count, std::uint8_t* stands);

 private:
  void compare_common(const RunBasis& then);
  void find_changed(const RunBasis& then);
  void check_draws();
  void check_number();
  /// Rows of items, and a search over them.
  struct Table {
    std::vector<float> rows;
    std::unique_ptr<Retriever> nearest;  ///< null: no row
  };
  void make_table(const std::optional<MatrixView>& then_items);
  void add_to_table(Table& table, const MatrixView& from, std::uint64_t row) const;
  void finish(Table& table) const;
  void reach_of(Table& table, const RowFacts* facts, std::uint64_t count,
                std::vector<float>& reach);

  const Dependence& now_;
  Exec exec_;
  std::vector<std::string> obstacles_;
  std::vector<std::uint32_t> changed_;  ///< items of both runs that are not what they were
  std::vector<std::uint32_t> moved_;    ///< of them, those with other embeddings
  std::uint64_t added_ = 0;             ///< items behind the earlier run's
  std::vector<std::uint32_t> marks_;    ///< bits of changed_
  Table table_;                         ///< changed and added items, now and as they were
  /// Items that the end of the log has passed, or has gone back behind: only rows without a time
  /// stand there.
  std::vector<std::uint32_t> passed_, passed_marks_;
  Table passed_table_;
  bool passed_by_chance_ = false;  ///< some row without a time may have met one in another way
};

}  // namespace quarry
