// Safety filters that would reject nothing because the table they read is missing: refused, or
// allowed and recorded.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "host/mine/miner.h"
#include "tools/quarry/load_inputs.h"

namespace quarry {

/// Before anything is loaded: `time` without a catalogue. Throws ConfigError unless --allow-inert.
void check_safety_flags(const RunRequest& request);

/// Once everything is loaded: `time` over a catalogue without times, `positives` where no positive
/// of anyone is known. Throws ConfigError, or with --allow-inert adds a sentence to
/// `inputs.warnings`.
void check_safety_inputs(const RunRequest& request, Inputs& inputs);

/// A sentence if `unknown` of the rows name segments that no item has: every item is rejected
/// there.
/// "" otherwise.
std::string segment_warning(const RunRequest& request, std::uint64_t unknown, std::uint64_t rows);

/// A sentence about event kinds that no exposure rule names, the commonest first. "" if there are
/// none.
std::string kinds_warning(const Inputs& inputs);

/// Sentences on exposure that cannot be meant: a window that ends before --as-of begins to look,
/// filters of classes that no pair has.
std::vector<std::string> exposure_warnings(const RunRequest& request, const Inputs& inputs);

/// Pairs of user and item of each exposure class, by number of the class.
std::array<std::uint64_t, kNumExposureClasses> pairs_by_class(const Exposure& exposure);

}  // namespace quarry
