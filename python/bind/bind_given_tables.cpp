// Tables in memory as Python gives them: columns of numbers by array, texts by array or object.
#include "python/bind/bind_given_tables.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cmath>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "host/data/message.h"
#include "python/bind/arrays.h"
#include "python/bind/given_table.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace quarry {
namespace {

using Texts = std::shared_ptr<const TextList>;
/// What Python holds of texts.
struct BoundTexts {
  Texts list;
};

enum class Sort : std::uint8_t { kNone, kText, kInteger, kNumber, kTruth, kOther };

Sort sort_of(PyObject* object) {
  if (object == Py_None) return Sort::kNone;
  if (PyUnicode_Check(object)) return Sort::kText;
  if (PyBool_Check(object)) return Sort::kTruth;
  if (PyLong_Check(object)) return Sort::kInteger;
  if (PyFloat_Check(object))
    return std::isnan(PyFloat_AS_DOUBLE(object)) ? Sort::kNone : Sort::kNumber;
  const std::string_view type = Py_TYPE(object)->tp_name;
  if (type.ends_with("NAType") || type.ends_with("NaTType")) return Sort::kNone;
  if (type == "numpy.bool" || type == "numpy.bool_") return Sort::kTruth;
  if (type.starts_with("numpy.float") || type == "numpy.longdouble") return Sort::kNumber;
  if (type.starts_with("numpy.int") || type.starts_with("numpy.uint") ||
      type.starts_with("numpy.long") || type.starts_with("numpy.ulong"))
    return Sort::kInteger;
  return Sort::kOther;
}

std::string shown_object(nb::handle object) {
  try {
    const std::string words = shown(nb::cast<std::string>(nb::repr(object)));  // between quotes
    return nb::cast<std::string>(nb::str(object.type().attr("__name__"))) + " " +
           words.substr(1, words.size() - 2);
  } catch (const std::exception&) {
    return "something that has no words for itself";
  }
}

[[noreturn]] void refuse(const std::string& where, std::size_t row, nb::handle object,
                         const char* why) {
  throw_input_error(where, ", row ", row, ": ", shown_object(object), why);
}

/// Of all entries what they are together; those without a value are anything.
Sort common_sort(const nb::list& list, const std::vector<Sort>& sorts, const std::string& where) {
  Sort all = Sort::kNone;
  for (std::size_t row = 0; row < sorts.size(); ++row) {
    const Sort one = sorts[row];
    if (one == Sort::kOther) {
      refuse(
          where, row, list[row],
          " is none of text, whole number, number, truth value, None; of times make an array, as "
          "with pandas.to_datetime or numpy.array(column, 'datetime64[s]')");
    }
    if (one == Sort::kNone || one == all) continue;
    const auto are = [&](Sort a, Sort b) {
      return (one == a && all == b) || (one == b && all == a);
    };
    if (all == Sort::kNone) {
      all = one;
    } else if (are(Sort::kText, Sort::kInteger)) {
      all = Sort::kText;
    } else if (are(Sort::kInteger, Sort::kNumber)) {
      all = Sort::kNumber;
    } else {
      refuse(where, row, list[row],
             " is of another kind than the entries before it; make all of a column texts, or all "
             "numbers");
    }
  }
  return all;
}

template <class T>
struct Numbers {
  OutColumn<T> values;
  OutColumn<std::uint8_t> valid;
  explicit Numbers(std::size_t rows) { values.allocate(rows), valid.allocate(rows); }
  void set(std::size_t row, T value) { values.data()[row] = value, valid.data()[row] = 1; }
  nb::tuple give(const char* kind, std::size_t rows) {
    return nb::make_tuple(kind, values.to_numpy({rows}), valid.to_numpy({rows}));
  }
};

/// A text, or a whole number in decimal.
void add_object(TextList& texts, nb::handle object, Sort sort, const std::string& where) {
  if (sort == Sort::kNone) return texts.add({}, where);
  // A text as it is: an Enum of texts would name its member otherwise.
  const nb::object text =
      PyUnicode_Check(object.ptr()) ? nb::borrow<nb::object>(object) : nb::object(nb::str(object));
  Py_ssize_t size = 0;
  const char* const bytes = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
  if (bytes == nullptr) {
    PyErr_Clear();
    refuse(where, texts.size(), object, " has half a surrogate pair; decode it as what it is");
  }
  texts.add({bytes, static_cast<std::size_t>(size)}, where);
}

nb::tuple texts_of(const nb::list& list, const std::vector<Sort>& sorts, const std::string& where) {
  auto texts = std::make_shared<TextList>();
  texts->offsets.reserve(sorts.size() + 1);
  for (std::size_t row = 0; row < sorts.size(); ++row)
    add_object(*texts, list[row], sorts[row], where);
  return nb::make_tuple("texts", BoundTexts{std::move(texts)}, nb::none());
}

/// (kind, values, valid): "texts" with Texts; "integers", "truths" with int64, "numbers" with
/// float64, and uint8 [n] 1 where there is a value. The list must be nobody else's.
nb::tuple objects_column(const nb::list& list, const std::string& where) {
  const std::size_t rows = list.size();
  std::vector<Sort> sorts;
  sorts.reserve(rows);
  for (std::size_t row = 0; row < rows; ++row) sorts.push_back(sort_of(list[row].ptr()));
  const Sort all = common_sort(list, sorts, where);
  if (all == Sort::kText) return texts_of(list, sorts, where);
  if (all == Sort::kNumber) {
    Numbers<double> numbers(rows);
    for (std::size_t row = 0; row < rows; ++row) {
      if (sorts[row] == Sort::kNone) continue;
      const double value = PyFloat_AsDouble(list[row].ptr());
      if (value == -1.0 && PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        refuse(where, row, list[row], " is beyond what float64 holds");
      }
      if (!std::isnan(value)) numbers.set(row, value);  // a numpy.float32 may be NaN
    }
    return numbers.give("numbers", rows);
  }
  Numbers<std::int64_t> integers(rows);
  for (std::size_t row = 0; row < rows; ++row) {
    if (sorts[row] == Sort::kNone) continue;
    if (all == Sort::kTruth) {
      integers.set(row, PyObject_IsTrue(list[row].ptr()) == 1 ? 1 : 0);
      continue;
    }
    const nb::object number = nb::steal(PyNumber_Index(list[row].ptr()));
    if (!number.is_valid()) throw nb::python_error();
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
    if (overflow != 0) return texts_of(list, sorts, where);  // what reads it says what is allowed
    integers.set(row, value);
  }
  return integers.give(all == Sort::kTruth ? "truths" : "integers", rows);
}

/// Text r is chars[offsets[r], offsets[r + 1]), as Arrow's large_utf8.
BoundTexts texts_of_arrow(const InColumn<std::int64_t>& offsets,
                          const InColumn<std::uint8_t>& chars, const std::string& where) {
  auto texts = std::make_shared<TextList>();
  texts->offsets.reserve(offsets.size());
  for (std::size_t row = 0; row + 1 < offsets.size(); ++row) {
    const std::int64_t begin = offsets.data()[row], end = offsets.data()[row + 1];
    if (begin < 0 || begin > end || static_cast<std::size_t>(end) > chars.size())
      throw_input_error(where, ", row ", row, ": its offsets are broken; make the column anew");
    texts->add({reinterpret_cast<const char*>(chars.data()) + begin,
                static_cast<std::size_t>(end - begin)},
               where);
  }
  return {std::move(texts)};
}

void append_utf8(std::string& text, std::uint32_t c) {
  const auto tail = [&](int shift) { text += static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += static_cast<char>(0xC0 | c >> 6), tail(0);
  } else if (c < 0x10000) {
    text += static_cast<char>(0xE0 | c >> 12), tail(6), tail(0);
  } else {
    // Beyond U+10FFFF this is no UTF-8, which TextList::add() sees.
    text += static_cast<char>(0xF0 | (c >> 18 & 0xF)), tail(12), tail(6), tail(0);
  }
}

/// Code points, filled up with zeros, as NumPy's type U.
BoundTexts texts_of_wide(
    const nb::ndarray<const std::uint32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>& wide,
    const std::string& where) {
  auto texts = std::make_shared<TextList>();
  texts->offsets.reserve(wide.shape(0) + 1);
  std::string text;
  for (std::size_t row = 0; row < wide.shape(0); ++row) {
    const std::uint32_t* const points = wide.data() + row * wide.shape(1);
    std::size_t length = wide.shape(1);
    while (length > 0 && points[length - 1] == 0) --length;
    text.clear();
    for (std::size_t i = 0; i < length; ++i) append_utf8(text, points[i]);
    texts->add(text, where);
  }
  return {std::move(texts)};
}

void check_rows(const GivenTable& table, const std::string& column, std::size_t rows) {
  if (rows == table.rows) return;
  throw_input_error(table.name, ": column ", shown(column), " has ", rows,
                    " entries, the table has ", table.rows, " rows");
}

template <class To, class T>
GivenColumn numbers_of(const GivenTable& table, const std::string& name,
                       std::vector<To> GivenColumn::*to, const InColumn<T>& values,
                       const std::optional<InColumn<std::uint8_t>>& valid) {
  check_rows(table, name, values.size());
  GivenColumn column;
  column.name = name;
  (column.*to).assign(values.data(), values.data() + values.size());
  if (valid) {
    QUARRY_CHECK(valid->size() == (values.size() + 7) / 8);
    column.valid.assign(valid->data(), valid->data() + valid->size());
  }
  return column;
}

}  // namespace

void bind_given_tables(nb::module_& m) {
  nb::class_<BoundTexts>(m, "Texts", "Texts of a column.")
      .def("__len__", [](const BoundTexts& texts) { return texts.list->size(); });
  m.def("objects_column", &objects_column, "objects"_a, "where"_a);
  m.def("texts_of_arrow", &texts_of_arrow, "offsets"_a.noconvert(), "chars"_a.noconvert(),
        "where"_a);
  m.def("texts_of_wide", &texts_of_wide, "points"_a.noconvert(), "where"_a);
  using Kind = GivenColumn::Kind;
  using T = GivenTable;
  nb::class_<T>(m, "Table", "Columns in memory; as in python/bind/given_table.h.")
      .def(
          "__init__",
          [](T* self, const std::string& name, std::uint64_t rows) {
            new (self) T{name, rows, {}};
          },
          "name"_a, "rows"_a)
      .def_rw("rows", &T::rows)
      .def(
          "add_integers",
          [](T& t, const std::string& name, const InColumn<std::int64_t>& values,
             const std::optional<InColumn<std::uint8_t>>& valid) {
            t.columns.push_back(numbers_of(t, name, &GivenColumn::int64, values, valid));
            t.columns.back().kind = Kind::kInt64;
          },
          "name"_a, "values"_a.noconvert(), "valid"_a.noconvert().none())
      .def(
          "add_numbers",
          [](T& t, const std::string& name, const InColumn<double>& values,
             const std::optional<InColumn<std::uint8_t>>& valid) {
            t.columns.push_back(numbers_of(t, name, &GivenColumn::float64, values, valid));
            t.columns.back().kind = Kind::kDouble;
          },
          "name"_a, "values"_a.noconvert(), "valid"_a.noconvert().none())
      .def("add_texts",
           [](T& t, const std::string& name, const BoundTexts& texts) {
             check_rows(t, name, texts.list->size());
             GivenColumn& column = t.columns.emplace_back();
             column.name = name;
             column.text = texts.list;
           })
      .def(
          "add_codes",
          [](T& t, const std::string& name, const InColumn<std::uint32_t>& codes,
             const BoundTexts& texts) {
            check_rows(t, name, codes.size());
            GivenColumn& column = t.columns.emplace_back();
            column.name = name;
            column.kind = Kind::kCodes;
            column.text = texts.list;
            column.codes.assign(codes.data(), codes.data() + codes.size());
            for (std::size_t row = 0; row < codes.size(); ++row) {
              if (column.codes[row] != GivenColumn::kNone &&
                  column.codes[row] >= texts.list->size())
                throw_input_error(t.name, ": column ", shown(name), ", row ", row,
                                  ": is of category ", column.codes[row], " of ",
                                  texts.list->size(), "; make the column anew");
            }
          },
          "name"_a, "codes"_a.noconvert(), "texts"_a)
      .def("add_refused", [](T& t, const std::string& name, const std::string& refusal) {
        GivenColumn& column = t.columns.emplace_back();
        column.name = name;
        column.kind = Kind::kRefused;
        column.refusal = refusal;
      });
}

}  // namespace quarry
