// Arrays that cross between Python and the library: seen in place on their way in, owned by Python
// on their way out.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>

#include "python/bind/request.h"

namespace quarry {

/// A [rows, dim] array of anything that speaks DLPack or the buffer protocol, without a copy; it is
/// kept alive by the result. Throws InputError, with what to do, for another dtype than fp32, fp16
/// or bf16, another number of dimensions, an array that is not row-major and contiguous, or one
/// that is not in host memory.
MatrixSource matrix_of(const nanobind::object& array, const std::string& name);

template <class T>
using InColumn =
    nanobind::ndarray<const T, nanobind::ndim<1>, nanobind::c_contig, nanobind::device::cpu>;

/// A column of a result: memory that a NumPy array takes over.
template <class T>
class OutColumn {
 public:
  /// Without Python's lock: pages of a large batch are touched here.
  void allocate(std::size_t size) { data_.reset(new T[size]()); }
  T* data() { return data_.get(); }
  /// Ends this object's hold on the memory, unless Python has none to say so: then it throws.
  nanobind::object to_numpy(std::initializer_list<std::size_t> shape) {
    const nanobind::capsule owner(data_.get(),
                                  [](void* p) noexcept { delete[] static_cast<T*>(p); });
    T* const memory = data_.release();
    return nanobind::ndarray<nanobind::numpy, T>(memory, shape, owner).cast();
  }

 private:
  std::unique_ptr<T[]> data_;
};

}  // namespace quarry
