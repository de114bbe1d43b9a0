// Which kernels the program asks OpenBLAS for.
#include "tools/quarry/blas.h"

#include <gtest/gtest.h>

namespace quarry {
namespace {

TEST(Blas, OldKernelsOnANewProcessorAreReplaced) {
  for (const char* old : {"Prescott", "Nehalem", "Sandybridge", "Barcelona", "Core2"}) {
    EXPECT_EQ(better_blas_core(old, true, true), "SkylakeX") << old;
    EXPECT_EQ(better_blas_core(old, true, false), "Haswell") << old;
    EXPECT_EQ(better_blas_core(old, false, false), "") << old << " may be what it is";
  }
}

TEST(Blas, KernelsThatUseTheProcessorAndNamesUnknownAreLeftAlone) {
  for (const char* core : {"Haswell", "Zen", "SkylakeX", "Cooperlake", "SapphireRapids",
                           "Steamroller", "NeoverseN1", "Unknown", ""}) {
    EXPECT_EQ(better_blas_core(core, true, true), "") << core;
  }
}

TEST(Blas, SaysWhatItIs) { EXPECT_FALSE(blas_description().empty()); }

}  // namespace
}  // namespace quarry
