// Owning arrays whose memory space is part of the type, and views of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

#include "kernels/core/errors.h"
#include "kernels/core/exec.h"

namespace quarry {

struct HostSpace {};
struct DeviceSpace {};

/// Raw memory of a space. Device forms throw DeviceError in builds without CUDA. Allocation throws
/// OutOfMemory with the bytes wanted (and, on a device, free and total).
template <class Space>
void* allocate_bytes(const Exec& exec, std::size_t bytes);
template <class Space>
void release_bytes(const Exec& exec, void* pointer, std::size_t bytes) noexcept;
template <>
void* allocate_bytes<HostSpace>(const Exec& exec, std::size_t bytes);
template <>
void release_bytes<HostSpace>(const Exec& exec, void* pointer, std::size_t bytes) noexcept;
template <>
void* allocate_bytes<DeviceSpace>(const Exec& exec, std::size_t bytes);
template <>
void release_bytes<DeviceSpace>(const Exec& exec, void* pointer, std::size_t bytes) noexcept;

/// Stream-ordered copies; the caller synchronises before reading host memory that was copied to.
void copy_to_device(const Exec& exec, void* device, const void* host, std::size_t bytes);
void copy_to_host(const Exec& exec, void* host, const void* device, std::size_t bytes);
void fill_device(const Exec& exec, void* device, int byte, std::size_t bytes);
/// Waits for the work queued on exec.stream; nothing to do on the CPU.
void synchronize(const Exec& exec);

/// Owns `size()` elements of T, uninitialised. Move-only. Growing drops the content: these are work
/// areas.
template <class T, class Space>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Buffer() = default;
  Buffer(const Exec& exec, std::size_t count) { resize(exec, count); }
  ~Buffer() { reset(); }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer moved(std::move(other));
    swap(moved);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  /// At least `count` elements; keeps the memory if it is large enough, so a loop over tiles
  /// allocates once.
  void resize(const Exec& exec, std::size_t count) {
    if (count > capacity_) {
      reset();
      if (count > SIZE_MAX / sizeof(T))
        throw OutOfMemory("array of " + std::to_string(count) + " elements overflows");
      data_ = static_cast<T*>(allocate_bytes<Space>(exec, count * sizeof(T)));
      capacity_ = count;
      exec_ = exec;
    }
    size_ = count;
  }
  void reset() noexcept {
    if (data_ != nullptr) release_bytes<Space>(exec_, data_, capacity_ * sizeof(T));
    data_ = nullptr;
    size_ = capacity_ = 0;
  }
  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t capacity_bytes() const { return capacity_ * sizeof(T); }
  std::span<T> span() requires std::is_same_v<Space, HostSpace> { return {data_, size_}; }
  std::span<const T> span() const requires std::is_same_v<Space, HostSpace> {
    return {data_, size_};
  }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    std::swap(exec_, other.exec_);
  }
  T* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
  Exec exec_;
};

template <class T>
using HostBuffer = Buffer<T, HostSpace>;
template <class T>
using DeviceBuffer = Buffer<T, DeviceSpace>;

/// A work area in the memory of exec.device, for host code that is the same for both. An Exec with
/// another device makes it change sides; the other side's memory is kept.
template <class T>
class ExecBuffer {
 public:
  void resize(const Exec& exec, std::size_t count) {
    on_device_ = exec.device == Device::kCuda;
    if (on_device_) {
      device_.resize(exec, count);
    } else {
      host_.resize(exec, count);
    }
  }
  T* data() { return on_device_ ? device_.data() : host_.data(); }
  std::size_t size() const { return on_device_ ? device_.size() : host_.size(); }
  std::uint64_t host_bytes() const { return host_.capacity_bytes(); }
  std::uint64_t device_bytes() const { return device_.capacity_bytes(); }

 private:
  bool on_device_ = false;
  HostBuffer<T> host_;
  DeviceBuffer<T> device_;
};

/// Into memory of exec.device, on its stream: a copy of host memory, or one byte everywhere.
inline void copy_from_host(const Exec& exec, void* to, const void* host, std::size_t bytes) {
  if (exec.device == Device::kCuda) {
    copy_to_device(exec, to, host, bytes);
  } else if (bytes > 0) {
    std::memcpy(to, host, bytes);
  }
}
inline void fill_bytes(const Exec& exec, void* to, int byte, std::size_t bytes) {
  if (exec.device == Device::kCuda) {
    fill_device(exec, to, byte, bytes);
  } else if (bytes > 0) {
    std::memset(to, byte, bytes);
  }
}

}  // namespace quarry
