// Names of items, users and times.
#include "tools/quarry/item_names.h"

#include <cstdio>
#include <ctime>

namespace quarry {

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
  return title.empty() ? item_id(inputs, item) : item_id(inputs, item) + " " + title;
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
