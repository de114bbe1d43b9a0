// Ends what FAISS builds when somebody asks for it. Private: includes FAISS.
#pragma once

#include <faiss/impl/AuxIndexStructures.h>

#include <functional>

namespace quarry {

/// While it lives FAISS asks `interrupted` on this thread. FAISS has one such question for the
/// whole process: it is set on first use, and left alone where somebody else has set one.
class FaissInterrupt {
 public:
  explicit FaissInterrupt(const std::function<bool()>& interrupted);
  ~FaissInterrupt();
  FaissInterrupt(const FaissInterrupt&) = delete;
  FaissInterrupt& operator=(const FaissInterrupt&) = delete;
  /// The answer was yes, so what FAISS threw is no error of its own.
  bool happened() const;
};

}  // namespace quarry
