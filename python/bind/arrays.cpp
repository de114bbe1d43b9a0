// Matrices of Python, seen in place.
#include "python/bind/arrays.h"

#include "kernels/core/errors.h"

namespace nb = nanobind;

namespace quarry {
namespace {

std::string words_of(const nb::dlpack::dtype& type) {
  const auto code = static_cast<nb::dlpack::dtype_code>(type.code);
  const std::string bits = std::to_string(type.bits);
  switch (code) {
    case nb::dlpack::dtype_code::Float:
      return "float" + bits;
    case nb::dlpack::dtype_code::Int:
      return "int" + bits;
    case nb::dlpack::dtype_code::UInt:
      return "uint" + bits;
    case nb::dlpack::dtype_code::Bfloat:
      return "bfloat" + bits;
    case nb::dlpack::dtype_code::Complex:
      return "complex" + bits;
    case nb::dlpack::dtype_code::Bool:
      return "bool";
    default:
      return "of DLPack's type " + std::to_string(type.code);
  }
}

Dtype dtype_of(const nb::ndarray<nb::ro>& array, const std::string& name) {
  if (array.dtype() == nb::dtype<float>()) return Dtype::kF32;
  const nb::dlpack::dtype type = array.dtype();
  if (type.lanes == 1 && type.bits == 16) {
    if (type.code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float)) return Dtype::kF16;
    if (type.code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::Bfloat)) return Dtype::kBf16;
  }
  throw InputError(name + ": is " + words_of(type) +
                   "; float32, float16 and bfloat16 are taken. Convert it, for example with " +
                   name + ".astype('float32'), which makes a copy");
}

std::string shape_of(const nb::ndarray<nb::ro>& array) {
  std::string text = "(";
  for (std::size_t i = 0; i < array.ndim(); ++i)
    text += (i > 0 ? ", " : "") + std::to_string(array.shape(i));
  return text + ")";
}

}  // namespace

MatrixSource matrix_of(const nb::object& object, const std::string& name) {
  auto array = std::make_shared<nb::ndarray<nb::ro>>();
  if (!nb::try_cast(object, *array)) {
    throw InputError(name + ": is a " + nb::cast<std::string>(nb::str(object.type())) +
                     ", which gives no array by DLPack or the buffer protocol; pass a NumPy array, "
                     "a torch tensor on the CPU, or the path of a file");
  }
  if (array->device_type() != nb::device::cpu::value) {
    throw InputError(name + ": is not in host memory (DLPack device " +
                     std::to_string(array->device_type()) +
                     "); this build mines on the CPU: move it there, for example with " + name +
                     ".cpu(), which makes a copy");
  }
  MatrixSource source;
  source.view.dtype = dtype_of(*array, name);
  if (array->ndim() != 2) {
    throw InputError(name + ": has shape " + shape_of(*array) +
                     "; two dimensions are needed, one row per vector");
  }
  source.view.rows = array->shape(0);
  const std::size_t dim = array->shape(1);
  if (dim == 0 || dim > 65536) {
    throw InputError(name + ": has shape " + shape_of(*array) +
                     "; 1 to 65536 numbers per row are supported");
  }
  source.view.dim = static_cast<std::uint32_t>(dim);
  const auto width = static_cast<std::int64_t>(dim);
  const bool row_major =
      source.view.rows == 0 ||
      ((dim == 1 || array->stride(1) == 1) && (source.view.rows == 1 || array->stride(0) == width));
  if (!row_major) {
    throw InputError(name + ": its rows do not lie one behind the other (shape " +
                     shape_of(*array) + ", strides in elements " +
                     std::to_string(array->stride(0)) + ", " + std::to_string(array->stride(1)) +
                     "); numpy.ascontiguousarray(" + name + ") or " + name +
                     ".contiguous() makes a copy whose rows do");
  }
  source.view.data = array->data();
  const std::size_t align = source.view.dtype == Dtype::kF32 ? 4 : 2;
  if (reinterpret_cast<std::uintptr_t>(source.view.data) % align != 0)
    throw InputError(name + ": does not begin at a multiple of its element size; copy it");
  source.owner = std::move(array);
  return source;
}

}  // namespace quarry
