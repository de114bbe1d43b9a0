// Texts of a store.
#include "host/store/store_texts.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>

#include "host/store/digest.h"

namespace quarry {

std::string store_text() {
  return "{\n  \"format\": \"quarry.store\",\n  \"format_version\": " +
         std::to_string(kStoreVersion) + "\n}\n";
}

std::string version_name(std::uint64_t number) {
  char name[24];
  std::snprintf(name, sizeof name, "v%020" PRIu64, number);
  return name;
}

bool is_version(const std::string& text, std::uint64_t* number) {
  const std::string digits = !text.empty() && text[0] == 'v' ? text.substr(1) : text;
  if (digits.empty() || digits.size() > 20 ||
      digits.find_first_not_of("0123456789") != std::string::npos)
    return false;
  errno = 0;
  *number = std::strtoull(digits.c_str(), nullptr, 10);
  return errno == 0;
}

std::string tag_text(const std::string& name, std::uint64_t number) {
  const std::string version = version_name(number);
  return version + " " + digest_of(name + " " + version).hex().substr(0, 16) + "\n";
}

std::optional<std::uint64_t> version_in_tag(const std::string& name, const std::string& text) {
  const std::size_t length = version_name(0).size();
  std::uint64_t number = 0;
  if (text.size() < length || !is_version(text.substr(0, length), &number) ||
      text != tag_text(name, number))
    return std::nullopt;
  return number;
}

}  // namespace quarry
