// Names of items, users and times.
#include "tools/quarry/item_names.h"

#include <cstdio>
#include <ctime>

namespace quarry {

std::string printable(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F are control characters, too: C2 and a byte below A0 in UTF-8.
    const bool second =
        byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (byte >= 0x20 && byte != 0x7F && !second) {
      out += text[i];
      continue;
    }
    char escape[16];
    const unsigned value = second ? static_cast<unsigned char>(text[++i]) : byte;
    std::snprintf(escape, sizeof escape, "\\x%02X", value);
    out += escape;
  }
  return out;
}

std::string item_id(const Inputs& inputs, std::uint32_t item) {
  return item < inputs.item_ids.size() ? inputs.item_ids.id_of(item) : "#" + std::to_string(item);
}

std::string user_id(const Inputs& inputs, std::uint32_t user) {
  return user < inputs.user_ids.size() ? inputs.user_ids.id_of(user) : "#" + std::to_string(user);
}

std::string item_title(const Inputs& inputs, std::uint32_t item) {
  return inputs.catalogue && item < inputs.catalogue->titles.size() ? inputs.catalogue->titles[item]
                                                                    : "";
}

std::string item_words(const Inputs& inputs, std::uint32_t item) {
  const std::string title = item_title(inputs, item);
  return printable(title.empty() ? item_id(inputs, item) : item_id(inputs, item) + " " + title);
}

std::string time_words(std::int64_t seconds) {
  if (seconds == INT64_MAX || seconds == INT64_MIN) return "-";
  const std::time_t time = seconds;
  std::tm parts = {};
  char text[64];
  if (::gmtime_r(&time, &parts) == nullptr ||
      std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &parts) == 0) {
    return std::to_string(seconds);
  }
  return text;
}

const char* exposure_class_name(std::uint32_t exposure_class) {
  static constexpr const char* kNames[kNumExposureClasses] = {"not seen", "positive", "aversion",
                                                              "disinterest", "ambiguous"};
  return exposure_class < kNumExposureClasses ? kNames[exposure_class] : "unknown";
}

}  // namespace quarry
