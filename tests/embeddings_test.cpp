// Embedding tables: formats, widening, checks of rows, unit rows, writing. Expectations are made by
// hand or by arithmetic that shares nothing with the readers.
#include "host/data/embeddings.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cfloat>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <random>

#include "kernels/core/errors.h"
#include "tests/support/files.h"

namespace quarry {
namespace {

using testing::expect_error;
using testing::TempDir;

std::vector<float> ramp(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i) * 0.5f - 3.0f;
  return values;
}

std::vector<float> all_rows(const Embeddings& table) {
  std::vector<float> out(table.view().rows * table.view().dim);
  prepare_rows(table.view(), 0, table.view().rows, false, out.data());
  return out;
}

/// Value of a half by its definition.
double half_value(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int mantissa = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return bits >> 15 ? -magnitude : magnitude;
}

/// The dot product of docs/row_contract.md section 1, written from its text.
float contract_dot(const std::vector<float>& x) {
  std::vector<float> acc(32, 0.0f);
  for (std::size_t i = 0; i < x.size(); ++i) acc[i % 32] = std::fma(x[i], x[i], acc[i % 32]);
  while (acc.size() > 1) {
    const std::size_t half = acc.size() / 2;
    for (std::size_t l = 0; l < half; ++l) acc[l] += acc[l + half];
    acc.resize(half);
  }
  return acc[0];
}

TEST(Npy, ReadsEveryVersionAndAlignment) {
  const TempDir dir;
  const std::vector<float> values = ramp(15);
  for (const int version : {1, 2, 3}) {
    for (const unsigned shift : {0u, 1u, 2u, 3u, 4u, 17u}) {
      const std::string path = dir.write(
          "t.npy",
          testing::padded_npy("<f4", "(3, 5)", testing::bytes_of_values(values), version, shift));
      const Embeddings table = Embeddings::open(path);
      EXPECT_EQ(table.view().rows, 3u);
      EXPECT_EQ(table.view().dim, 5u);
      EXPECT_EQ(table.view().dtype, Dtype::kF32);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(table.view().data) % 4, 0u);
      EXPECT_EQ(table.path(), path);
      EXPECT_EQ(all_rows(table), values) << "version " << version << " shift " << shift;
    }
  }
}

TEST(Npy, AcceptsAnyKeyOrderQuotesAndSpacing) {
  const TempDir dir;
  const std::string payload = testing::bytes_of_values(ramp(4));
  for (const std::string header : {
           "{\"shape\":(2,2),\"descr\":\"<f4\",\"fortran_order\":False}",
           "{ 'fortran_order' : False , 'shape' : ( 2 , 2 , ) , 'descr' : '<f4' , }      \n",
       }) {
    const Embeddings table =
        Embeddings::open(dir.write("t.npy", testing::npy_bytes(header, payload)));
    EXPECT_EQ(all_rows(table), ramp(4)) << header;
  }
}

TEST(Npy, StaysReadableAfterMoveAndRemoval) {
  const TempDir dir;
  const std::string path =
      dir.write("t.npy", testing::padded_npy("<f4", "(2, 2)", testing::bytes_of_values(ramp(4))));
  Embeddings first = Embeddings::open(path);
  const Embeddings table = std::move(first);
  std::filesystem::remove(path);
  EXPECT_EQ(all_rows(table), ramp(4));
}

TEST(Npy, WidensEveryHalfExactly) {
  const TempDir dir;
  std::vector<std::uint16_t> halves;
  for (std::uint32_t h = 0; h < 65536; ++h) {
    if ((h >> 10 & 31u) != 31) halves.push_back(static_cast<std::uint16_t>(h));
  }
  const std::string payload = testing::bytes_of_values(halves);
  // One number a row and eight numbers a row take different paths through the code.
  for (const std::uint32_t dim : {1u, 8u, 31u * 2u}) {
    const std::string shape =
        "(" + std::to_string(halves.size() / dim) + ", " + std::to_string(dim) + ")";
    const Embeddings table =
        Embeddings::open(dir.write("h.npy", testing::padded_npy("<f2", shape, payload)));
    ASSERT_EQ(table.view().dtype, Dtype::kF16);
    const std::vector<float> wide = all_rows(table);
    ASSERT_EQ(wide.size(), halves.size());
    for (std::size_t i = 0; i < wide.size(); ++i) {
      ASSERT_EQ(static_cast<double>(wide[i]), half_value(halves[i])) << halves[i] << " dim " << dim;
      ASSERT_EQ(std::signbit(wide[i]), halves[i] >> 15 == 1);
    }
  }
}

TEST(Npy, HalfInfinitiesAndNansAreBadRows) {
  const TempDir dir;
  const std::vector<std::uint16_t> halves = {0x3C00, 0x7C00, 0xFC00, 0x7E01};
  for (const std::string shape : {"(4, 1)"}) {
    const Embeddings table = Embeddings::open(
        dir.write("h.npy", testing::padded_npy("<f2", shape, testing::bytes_of_values(halves))));
    EXPECT_EQ(check_rows(table.view(), Metric::kInnerProduct, BadRows::kDrop, "t"),
              (std::vector<std::uint64_t>{1, 2, 3}));
  }
}

TEST(Fbin, ReadsRows) {
  const TempDir dir;
  const std::vector<float> values = ramp(12);
  const Embeddings table = Embeddings::open(
      dir.write("t.fbin", testing::fbin_bytes(4, 3, testing::bytes_of_values(values))));
  EXPECT_EQ(table.view().rows, 4u);
  EXPECT_EQ(table.view().dim, 3u);
  EXPECT_EQ(all_rows(table), values);
}

TEST(Safetensors, ReadsThreeDtypesByNameAtAnyOffset) {
  const TempDir dir;
  const std::vector<float> f32 = {1.5f, -2.25f};
  const std::vector<std::uint16_t> f16 = {0x3C00, 0xC000};   // 1, -2
  const std::vector<std::uint16_t> bf16 = {0x3FC0, 0xC2F7};  // 1.5, -123.5
  for (int pad = 0; pad < 4; ++pad) {
    const std::string header = R"({"__metadata__":{"format":"pt","x":"y"},)"
                               R"("odd":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                               R"("a.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[3,11]},)"
                               R"("scalar":{"shape":[],"dtype":"F32","data_offsets":[11,15]},)"
                               R"("none":{"shape":[0,5],"dtype":"I64","data_offsets":[15,15]},)"
                               R"("c":{"dtype":"BF16","shape":[2,1],"data_offsets":[19,23]},)"
                               R"("b":{"dtype":"F16","shape":[2,1],"data_offsets":[15,19]}})" +
                               std::string(static_cast<std::size_t>(pad), ' ');
    const std::string path =
        dir.write("t.safetensors",
                  testing::safetensors_bytes(
                      header, "\x01\x02\x03" + testing::bytes_of_values(f32) + "\x01\x02\x03\x04" +
                                  testing::bytes_of_values(f16) + testing::bytes_of_values(bf16)));
    const Embeddings a = Embeddings::open(path, "a.weight");
    EXPECT_EQ(a.view().rows, 1u);
    EXPECT_EQ(all_rows(a), f32);
    const Embeddings b = Embeddings::open(path, "b");
    EXPECT_EQ(b.view().dtype, Dtype::kF16);
    EXPECT_EQ(all_rows(b), (std::vector<float>{1.0f, -2.0f}));
    const Embeddings c = Embeddings::open(path, "c");
    EXPECT_EQ(c.view().dtype, Dtype::kBf16);
    EXPECT_EQ(all_rows(c), (std::vector<float>{1.5f, -123.5f}));
    expect_error<InputError>([&] { Embeddings::open(path, "d"); },
                             {path, "'d'", "a.weight", "Name one"});
    expect_error<InputError>([&] { Embeddings::open(path); },
                             {path, "4 tensors", "a.weight", "Name the one"});
    expect_error<InputError>([&] { Embeddings::open(path, "odd"); },
                             {path, "U8", "tensor.float()"});
  }
}

TEST(Safetensors, TakesTheOnlyTableWithoutAName) {
  const TempDir dir;
  const std::string header = R"({"bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                             R"("w":{"dtype":"F32","shape":[2,1],"data_offsets":[8,16]}})";
  const Embeddings table = Embeddings::open(dir.write(
      "t.safetensors", testing::safetensors_bytes(header, testing::bytes_of_values(ramp(4)))));
  EXPECT_EQ(all_rows(table), (std::vector<float>{-2.0f, -1.5f}));
}

TEST(WriteNpy, RoundTripsAndLeavesNothingElse) {
  const TempDir dir;
  const std::vector<float> values = ramp(21);
  const std::string path = dir.path_of("out.npy");
  write_npy(path, ramp(4).data(), 2, 2);
  write_npy(path, values.data(), 7, 3);
  const std::string bytes = testing::read_bytes(path);
  EXPECT_EQ((bytes.size() - 21 * 4) % 64, 0u);
  EXPECT_EQ(bytes.substr(bytes.size() - 21 * 4), testing::bytes_of_values(values));
  EXPECT_NE(bytes.find("'shape': (7, 3)"), std::string::npos);
  EXPECT_EQ(all_rows(Embeddings::open(path)), values);
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir.path()))
    ++files;
  EXPECT_EQ(files, 1u);
}

TEST(WriteNpy, FailsCleanly) {
  const TempDir dir;
  const float one = 1.0f;
  expect_error<IoError>([&] { write_npy(dir.path_of("missing/out.npy"), &one, 1, 1); },
                        {"missing/out.npy", "check"});
  std::filesystem::create_directory(dir.path_of("folder.npy"));
  expect_error<IoError>([&] { write_npy(dir.path_of("folder.npy"), &one, 1, 1); },
                        {"folder.npy", "renamed"});
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir.path()))
    ++files;
  EXPECT_EQ(files, 1u) << "the temporary file stayed behind";
}

TEST(Open, FileErrors) {
  const TempDir dir;
  expect_error<IoError>([&] { Embeddings::open(dir.path_of("none.npy")); },
                        {"none.npy", "No such file", "check"});
  std::filesystem::create_directory(dir.path_of("d.npy"));
  expect_error<IoError>([&] { Embeddings::open(dir.path_of("d.npy")); }, {"d.npy", "directory"});
  expect_error<IoError>([&] { Embeddings::open("/dev/null/x.npy"); }, {"/dev/null/x.npy"});
  ASSERT_EQ(::mkfifo(dir.path_of("pipe.npy").c_str(), 0600), 0);
  const std::string keep_open = dir.path_of("pipe.npy");
  std::fstream both(keep_open, std::ios::in | std::ios::out);
  expect_error<IoError>([&] { Embeddings::open(keep_open); }, {"pipe.npy", "regular file"});
}

TEST(CheckRows, NamesTheFirstTenAndCounts) {
  std::vector<float> values(40 * 2, 1.0f);
  for (std::size_t r = 5; r < 19; ++r) values[2 * r + 1] = std::numeric_limits<float>::quiet_NaN();
  values[2 * 5 + 1] = std::numeric_limits<float>::infinity();
  const MatrixView table{values.data(), 40, 2, Dtype::kF32};
  expect_error<InputError>(
      [&] { check_rows(table, Metric::kInnerProduct, BadRows::kReject, "items.npy"); },
      {"items.npy", "14 of 40 rows", "row 5 (element 1 is infinite)",
       "row 14 (element 1 is NaN), ...", "--bad-rows"});
  try {
    check_rows(table, Metric::kInnerProduct, BadRows::kReject, "items.npy");
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()).find("row 15"), std::string::npos);
  }
  const std::vector<std::uint64_t> dropped =
      check_rows(table, Metric::kInnerProduct, BadRows::kDrop, "items.npy");
  ASSERT_EQ(dropped.size(), 14u);
  EXPECT_EQ(dropped.front(), 5u);
  EXPECT_EQ(dropped.back(), 18u);
}

TEST(CheckRows, JudgesNormsByMetric) {
  const float big = 1.3e19f;    // squared: 1.69e38, in range, above a quarter of it
  const float huge = 3.0e19f;   // squared: out of range
  const float tiny = 1.0e-30f;  // squared: 0
  const std::vector<float> values = {1.0f, big, huge, 0.0f, tiny, -0.0f};
  const MatrixView table{values.data(), 6, 1, Dtype::kF32};
  using Rows = std::vector<std::uint64_t>;
  EXPECT_EQ(check_rows(table, Metric::kInnerProduct, BadRows::kDrop, "t"), (Rows{2}));
  EXPECT_EQ(check_rows(table, Metric::kL2, BadRows::kDrop, "t"), (Rows{1, 2}));
  EXPECT_EQ(check_rows(table, Metric::kCosine, BadRows::kDrop, "t"), (Rows{2, 3, 4, 5}));
  expect_error<InputError>(
      [&] { check_rows(table, Metric::kCosine, BadRows::kReject, "t"); },
      {"4 of 6", "row 2 (its squared norm overflows)", "row 3 (its norm is 0)"});
  const std::vector<float> edge = {std::nextafter(std::sqrt(FLT_MAX / 4), 0.0f)};
  EXPECT_TRUE(
      check_rows({edge.data(), 1, 1, Dtype::kF32}, Metric::kL2, BadRows::kReject, "t").empty());
}

TEST(PrepareRows, DividesByTheNormOfTheContract) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (const std::uint32_t dim : {1u, 3u, 31u, 32u, 33u, 64u, 100u, 257u}) {
    std::vector<float> values(dim * 5);
    for (float& v : values) v = normal(random);
    std::fill_n(values.begin() + 2 * dim, dim, 0.0f);
    const MatrixView table{values.data(), 5, dim, Dtype::kF32};
    std::vector<float> out(dim * 3 + 2, 777.0f);
    prepare_rows(table, 1, 4, true, out.data() + 1);
    EXPECT_EQ(out.front(), 777.0f);
    EXPECT_EQ(out.back(), 777.0f);
    for (std::uint32_t r = 1; r < 4; ++r) {
      const std::vector<float> row(values.begin() + r * dim, values.begin() + (r + 1) * dim);
      const float norm = std::sqrt(contract_dot(row));
      for (std::uint32_t i = 0; i < dim; ++i) {
        const float expected = norm == 0.0f ? row[i] : row[i] / norm;
        ASSERT_EQ(out[1 + (r - 1) * dim + i], expected)
            << "dim " << dim << " row " << r << " element " << i;
      }
    }
  }
}

/// Of the pages at an address, whether the kernel reads them singly ("rr" of smaps).
bool is_read_singly(const void* at) {
  std::ifstream maps("/proc/self/smaps");
  const auto address = reinterpret_cast<std::uintptr_t>(at);
  std::string line;
  bool here = false;
  while (std::getline(maps, line)) {
    std::uintptr_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &begin, &end) == 2)
      here = begin <= address && address < end;
    if (here && line.starts_with("VmFlags:")) return line.find(" rr") != std::string::npos;
  }
  ADD_FAILURE() << "no such mapping";
  return false;
}

TEST(Embeddings, RowsOutsideARangeAreReadSingly) {
  const TempDir dir;
  constexpr std::uint32_t kRows = 400, kDim = 1024;  // a row is a page, but for the header
  const std::vector<float> data(std::size_t{kRows} * kDim, 1.0f);
  write_npy(dir.path_of("x.npy"), data.data(), kRows, kDim);
  const Embeddings table = Embeddings::open(dir.path_of("x.npy"));
  const auto row = [&](std::uint64_t r) {
    return static_cast<const float*>(table.view().data) + r * kDim;
  };
  for (const std::uint64_t r : {0, 200, 399}) EXPECT_FALSE(is_read_singly(row(r)));
  table.expect_few_reads_outside(100, 300);
  for (const std::uint64_t r : {1, 98, 302, 398}) EXPECT_TRUE(is_read_singly(row(r))) << r;
  for (const std::uint64_t r : {100, 200, 299}) EXPECT_FALSE(is_read_singly(row(r))) << r;
  EXPECT_EQ(*row(0) + *row(399), 2.0f);
  table.expect_few_reads_outside(0, 0);
  for (const std::uint64_t r : {1, 200, 398}) EXPECT_TRUE(is_read_singly(row(r))) << r;
}

}  // namespace
}  // namespace quarry
