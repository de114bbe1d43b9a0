// Table files of the program as Python reads them.
#pragma once

#include <nanobind/nanobind.h>

namespace quarry {

/// The class TextTable.
void bind_text_table(nanobind::module_& m);

}  // namespace quarry
