// FAISS on a GPU, behind FaissSearcher. A device fault inside FAISS ends the process: its CUDA and
// cuBLAS checks and its assertions print and call abort(), which no caller can catch. So everything
// known to fail them is refused here with an error first. Compiled only where FAISS was built with
// GPU support.
//
// Inputs and outputs are device memory: FAISS uses them where they lie and returns with its work
// queued on our stream. Precision is fp32 with fp32 accumulation and no TF32 for flat indexes, so
// the bound of index/certificate.cpp holds.
#if defined(QUARRY_HAS_FAISS) && defined(QUARRY_FAISS_GPU)

#include <cuda_runtime_api.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/gpu/GpuCloner.h>
#include <faiss/gpu/GpuClonerOptions.h>
#include <faiss/gpu/GpuIndex.h>
#include <faiss/gpu/StandardGpuResources.h>
#include <faiss/gpu/utils/DeviceUtils.h>
#include <faiss/impl/FaissException.h>

#include <algorithm>
#include <limits>
#include <string>

#include "index/faiss_searcher.h"
#include "kernels/core/errors.h"

namespace quarry {
namespace {

/// FAISS's k-selection on the device (GPU_MAX_SELECTION_K), which bounds nprobe too; more with
/// cuVS, not relied on.
constexpr std::uint32_t kMaxSelection = 2048;
/// An IVF search makes rows * nprobe * (12 k + 4 dim) bytes at once, untiled: this much per call
/// fits FAISS's own temporary memory, so that no search falls back to cudaMalloc.
constexpr std::uint64_t kSearchBytes = std::uint64_t{512} << 20;
/// Flat searches tile themselves; this only bounds the size of one call.
constexpr std::uint64_t kFlatRows = 65536;

/// Makes a device current and puts the caller's back: FAISS and its destructors leave theirs
/// behind.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device) {
    if (cudaGetDevice(&saved_) != cudaSuccess || cudaSetDevice(device) != cudaSuccess) {
      throw DeviceError("cannot select CUDA device " + std::to_string(device) + " (" +
                        cudaGetErrorString(cudaGetLastError()) + "); see `quarry doctor`");
    }
  }
  ~CurrentDevice() { (void)cudaSetDevice(saved_); }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int saved_ = 0;
};

void require_device(int device) {
  // Asked of CUDA first: FAISS's own count aborts on every error but "no device" and "driver too
  // old".
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) count = 0;
  if (device < 0 || device >= count) {
    throw DeviceError(
        "CUDA device " + std::to_string(device) + " is not there: " + std::to_string(count) +
        " found" +
        (error != cudaSuccess ? std::string(" (") + cudaGetErrorString(error) + ")" : "") +
        "; choose a smaller ordinal, or --device cpu");
  }
  if (faiss::gpu::getNumDevices() <= device) {
    throw DeviceError("FAISS sees " + std::to_string(faiss::gpu::getNumDevices()) +
                      " CUDA devices, device " + std::to_string(device) +
                      " was asked for; rebuild FAISS for this driver, or --device cpu");
  }
}

class GpuSearcher final : public FaissSearcher {
 public:
  GpuSearcher(const Exec& exec, const faiss::Index& index, std::uint32_t nprobe)
      : device_(exec.cuda_device), nprobe_(nprobe) {
    const CurrentDevice current(device_);
    resources_ = std::make_unique<faiss::gpu::StandardGpuResources>();
    if (exec.stream != nullptr) resources_->setDefaultStream(device_, exec.stream);
    faiss::gpu::GpuClonerOptions options;
    options.useFloat16 = false;
    options.useFloat16CoarseQuantizer = false;
    try {
      index_.reset(faiss::gpu::index_cpu_to_gpu(resources_.get(), device_, &index, &options));
    } catch (const faiss::FaissException& error) {
      throw DeviceError("FAISS cannot copy the index of " + std::to_string(index.ntotal) +
                        " items to CUDA device " + std::to_string(device_) + " (" + error.what() +
                        "); a kind with SQfp16 needs half the memory, or --device cpu");
    }
  }
  ~GpuSearcher() override {
    int saved = 0;
    (void)cudaGetDevice(&saved);
    (void)cudaSetDevice(device_);
    index_.reset();  // before the resources that it uses
    resources_.reset();
    (void)cudaSetDevice(saved);
  }

  void search(const Exec& exec, const float* queries, std::uint32_t rows, std::uint32_t k,
              float* distances, FaissId* labels) override {
    if (k == 0 || k > kMaxSelection) {
      throw ConfigError("FAISS on a GPU finds 1 to " + std::to_string(kMaxSelection) +
                        " items per query, " + std::to_string(k) +
                        " were asked for; use the index kind exact, or a smaller depth");
    }
    if (exec.cuda_device != device_) {
      throw ConfigError("the index lies on CUDA device " + std::to_string(device_) +
                        ", the search was asked for on " + std::to_string(exec.cuda_device) +
                        "; make one retriever per device");
    }
    const CurrentDevice current(device_);
    if (exec.stream != nullptr) resources_->setDefaultStream(device_, exec.stream);
    const auto dim = static_cast<std::uint64_t>(index_->d);
    const std::uint64_t bytes_per_row =
        nprobe_ == 0 ? 1 : std::uint64_t{nprobe_} * (12 * std::uint64_t{k} + 4 * dim);
    std::uint64_t tile = nprobe_ == 0 ? kFlatRows : kSearchBytes / bytes_per_row;
    // Every extent of a product, and the elements of one tile, must fit a 32-bit integer.
    tile = std::min(
        tile, std::uint64_t{std::numeric_limits<int>::max()} / std::max<std::uint64_t>(dim, k));
    tile = std::max<std::uint64_t>(tile, 1);
    for (std::uint64_t begin = 0; begin < rows; begin += tile) {
      const std::uint64_t n = std::min<std::uint64_t>(tile, rows - begin);
      index_->search(static_cast<FaissId>(n), queries + begin * dim, k, distances + begin * k,
                     labels + begin * k);
    }
  }
  bool on_device() const override { return true; }
  std::uint32_t max_k() const override { return kMaxSelection; }

 private:
  int device_;
  std::uint32_t nprobe_;  ///< 0: flat
  std::unique_ptr<faiss::gpu::StandardGpuResources> resources_;
  std::unique_ptr<faiss::Index> index_;
};

}  // namespace

/// What index_cpu_to_gpu takes over. Asked here, because some of what it does not take trips an
/// assertion.
bool has_gpu_form(const faiss::Index& index) {
  if (const auto* sq = dynamic_cast<const faiss::IndexScalarQuantizer*>(&index)) {
    return sq->sq.qtype == faiss::ScalarQuantizer::QT_fp16;
  }
  return dynamic_cast<const faiss::IndexFlat*>(&index) != nullptr ||
         dynamic_cast<const faiss::IndexIVFFlat*>(&index) != nullptr ||
         dynamic_cast<const faiss::IndexIVFScalarQuantizer*>(&index) != nullptr ||
         dynamic_cast<const faiss::IndexIVFPQ*>(&index) != nullptr;
}

std::unique_ptr<FaissSearcher> make_gpu_searcher(const Exec& exec, const faiss::Index& index,
                                                 const FaissOptions& options) {
  require_device(exec.cuda_device);
  QUARRY_CHECK(has_gpu_form(index));
  if (index.ntotal > std::numeric_limits<int>::max()) {
    throw ConfigError(std::to_string(index.ntotal) + " items on one GPU; FAISS takes up to " +
                      std::to_string(std::numeric_limits<int>::max()) +
                      ", shard the items or use --device cpu");
  }
  const std::uint32_t nprobe = lists_visited(index, options);
  if (nprobe > kMaxSelection) {
    throw ConfigError("nprobe " + std::to_string(nprobe) + " on a GPU; FAISS takes up to " +
                      std::to_string(kMaxSelection) + ", name a smaller nprobe");
  }
  if (const auto* pq = dynamic_cast<const faiss::IndexIVFPQ*>(&index);
      pq != nullptr && pq->pq.nbits != 8) {
    throw ConfigError("index \"" + options.index + "\": FAISS on a GPU takes 8 bits per PQ code");
  }
  return std::make_unique<GpuSearcher>(exec, index, nprobe);
}

}  // namespace quarry

#endif
