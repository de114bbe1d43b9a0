// FAISS's one interrupt callback, turned into one per thread that builds.
#if defined(QUARRY_HAS_FAISS)

#include "index/faiss_interrupt.h"

#include <memory>
#include <mutex>

namespace quarry {
namespace {

struct Question {
  const std::function<bool()>* ask = nullptr;
  bool happened = false;
};
thread_local Question question;

class AskThisThread final : public faiss::InterruptCallback {
 public:
  bool want_interrupt() override {
    if (question.ask == nullptr || !*question.ask) return false;
    question.happened = question.happened || (*question.ask)();
    return question.happened;
  }
};

void set_callback() {
  static std::once_flag once;
  std::call_once(once, [] {
    const std::lock_guard<std::mutex> lock(faiss::InterruptCallback::lock);
    if (!faiss::InterruptCallback::instance)
      faiss::InterruptCallback::instance = std::make_unique<AskThisThread>();
  });
}

}  // namespace

FaissInterrupt::FaissInterrupt(const std::function<bool()>& interrupted) {
  if (interrupted) set_callback();
  question = {&interrupted, false};
}

FaissInterrupt::~FaissInterrupt() { question = {}; }

bool FaissInterrupt::happened() const { return question.happened; }

}  // namespace quarry

#endif
