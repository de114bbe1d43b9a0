// The BLAS that the program runs with: its name, and which of its kernels this processor gets.
#pragma once

#include <string>

namespace quarry {

/// The BLAS in words, with the name of its kernels where it is OpenBLAS.
std::string blas_description();

/// What OpenBLAS should be told the processor is; empty: leave its choice alone. OpenBLAS takes a
/// processor that is newer than itself for its oldest (`core`, openblas_get_corename()), whose
/// kernels are several times slower.
std::string better_blas_core(const std::string& core, bool avx2_fma, bool avx512);

/// Starts the program again with better kernels of OpenBLAS, which chooses them before main.
/// Returns where there are none to be had, or the user has chosen (OPENBLAS_CORETYPE). Call it
/// first.
void restart_with_better_blas(char** argv);

/// What OpenBLAS took the processor for before restart_with_better_blas; empty where it knew.
std::string blas_core_before_restart();

}  // namespace quarry
