// Tables in memory as Python gives them.
#pragma once

#include <nanobind/nanobind.h>

namespace quarry {

/// The classes Texts and Table, and objects_column.
void bind_given_tables(nanobind::module_& m);

}  // namespace quarry
