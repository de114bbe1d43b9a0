// Items, users and times as a person reads them.
#pragma once

#include <cstdint>
#include <string>

#include "tools/quarry/load_inputs.h"

namespace quarry {

/// Text for a terminal: control characters, which could move its cursor or change its state, are
/// written as \xNN.
std::string printable(const std::string& text);

std::string item_id(const Inputs& inputs, std::uint32_t item);
std::string user_id(const Inputs& inputs, std::uint32_t user);
/// "" without a catalogue.
std::string item_title(const Inputs& inputs, std::uint32_t item);
/// "50 Star Wars (1977)", printable.
std::string item_words(const Inputs& inputs, std::uint32_t item);
/// "1998-03-04 12:00:05", or "-" where there is no time.
std::string time_words(std::int64_t seconds);
const char* exposure_class_name(std::uint32_t exposure_class);

}  // namespace quarry
