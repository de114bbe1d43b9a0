// The errors that callers can tell apart. Types are interface; texts are not.
// Message grammar: what is wrong, with the value; why it matters where that is not plain; what to
// try.
#pragma once

#include <stdexcept>
#include <string>

namespace quarry {

/// The caller's data is wrong: names file, row, value, allowed range and remedy. Exit code 3.
struct InputError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The request itself is wrong (flags, config, recipe). Exit code 2.
struct ConfigError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A file cannot be read or written. Exit code 5.
struct IoError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// CUDA, cuBLAS or FAISS GPU failed; the device context may be unusable. Exit code 7.
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Memory ran out on host or device; a smaller tile may succeed. Exit code 6.
struct OutOfMemory : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The caller asked to stop; what was committed stays valid. Exit code 75.
struct Cancelled : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Always-on check of an internal invariant: a failure is a defect in Quarry, not in the data. Exit
/// code 1.
#define QUARRY_CHECK(condition)                                                                    \
  do {                                                                                             \
    if (!(condition))                                                                              \
      throw std::logic_error(std::string("internal check failed: " #condition " at ") + __FILE__ + \
                             ":" + std::to_string(__LINE__));                                      \
  } while (false)

}  // namespace quarry
