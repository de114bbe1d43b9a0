// Tables and sizes of the branches' sources: depths, capacities, run lists, draw spaces.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "host/mine/compile.h"
#include "host/mine/compile_tables.h"
#include "host/mine/inputs.h"
#include "host/recipe/recipe.h"
#include "kernels/core/exec.h"
#include "kernels/model/plan.h"

namespace quarry {

/// Compiles the source of one branch after the other, as draw spaces are shared among them.
class SourceCompiler {
 public:
  SourceCompiler(const Exec& exec, const MinerInputs& inputs, LookupTables& tables, Compiled& out)
      : exec_(exec), in_(inputs), tables_(tables), out_(out) {}

  /// Completes `b`, whose other fields are set, and adds a member to `runs` of the result.
  /// filters: of the branch, compiled.
  void compile(const BranchSpec& spec, std::span<const Filter> filters, Branch& b);
  /// What the strata of the world depend on; comes before branches that draw by them.
  void set_strata(std::string tables_name) { strata_ = std::move(tables_name); }

 private:
  struct DrawSpaceKey {
    std::set<std::uint8_t> lists;  ///< what each user may not draw, in world.lists
    std::optional<double> beta;    ///< absent: uniform
    bool timed = false;
    bool stratified = false;
    bool operator==(const DrawSpaceKey&) const = default;
  };
  std::string name_of(const DrawSpaceKey& key) const;
  std::uint32_t draw_space(std::span<const Filter> filters, std::optional<double> beta,
                           bool stratified);

  Exec exec_;
  const MinerInputs& in_;
  LookupTables& tables_;
  Compiled& out_;
  std::string strata_;
  std::vector<DrawSpaceKey> spaces_;  ///< world.draws by place
};

}  // namespace quarry
