// Table files of the program as Python reads them: columns laid out as Arrow has them.
#include "python/bind/bind_text_table.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <utility>

#include "kernels/core/errors.h"
#include "python/bind/arrays.h"
#include "python/bind/text_table.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace quarry {
namespace {

/// (offsets, chars): text r is chars[offsets[r], offsets[r + 1]), as Arrow's utf8. A batch holds
/// less than 2 GiB.
std::pair<nb::object, nb::object> texts_of(const TextTable& table, std::size_t slot) {
  const auto texts = table.texts(slot);
  OutColumn<std::int32_t> offsets;
  OutColumn<std::uint8_t> chars;
  offsets.allocate(texts.size() + 1);
  std::size_t size = 0;
  for (std::size_t row = 0; row < texts.size(); ++row) {
    size += texts[row].size();
    offsets.data()[row + 1] = static_cast<std::int32_t>(size);
  }
  chars.allocate(size);
  std::uint8_t* out = chars.data();
  for (const std::string_view text : texts) out = std::copy(text.begin(), text.end(), out);
  return {offsets.to_numpy({texts.size() + 1}), chars.to_numpy({size})};
}

/// (values, valid): what `read` makes of each field, and uint8 1 where that is a value.
template <class T, std::optional<T> (*read)(std::string_view, const std::string&)>
std::pair<nb::object, nb::object> values_of(const TextTable& table, std::size_t slot) {
  const auto texts = table.texts(slot);
  OutColumn<T> values;
  OutColumn<std::uint8_t> valid;
  values.allocate(texts.size());
  valid.allocate(texts.size());
  for (std::size_t row = 0; row < texts.size(); ++row) {
    std::optional<T> value;
    try {
      value = read(texts[row], std::string());
    } catch (const InputError&) {
      // The place is made only for the one that needs it: that costs more than the reading.
      value = read(texts[row], table.where(row, slot));
    }
    values.data()[row] = value.value_or(T{});
    valid.data()[row] = value ? 1 : 0;
  }
  return {values.to_numpy({texts.size()}), valid.to_numpy({texts.size()})};
}

}  // namespace

void bind_text_table(nb::module_& m) {
  using T = TextTable;
  nb::class_<T>(m, "TextTable", "A table file; as in python/bind/text_table.h.")
      .def(nb::init<const std::string&>(), "path"_a)
      .def_prop_ro("columns", &T::column_names)
      .def_prop_ro("rows", &T::rows)
      .def("select", &T::select, "columns"_a)
      .def("next", &T::next, nb::call_guard<nb::gil_scoped_release>())
      .def("where", nb::overload_cast<std::size_t>(&T::where, nb::const_), "row"_a)
      .def("texts", &texts_of, "slot"_a)
      .def("times", &values_of<std::int64_t, time_in>, "slot"_a)
      .def("numbers", &values_of<double, number_in>, "slot"_a)
      .def("keys", &values_of<std::uint64_t, key_in>, "slot"_a)
      .def("floats", &values_of<double, float_in>, "slot"_a)
      .def("ints", &values_of<std::int64_t, int_in>, "slot"_a)
      .def("bools", &values_of<std::uint8_t, bool_in>, "slot"_a)
      .def("dates", &values_of<std::int32_t, date_in>, "slot"_a)
      .def("instants", &values_of<std::int64_t, instant_in>, "slot"_a);
}

}  // namespace quarry
