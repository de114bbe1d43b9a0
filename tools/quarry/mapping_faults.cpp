// SIGBUS of a mapped file: finds the file in /proc/self/maps with calls that a handler may make.
#include "tools/quarry/mapping_faults.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace quarry {
namespace {

constexpr int kExitIo = 5;  // as in main.cpp

void say(const char* text, std::size_t length) {
  while (length > 0) {
    const ssize_t written = ::write(STDERR_FILENO, text, length);
    if (written <= 0) return;
    text += written;
    length -= static_cast<std::size_t>(written);
  }
}

/// A hexadecimal number at `at`, which moves behind it.
std::uintptr_t hex(const char*& at) {
  std::uintptr_t value = 0;
  for (;; ++at) {
    if (*at >= '0' && *at <= '9') {
      value = value * 16 + static_cast<std::uintptr_t>(*at - '0');
    } else if (*at >= 'a' && *at <= 'f') {
      value = value * 16 + static_cast<std::uintptr_t>(*at - 'a' + 10);
    } else {
      return value;
    }
  }
}

/// Copies the path of the mapping that holds `address` to `path`; empty if there is none.
void find_mapping(std::uintptr_t address, char* path, std::size_t room) {
  path[0] = '\0';
  const int file = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  char line[4608];
  std::size_t length = 0;
  char buffer[4096];
  for (ssize_t got; (got = ::read(file, buffer, sizeof buffer)) > 0;) {
    for (ssize_t i = 0; i < got; ++i) {
      if (buffer[i] != '\n') {
        if (length + 1 < sizeof line) line[length++] = buffer[i];
        continue;
      }
      line[length] = '\0';
      length = 0;
      const char* at = line;
      const std::uintptr_t begin = hex(at);
      if (*at == '-') ++at;
      const std::uintptr_t end = hex(at);
      const char* const name = std::strchr(line, '/');
      if (address < begin || address >= end || name == nullptr) continue;
      std::strncpy(path, name, room - 1);
      path[room - 1] = '\0';
      ::close(file);
      return;
    }
  }
  ::close(file);
}

extern "C" void on_fault(int, siginfo_t* info, void*) {
  static char path[4608];
  find_mapping(reinterpret_cast<std::uintptr_t>(info->si_addr), path, sizeof path);
  const auto say_text = [](const char* text) { say(text, std::strlen(text)); };
  say_text("\nquarry: I/O: ");
  say_text(path[0] != '\0' ? path : "a mapped file");
  say_text(
      ": was cut or cannot be read any more while it was used; no set was written (a .partial "
      "folder may be left beside it). Wait until its writer is done, or check the disk, and run "
      "again\n");
  ::_exit(kExitIo);
}

}  // namespace

void report_mapping_faults() {
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace quarry
