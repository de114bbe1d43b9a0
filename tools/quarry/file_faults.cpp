// Faults of the disk on demand.
#include "tools/quarry/file_faults.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "host/store/files.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

class FileFaults final : public FileObserver {
 public:
  FileFaults(unsigned long crash_at, bool crash_behind, unsigned long fail_at, bool fail_behind,
             int fail_with)
      : crash_at_(crash_at),
        crash_behind_(crash_behind),
        fail_at_(fail_at),
        fail_behind_(fail_behind),
        with_(fail_with) {}
  void before(const FileStep& step) override {
    ++steps_;
    if (steps_ == crash_at_ && !crash_behind_) ::raise(SIGKILL);
    if (steps_ == fail_at_ && !fail_behind_) fail(step);
  }
  void after(const FileStep& step) override {
    if (steps_ == crash_at_ && crash_behind_) ::raise(SIGKILL);
    if (steps_ == fail_at_ && fail_behind_) fail(step);
  }

 private:
  void fail(const FileStep& step) const {
    errno = with_;
    throw IoError(io_message(step.path, "cannot do what was asked (planted)"));
  }

  unsigned long crash_at_;
  bool crash_behind_;
  unsigned long fail_at_;
  bool fail_behind_;
  int with_;
  unsigned long steps_ = 0;
};

}  // namespace

void plant_file_faults() {
  const char* crash = std::getenv("QUARRY_CRASH_AT");
  const char* fail = std::getenv("QUARRY_FAIL_AT");
  if (crash == nullptr && fail == nullptr) return;
  char* end = nullptr;
  const unsigned long crash_at = crash != nullptr ? std::strtoul(crash, &end, 10) : 0;
  const bool behind = crash != nullptr && *end == '+';
  const unsigned long fail_at = fail != nullptr ? std::strtoul(fail, &end, 10) : 0;
  const bool done = fail != nullptr && *end == '+';
  if (done) ++end;
  const int with = fail != nullptr && *end == ':' ? std::atoi(end + 1) : EIO;
  static FileFaults faults(crash_at, behind, fail_at, done, with);
  observe_files(&faults);
}

}  // namespace quarry
