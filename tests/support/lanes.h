// LaneGroup: W lanes of one row that really run apart, as fibers with adverse schedules, so that
// the multi-lane text of a row algorithm is tested on a machine without a GPU. Test only.
//
// A lane runs alone until a collective; a collective completes when every lane waits at the same
// call site with the same operation. Anything else ends the run with a LaneError that says who
// waits where. Every collective is a barrier of the schedule, while only sync() orders memory
// (kernels/core/group.h): ThreadSanitizer (preset cpu-tsan) is told of nothing else, so there a
// missing sync() is a data race between two lanes, whatever the schedule and whatever the values.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
// A function between the two halves of a fiber switch: the race detector already takes it for the
// other side.
#define QUARRY_SWITCHES_FIBERS [[gnu::no_sanitize_thread, gnu::noinline]]
#else
#define QUARRY_SWITCHES_FIBERS
#endif

namespace quarry::test {

/// While it lives the race detector overlooks this fiber's reads and writes: for what belongs to
/// the emulation and not to the kernel. Order by sync() is still recorded.
class Unseen {
 public:
#if defined(__SANITIZE_THREAD__)
  Unseen() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Unseen() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
#else
  Unseen() {}
#endif
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;
};

/// Lanes met where they must not: divergence, a missing collective, a wrong argument. The text
/// lists every lane.
struct LaneError : std::logic_error {
  using std::logic_error::logic_error;
};

enum class Schedule : std::uint8_t {
  kInOrder,   ///< lanes run by rank
  kRandom,    ///< a new order after every collective
  kStarving,  ///< lane `seed mod width` runs only when no other can, the others in descending rank
};
inline constexpr Schedule kSchedules[] = {Schedule::kInOrder, Schedule::kRandom,
                                          Schedule::kStarving};

class Lanes;

/// One lane's view: the Group concept of kernels/core/group.h.
class LaneGroup {
 public:
  using Where = std::source_location;
  std::uint32_t rank() const { return rank_; }
  std::uint32_t size() const;
  void sync(Where at = Where::current()) const;
  std::uint32_t sum(std::uint32_t v, Where at = Where::current()) const;
  std::uint64_t sum64(std::uint64_t v, Where at = Where::current()) const;
  std::uint64_t min(std::uint64_t v, Where at = Where::current()) const;
  std::uint64_t max(std::uint64_t v, Where at = Where::current()) const;
  std::uint32_t scan(std::uint32_t v, std::uint32_t* total, Where at = Where::current()) const;
  std::uint64_t broadcast(std::uint64_t v, std::uint32_t lane, Where at = Where::current()) const;

 private:
  friend class Lanes;
  LaneGroup(Lanes* lanes, std::uint32_t rank) : lanes_(lanes), rank_(rank) {}
  Lanes* lanes_;
  std::uint32_t rank_;
};

/// Owns the fibers; one run at a time, on the calling thread.
class Lanes {
 public:
  Lanes(std::uint32_t width, Schedule schedule, std::uint64_t seed)
      : schedule_(schedule), seed_(seed), random_(seed * 0x9E3779B97F4A7C15u + 1), lanes_(width) {
    if (width == 0) throw LaneError("a group needs at least one lane");
    for (Lane& lane : lanes_) lane.stack = std::make_unique_for_overwrite<char[]>(kStackBytes);
  }
  std::uint32_t width() const { return static_cast<std::uint32_t>(lanes_.size()); }

  /// Runs `body` once per lane to the end. Rethrows the first exception of a lane; the other lanes
  /// are unwound first.
  void run(const std::function<void(LaneGroup&)>& body) {
    const Unseen emulation;
    body_ = &body;
    abandoned_ = false;
    for (Lane& lane : lanes_) start(lane);
    all_before(&start_point_);
    try {
      while (step()) {
      }
    } catch (...) {
      unwind();
      release();
      throw;
    }
    release();
  }

 private:
  friend class LaneGroup;
  enum class State : std::uint8_t { kReady, kWaiting, kDone };
  enum class Op : std::uint8_t { kSync, kSum, kSum64, kMin, kMax, kScan, kBroadcast };
  struct Answer {
    std::uint64_t result, total;
  };
  struct Abandoned {};
  struct Lane {
    std::unique_ptr<char[]> stack;
    ucontext_t context;
    State state = State::kDone;
    bool begun = false;
    Op op = Op::kSync;
    std::source_location at;
    std::uint64_t value = 0, result = 0, total = 0;
    std::uint32_t source = 0;
    std::uint32_t syncs = 0;
    std::exception_ptr failure;
    void* fake_stack = nullptr;
    void* tsan_fiber = nullptr;
  };
  static constexpr std::size_t kStackBytes = 256 * 1024;

  void start(Lane& lane) {
    lane.state = State::kReady;
    lane.begun = false;
    lane.syncs = 0;
    lane.failure = nullptr;
    getcontext(&lane.context);
    lane.context.uc_stack.ss_sp = lane.stack.get();
    lane.context.uc_stack.ss_size = kStackBytes;
    lane.context.uc_link = nullptr;
    const auto self = reinterpret_cast<std::uintptr_t>(this);
    makecontext(&lane.context, reinterpret_cast<void (*)()>(&Lanes::enter), 2,
                static_cast<unsigned>(self), static_cast<unsigned>(self >> 32));
#if defined(__SANITIZE_THREAD__)
    lane.tsan_fiber = __tsan_create_fiber(0);
#endif
  }

  void release() {
#if defined(__SANITIZE_THREAD__)
    for (Lane& lane : lanes_) __tsan_destroy_fiber(lane.tsan_fiber);
#endif
  }

  /// What this fiber has done so far comes before what others do after their all_after().
  static void all_before([[maybe_unused]] void* point) {
#if defined(__SANITIZE_THREAD__)
    __tsan_release(point);
#endif
  }
  static void all_after([[maybe_unused]] void* point) {
#if defined(__SANITIZE_THREAD__)
    __tsan_acquire(point);
#endif
  }

  QUARRY_SWITCHES_FIBERS static void enter(unsigned low, unsigned high) {
    auto* self = reinterpret_cast<Lanes*>(std::uintptr_t{high} << 32 | low);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &self->main_bottom_, &self->main_size_);
#endif
    Lane& lane = self->lanes_[self->current_];
    all_after(&self->start_point_);
    try {
      LaneGroup group(self, self->current_);
      (*self->body_)(group);
    } catch (const Abandoned&) {
    } catch (...) {
      lane.failure = std::current_exception();
    }
    lane.state = State::kDone;
    self->leave(lane);
  }

  /// Main to lane. A lane must not learn by being run what others have done before it.
  QUARRY_SWITCHES_FIBERS void resume(std::uint32_t index) {
    Lane& lane = lanes_[index];
    current_ = index;
    lane.begun = true;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&main_fake_, lane.stack.get(), kStackBytes);
#endif
#if defined(__SANITIZE_THREAD__)
    tsan_main_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(lane.tsan_fiber, __tsan_switch_to_fiber_no_sync);
#endif
    swapcontext(&main_, &lane.context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(main_fake_, nullptr, nullptr);
#endif
    if (lane.failure && !abandoned_) std::rethrow_exception(lane.failure);
  }

  /// Lane to main, which may know all.
  QUARRY_SWITCHES_FIBERS void leave(Lane& lane) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(lane.state == State::kDone ? nullptr : &lane.fake_stack,
                                   main_bottom_, main_size_);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(tsan_main_, 0);
#endif
    swapcontext(&lane.context, &main_);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(lane.fake_stack, &main_bottom_, &main_size_);
#endif
  }

  std::uint64_t next_random() {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return random_;
  }

  std::vector<std::uint32_t> order() {
    const std::uint32_t n = width();
    std::vector<std::uint32_t> lanes(n);
    for (std::uint32_t i = 0; i < n; ++i) lanes[i] = i;
    if (schedule_ == Schedule::kRandom) {
      for (std::uint32_t i = n; i > 1; --i) std::swap(lanes[i - 1], lanes[next_random() % i]);
    } else if (schedule_ == Schedule::kStarving) {
      std::reverse(lanes.begin(), lanes.end());
      const auto starved = static_cast<std::uint32_t>(seed_ % n);
      lanes.erase(std::find(lanes.begin(), lanes.end(), starved));
      lanes.push_back(starved);
    }
    return lanes;
  }

  /// Every lane up to its next collective, then that collective; false when all lanes have ended.
  bool step() {
    for (const std::uint32_t i : order()) {
      if (lanes_[i].state == State::kReady) resume(i);
    }
    const auto done = std::count_if(lanes_.begin(), lanes_.end(),
                                    [](const Lane& l) { return l.state == State::kDone; });
    if (done == static_cast<std::ptrdiff_t>(lanes_.size())) return false;
    if (done > 0) throw LaneError("deadlock: some lanes have ended while others wait" + report());
    const Lane& first = lanes_.front();
    for (const Lane& lane : lanes_) {
      if (lane.op != first.op || lane.at.line() != first.at.line() ||
          lane.at.column() != first.at.column() ||
          std::string_view(lane.at.file_name()) != first.at.file_name()) {
        throw LaneError("divergence: lanes wait at different collectives" + report());
      }
      if (lane.op == Op::kBroadcast && (lane.source != first.source || lane.source >= width())) {
        throw LaneError("broadcast: lanes name different or absent source lanes" + report());
      }
    }
    complete();
    for (Lane& lane : lanes_) lane.state = State::kReady;
    return true;
  }

  void complete() {
    std::uint64_t sum = 0, low = UINT64_MAX, high = 0;
    for (Lane& lane : lanes_) {
      lane.result = sum;  // the exclusive prefix, for scan
      sum += lane.value;
      low = std::min(low, lane.value);
      high = std::max(high, lane.value);
    }
    const std::uint64_t sent =
        lanes_[lanes_.front().op == Op::kBroadcast ? lanes_.front().source : 0].value;
    for (Lane& lane : lanes_) {
      lane.total = sum;
      switch (lane.op) {
        case Op::kSync:
        case Op::kScan:
          break;
        case Op::kSum:
        case Op::kSum64:
          lane.result = sum;
          break;
        case Op::kMin:
          lane.result = low;
          break;
        case Op::kMax:
          lane.result = high;
          break;
        case Op::kBroadcast:
          lane.result = sent;
          break;
      }
    }
  }

  std::string report() const {
    static const char* const kNames[] = {"sync", "sum", "sum64", "min", "max", "scan", "broadcast"};
    std::string text;
    for (std::uint32_t i = 0; i < width(); ++i) {
      const Lane& lane = lanes_[i];
      text += "\n  lane " + std::to_string(i);
      if (lane.state == State::kDone) {
        text += " has ended";
      } else {
        text += std::string(" waits in ") + kNames[static_cast<int>(lane.op)] + " at " +
                lane.at.file_name() + ":" + std::to_string(lane.at.line()) + ":" +
                std::to_string(lane.at.column());
      }
    }
    return text;
  }

  /// Lets suspended lanes leave by an exception, so that what they own is destroyed.
  void unwind() {
    abandoned_ = true;
    for (std::uint32_t i = 0; i < width(); ++i) {
      if (lanes_[i].begun && lanes_[i].state != State::kDone) resume(i);
      lanes_[i].state = State::kDone;
    }
  }

  Answer meet(std::uint32_t rank, Op op, std::uint64_t value, std::uint32_t source,
              std::source_location at) {
    const Unseen emulation;
    Lane& lane = lanes_[rank];
    // Two points in turn: a lane that is already in the next sync() must not be heard by one that
    // has yet to leave this one.
    char* const point = &sync_points_[lane.syncs % 2];
    if (op == Op::kSync) all_before(point);
    lane.syncs += op == Op::kSync ? 1 : 0;
    lane.op = op;
    lane.value = value;
    lane.source = source;
    lane.at = at;
    lane.state = State::kWaiting;
    leave(lane);
    if (op == Op::kSync) all_after(point);
    if (abandoned_) throw Abandoned();
    return {lane.result, lane.total};
  }

  Schedule schedule_;
  std::uint64_t seed_;
  std::uint64_t random_;
  std::vector<Lane> lanes_;
  const std::function<void(LaneGroup&)>* body_ = nullptr;
  ucontext_t main_;
  std::uint32_t current_ = 0;
  bool abandoned_ = false;
  [[maybe_unused]] void* main_fake_ = nullptr;
  [[maybe_unused]] const void* main_bottom_ = nullptr;
  [[maybe_unused]] std::size_t main_size_ = 0;
  [[maybe_unused]] void* tsan_main_ = nullptr;
  char start_point_ = 0, sync_points_[2] = {};  ///< addresses that the race detector knows
};

inline std::uint32_t LaneGroup::size() const {
  const Unseen emulation;
  return lanes_->width();
}
inline void LaneGroup::sync(Where at) const { lanes_->meet(rank_, Lanes::Op::kSync, 0, 0, at); }
inline std::uint32_t LaneGroup::sum(std::uint32_t v, Where at) const {
  return static_cast<std::uint32_t>(lanes_->meet(rank_, Lanes::Op::kSum, v, 0, at).result);
}
inline std::uint64_t LaneGroup::sum64(std::uint64_t v, Where at) const {
  return lanes_->meet(rank_, Lanes::Op::kSum64, v, 0, at).result;
}
inline std::uint64_t LaneGroup::min(std::uint64_t v, Where at) const {
  return lanes_->meet(rank_, Lanes::Op::kMin, v, 0, at).result;
}
inline std::uint64_t LaneGroup::max(std::uint64_t v, Where at) const {
  return lanes_->meet(rank_, Lanes::Op::kMax, v, 0, at).result;
}
inline std::uint32_t LaneGroup::scan(std::uint32_t v, std::uint32_t* total, Where at) const {
  const Lanes::Answer answer = lanes_->meet(rank_, Lanes::Op::kScan, v, 0, at);
  *total = static_cast<std::uint32_t>(answer.total);
  return static_cast<std::uint32_t>(answer.result);
}
inline std::uint64_t LaneGroup::broadcast(std::uint64_t v, std::uint32_t source, Where at) const {
  return lanes_->meet(rank_, Lanes::Op::kBroadcast, v, source, at).result;
}

}  // namespace quarry::test
