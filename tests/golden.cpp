// Runs golden cases on a device of choice and prints their hashes; what tools/gpu_check and
// tools/verify_evidence compare. `golden --help` lists the modes.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/device.h"
#include "kernels/core/errors.h"
#include "tests/support/golden_cases.h"
#if defined(QUARRY_HAS_CUDA)
#include "tests/support/launches.h"
#else
#include "tests/support/lane_device.h"
#endif

namespace quarry {
namespace {

using test::GoldenCase;
using test::GoldenExecution;
using test::GoldenHashes;

constexpr const char* kHelp =
    R"(golden [MODE] [OPTIONS]: golden cases on a device, as lines on standard output

modes
  (none)        a line per case: name seeds inputs ids scores reasons
  --families    a line per family of cases: name, number of cases, hash of their lines
                (tests/golden/cases.txt)
  --matrix      the larger cases under every execution:
                name tile shards threads memory ids scores reasons
  --ladder      one case with less and less device memory: limit outcome hashes
  --huge        sampled rows of a batch whose rows x candidates exceed 2^31, a launch per kernel
  --device-info the device as "key value" lines
options
  --device D    cpu, lanes (builds without CUDA), cuda or cuda:N; default cpu
  --threads N   cases at the same time on cpu and lanes; default 1
  --only TEXT   cases whose names contain TEXT; may be given several times
  --sanitizer   the few cases that cover all kernels
  --unpooled    device memory by cudaMalloc instead of the stream-ordered pool
  --width N     lanes of a group; default 32
  --rows N      of --huge, instead of all
  --launches F  writes "kernel launches" lines to the file F (builds with CUDA)
)";

struct Options {
  std::string mode, device = "cpu", launches;
  int threads = 1;
  std::vector<std::string> only;
  bool sanitizer = false, unpooled = false;
  std::uint32_t width = 32;
  std::uint64_t rows = test::kHugeRows;
};

[[noreturn]] void usage(const std::string& why) {
  std::fprintf(stderr, "golden: %s\n%s", why.c_str(), kHelp);
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    const auto value = [&] {
      if (i + 1 == argc) usage(a + " needs a value");
      return std::string(argv[++i]);
    };
    const auto number = [&] {
      const std::string text = value();
      char* end = nullptr;
      const unsigned long long n = std::strtoull(text.c_str(), &end, 10);
      if (text.empty() || *end != '\0' || n == 0) usage(a + ": '" + text + "' is no number");
      return n;
    };
    if (a == "--families" || a == "--matrix" || a == "--ladder" || a == "--huge" ||
        a == "--device-info") {
      o.mode = a;
    } else if (a == "--device") {
      o.device = value();
    } else if (a == "--threads") {
      o.threads = static_cast<int>(number());
    } else if (a == "--only") {
      o.only.push_back(value());
    } else if (a == "--sanitizer") {
      o.sanitizer = true;
    } else if (a == "--unpooled") {
      o.unpooled = true;
    } else if (a == "--width") {
      o.width = static_cast<std::uint32_t>(number());
    } else if (a == "--rows") {
      o.rows = number();
    } else if (a == "--launches") {
      o.launches = value();
    } else if (a == "--help") {
      std::fputs(kHelp, stdout);
      std::exit(0);
    } else {
      usage("unknown argument " + a);
    }
  }
  return o;
}

std::vector<GoldenCase> chosen(const Options& o) {
  std::vector<GoldenCase> cases;
  for (const GoldenCase& c : test::golden_cases()) {
    bool wanted = o.only.empty();
    for (const std::string& text : o.only)
      wanted = wanted || c.name.find(text) != std::string::npos;
    if (wanted && (!o.sanitizer || c.sanitizer)) cases.push_back(c);
  }
  if (cases.empty()) usage("no case has such a name");
  return cases;
}

/// The device of the options, and what holds it.
class Place {
 public:
  explicit Place(const Options& o, const Allocator* allocator = nullptr) : options_(o) {
    if (o.device == "cpu") return;
    exec_.device = Device::kCuda;
    exec_.allocator = allocator;
#if defined(QUARRY_HAS_CUDA)
    int ordinal = 0;
    if (o.device != "cuda" && std::sscanf(o.device.c_str(), "cuda:%d", &ordinal) != 1)
      usage("--device " + o.device + ": this build has cpu and cuda");
    if (allocator == nullptr && o.unpooled) allocator = unpooled_device_memory();
    device_ = std::make_unique<CudaExec>(ordinal, 1, allocator);
    exec_ = device_->exec();
#else
    if (o.device != "lanes") usage("--device " + o.device + ": this build has cpu and lanes");
#endif
  }
  /// To be called by each thread that runs cases.
  void enter() const {
#if !defined(QUARRY_HAS_CUDA)
    lane_device().width = options_.width;
    lane_device().schedule = test::Schedule::kRandom;
#endif
  }
  const Exec& exec() const { return exec_; }
  bool parallel() const { return options_.device == "cpu" || options_.device == "lanes"; }

 private:
  Options options_;
  Exec exec_;
#if defined(QUARRY_HAS_CUDA)
  std::unique_ptr<CudaExec> device_;
#endif
};

/// Memory of the device for the ladder to limit.
const Allocator* device_memory() {
#if defined(QUARRY_HAS_CUDA)
  return unpooled_device_memory();
#else
  return lane_memory();
#endif
}

/// The line of each case, in order.
std::vector<std::string> run_cases(const std::vector<GoldenCase>& cases, const Options& o) {
  const Place place(o);
  std::vector<std::string> lines(cases.size());
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    place.enter();
    try {
      for (std::size_t i = next++; i < cases.size(); i = next++)
        lines[i] = golden_line(cases[i], run_golden(cases[i], {.exec = place.exec()}));
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      failure = std::current_exception();
      next = cases.size();
    }
  };
  std::vector<std::thread> threads;
  for (int t = 1; t < o.threads && place.parallel(); ++t) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
  return lines;
}

std::string outputs(const GoldenHashes& h) { return h.ids + " " + h.scores + " " + h.reasons; }

/// Tiles, shards, host threads, and on a device memory with and without the pool; twice the same at
/// the end, for what only repetition shows.
int run_matrix(const Options& o) {
  struct Setting {
    std::uint32_t tile_rows, shards;
    int threads;
    bool unpooled;
  };
  const Setting kSettings[] = {{1, 1, 1, false},  {7, 3, 2, true},    {64, 1, 2, true},
                               {64, 3, 1, false}, {1024, 1, 1, true}, {1024, 3, 2, false},
                               {7, 1, 1, false},  {7, 1, 1, false}};
  for (const Setting& s : kSettings) {
    Options with = o;
    with.unpooled = s.unpooled;
    const Place place(with);
    place.enter();
    Exec exec = place.exec();
    exec.threads = s.threads;
    for (const GoldenCase& c : chosen(o)) {
      if (!c.matrix) continue;
      std::printf("%s %u %u %d %s %s\n", c.name.c_str(), s.tile_rows, s.shards, s.threads,
                  s.unpooled ? "unpooled" : "pooled",
                  outputs(run_golden(c, {exec, s.tile_rows, s.shards})).c_str());
    }
  }
  return 0;
}

/// Memory that ends at a limit, and knows the most that was taken at a time.
struct Limited {
  std::uint64_t limit = UINT64_MAX, used = 0, peak = 0;
  static void* allocate(void* self, std::size_t bytes, const Exec& exec) {
    auto* limited = static_cast<Limited*>(self);
    if (limited->used + bytes > limited->limit) return nullptr;
    void* pointer = device_memory()->allocate(device_memory()->self, bytes, exec);
    if (pointer == nullptr) return nullptr;
    limited->used += bytes;
    limited->peak = std::max(limited->peak, limited->used);
    return pointer;
  }
  static void release(void* self, void* pointer, std::size_t bytes, const Exec& exec) noexcept {
    static_cast<Limited*>(self)->used -= bytes;
    device_memory()->release(device_memory()->self, pointer, bytes, exec);
  }
};

int run_ladder(const Options& o) {
  if (o.device == "cpu") usage("--ladder limits device memory: --device lanes or cuda");
  GoldenCase golden;
  for (const GoldenCase& c : test::golden_cases())
    if (c.name == "balanced/matrix") golden = c;
  const auto step = [&](const char* what, std::uint64_t limit, const Exec& exec) {
    std::string outcome;
    try {
      outcome = "mined " + outputs(run_golden(golden, {exec, 1024, 1}));
    } catch (const OutOfMemory&) {
      outcome = "out-of-memory - - -";
    }
    std::printf("%s %llu %s\n", what, static_cast<unsigned long long>(limit), outcome.c_str());
  };
  Limited memory;
  const Allocator allocator{Limited::allocate, Limited::release, &memory};
  const Place place(o, &allocator);
  place.enter();
  step("unlimited", 0, place.exec());
  const std::uint64_t peak = memory.peak;
  for (const std::uint64_t sixteenths : {16u, 15u, 14u, 12u, 10u, 8u, 6u, 4u, 2u, 1u, 0u}) {
    memory.limit = peak / 16 * sixteenths + (sixteenths == 16 ? peak % 16 : 0);
    step("limit", memory.limit, place.exec());
  }
  memory.limit = UINT64_MAX;
  step("unlimited", 0, place.exec());
  if (memory.used != 0) {
    std::fprintf(stderr, "golden: %llu bytes of device memory were not given back\n",
                 static_cast<unsigned long long>(memory.used));
    return 1;
  }
#if defined(QUARRY_HAS_CUDA)
  // The device itself refuses: all but a little of its memory is taken.
  const Place pooled(o);
  step("pool", 0, pooled.exec());
  for (const std::uint64_t left : {256u, 32u, 4u, 0u}) {
    const std::uint64_t free = cuda_device_info(pooled.exec().cuda_device).free_bytes;
    std::uint64_t take = free > (left << 20) ? free - (left << 20) : 0;
    void* taken = nullptr;
    while (take > 0 && (taken = device_memory()->allocate(nullptr, take, pooled.exec())) == nullptr)
      take -= std::min<std::uint64_t>(take, 8u << 20);
    step("device-full", left << 20, pooled.exec());
    if (taken != nullptr) device_memory()->release(nullptr, taken, take, pooled.exec());
  }
  step("pool", 0, pooled.exec());
#endif
  return 0;
}

int run_huge_batch(const Options& o) {
  const test::HugeBatch batch = test::huge_batch(o.rows, false);
  const Place place(o);
  place.enter();
#if defined(QUARRY_HAS_CUDA)
  if (place.exec().device == Device::kCuda) {
    const std::uint64_t free = cuda_device_info(place.exec().cuda_device).free_bytes;
    if (free < test::huge_bytes(batch)) {
      std::fprintf(stderr,
                   "golden: --huge needs about %llu bytes of device memory, %llu are free\n",
                   static_cast<unsigned long long>(test::huge_bytes(batch)),
                   static_cast<unsigned long long>(free));
      return 6;
    }
  }
#endif
  const GoldenHashes h = test::run_huge(batch, place.exec());
  std::printf("%llu %llu %zu %s %s\n", static_cast<unsigned long long>(o.rows),
              static_cast<unsigned long long>(test::kHugeStride), batch.sampled.size(),
              h.inputs.c_str(), outputs(h).c_str());
  return 0;
}

int device_info() {
#if defined(QUARRY_HAS_CUDA)
  std::string why;
  if (cuda_device_count(&why) == 0) {
    std::fprintf(stderr, "golden: no usable CUDA device: %s\n", why.c_str());
    return 7;
  }
  const DeviceInfo info = cuda_device_info(0);
  std::printf(
      "name %s\ncompute_capability %d.%d\nmultiprocessors %d\ntotal_bytes %llu\n"
      "driver_cuda %d\nruntime_cuda %d\n",
      info.name.c_str(), info.major, info.minor, info.multiprocessors,
      static_cast<unsigned long long>(info.total_bytes), info.driver_version, info.runtime_version);
  return 0;
#else
  std::fprintf(stderr, "golden: this build has no CUDA\n");
  return 7;
#endif
}

void write_launches([[maybe_unused]] const std::string& path) {
#if defined(QUARRY_HAS_CUDA)
  if (path.empty()) return;
  std::ofstream file(path);
  for (const auto& [name, count] : test::kernel_launches()) file << name << " " << count << "\n";
  file.close();
  if (!file) throw IoError("cannot write " + path);
#endif
}

int run(const Options& o) {
  if (o.mode == "--device-info") return device_info();
  if (o.mode == "--matrix") return run_matrix(o);
  if (o.mode == "--ladder") return run_ladder(o);
  if (o.mode == "--huge") return run_huge_batch(o);
  std::vector<std::string> lines = run_cases(chosen(o), o);
  if (o.mode == "--families") lines = test::golden_families(lines);
  for (const std::string& line : lines) std::puts(line.c_str());
  return 0;
}

}  // namespace
}  // namespace quarry

int main(int argc, char** argv) {
  const quarry::Options options = quarry::parse(argc, argv);
  try {
    const int code = quarry::run(options);
    quarry::write_launches(options.launches);
    return code;
  } catch (const quarry::DeviceError& error) {
    std::fprintf(stderr, "golden: %s\n", error.what());
    return 7;
  } catch (const quarry::OutOfMemory& error) {
    std::fprintf(stderr, "golden: %s\n", error.what());
    return 6;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "golden: %s\n", error.what());
    return 1;
  }
}
