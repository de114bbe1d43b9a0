// Arrays that live where the kernels run: the host's own memory on the CPU, a copy on a CUDA
// device.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/errors.h"
#include "kernels/setup/setup.h"

namespace quarry {

/// A text within a name of Placement::share, which says where the text ends.
inline std::string name_part(const std::string& text) {
  return " " + std::to_string(text.size()) + ":" + text;
}

/// Keeps read-only arrays alive in the memory space of an Exec, some of them by name.
class Placement {
 public:
  explicit Placement(const Exec& exec) : exec_(exec) {}

  /// From now on share() takes what `former`, of the same Exec and the same inputs, has by name.
  void follow(const Placement& former) { former_ = former.parts_; }
  /// From now on it does not: what was not taken is let go with the former.
  void stop_following() { former_.clear(); }

  /// What `make` makes with arrays that it keeps in the Placement it is given. Called once by name:
  /// a second recipe, of a Placement that follows this one, shares it. So the name says all that
  /// the value depends on besides the inputs, and its type. What `value.bytes()` says counts too.
  template <class Value, class Make>
  const Value& share(const std::string& name, Make&& make) {
    Part& part = parts_[name];
    if (part.value == nullptr) {
      const auto former = former_.find(name);
      if (former != former_.end()) {
        part = former->second;
      } else {
        const auto arrays = std::make_shared<Placement>(exec_);
        part.value = std::make_shared<const Value>(make(*arrays));
        part.arrays = arrays;
        part.type = &typeid(Value);
      }
      host_bytes_ += part.arrays->host_bytes();
      if constexpr (requires(const Value& value) { value.bytes(); })
        host_bytes_ += static_cast<const Value*>(part.value.get())->bytes();
      device_bytes_ += part.arrays->device_bytes();
    }
    QUARRY_CHECK(*part.type == typeid(Value));
    return *static_cast<const Value*>(part.value.get());
  }

  /// The array in the Exec's space. On the CPU the vector itself is kept; on a device it is
  /// uploaded.
  template <class T>
  const T* keep(std::vector<T> values) {
    if (exec_.device == Device::kCpu) {
      auto held = std::make_shared<const std::vector<T>>(std::move(values));
      kept_.push_back(held);
      host_bytes_ += held->size() * sizeof(T);
      return held->data();
    }
    return upload(values.data(), values.size());
  }

  /// Host memory that somebody else keeps alive: used in place on the CPU, uploaded otherwise.
  template <class T>
  const T* borrow(const T* values, std::size_t count) {
    return exec_.device == Device::kCpu ? values : upload(values, count);
  }

  /// The same, uploaded once for all Placements that follow one another.
  template <class T>
  const T* borrow(const std::string& name, const T* values, std::size_t count) {
    if (exec_.device == Device::kCpu) return values;
    return share<const T*>(name, [&](Placement& arrays) { return arrays.borrow(values, count); });
  }

  /// An array that was made in the Exec's space: taken over, neither copied nor moved.
  template <class T>
  const T* own(PlacedArray<T> array) {
    auto held = std::make_shared<const PlacedArray<T>>(std::move(array));
    kept_.push_back(held);
    (held->on_device() ? device_bytes_ : host_bytes_) += held->size() * sizeof(T);
    return held->data();
  }

  /// What is shared counts in every Placement that has it.
  std::uint64_t host_bytes() const { return host_bytes_; }
  std::uint64_t device_bytes() const { return device_bytes_; }

 private:
  template <class T>
  const T* upload(const T* values, std::size_t count) {
    auto buffer = std::make_shared<DeviceBuffer<T>>(exec_, count > 0 ? count : 1);
    copy_to_device(exec_, buffer->data(), values, count * sizeof(T));
    synchronize(exec_);
    kept_.push_back(buffer);
    device_bytes_ += count * sizeof(T);
    return buffer->data();
  }

  struct Part {
    std::shared_ptr<const Placement> arrays;
    std::shared_ptr<const void> value;
    const std::type_info* type = nullptr;
  };

  Exec exec_;
  std::vector<std::shared_ptr<const void>> kept_;
  std::map<std::string, Part> parts_, former_;
  std::uint64_t host_bytes_ = 0;
  std::uint64_t device_bytes_ = 0;
};

/// An array of the tile loop, written by the host or by kernels. On the CPU both sides are the same
/// memory.
template <class T>
class TileArray {
 public:
  void resize(const Exec& exec, std::size_t count) {
    host_.resize(host_exec(), count);
    if (exec.device == Device::kCuda) device_.resize(exec, count);
  }
  T* host() { return host_.data(); }
  const T* host() const { return host_.data(); }
  std::size_t size() const { return host_.size(); }
  /// Where kernels read and write.
  T* at(const Exec& exec) { return exec.device == Device::kCuda ? device_.data() : host_.data(); }
  void push(const Exec& exec) {
    if (exec.device == Device::kCuda)
      copy_to_device(exec, device_.data(), host_.data(), host_.size() * sizeof(T));
  }
  /// Queues the copy back; the caller synchronises.
  void pull(const Exec& exec) {
    if (exec.device == Device::kCuda)
      copy_to_host(exec, host_.data(), device_.data(), host_.size() * sizeof(T));
  }
  std::uint64_t bytes() const { return host_.capacity_bytes() + device_.capacity_bytes(); }

 private:
  static Exec host_exec() { return {}; }
  HostBuffer<T> host_;
  DeviceBuffer<T> device_;
};

}  // namespace quarry
