// Malformed embedding files and rows that cannot be scored, with the stated error and message.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "host/data/embeddings.h"
#include "kernels/core/errors.h"
#include "tests/support/bad_embeddings.h"
#include "tests/support/bad_input.h"
#include "tests/support/files.h"

namespace quarry {
namespace {

using testing::BadInputCase;
using testing::BadInputSuite;
using testing::bytes_of_values;
using testing::Flags;
using testing::Place;
using testing::operator+=;
using testing::expect_error;
using testing::inf;
using testing::kFour;
using testing::kSix;
using testing::nan;
using testing::npy_bytes;
using testing::npy_header;
using testing::place_cases;
using testing::repeated;
using testing::safetensors_bytes;
using testing::table_suite;
using testing::TempDir;

TEST(BadInput, Npy) {
  const std::string good = npy_header("<f4", "(2, 2)");
  std::vector<BadInputCase> cases = {
      {"shorter than a prefix", "a.npy", "\x93NUM", {"not a .npy file", "numpy.save"}},
      {"wrong magic",
       "a.npy",
       "\x93NUMPX" + npy_bytes(good, kFour).substr(6),
       {"not a .npy file", "numpy.save"}},
      {"version 0", "a.npy", npy_bytes(good, kFour, 0), {"version 0.0", "1.0, 2.0 and 3.0"}},
      {"version 4", "a.npy", npy_bytes(good, kFour, 4), {"version 4.0", "1.0, 2.0 and 3.0"}},
      {"version 2 cut in its length",
       "a.npy",
       npy_bytes("", "", 2).substr(0, 11),
       {"cut inside the header", "copy it again"}},
      {"header longer than the file",
       "a.npy",
       npy_bytes(good, "", 1, 9000),
       {"cut inside the header", "copy it again"}},
      {"header above the cap",
       "a.npy",
       npy_bytes(good, kFour, 1, 10001),
       {"10001", "allowed are 10000"}},
      {"header of 4 GiB",
       "a.npy",
       npy_bytes(good, kFour, 2, 0xFFFFFFFF),
       {"4294967295", "allowed are 10000"}},
      {"no dictionary", "a.npy", npy_bytes("hello\n", kFour), {"no '{'", "'hello", "numpy.save"}},
      {"dictionary not closed",
       "a.npy",
       npy_bytes("{'descr': '<f4'", kFour),
       {"no '}'", "numpy.save"}},
      {"quote not closed",
       "a.npy",
       npy_bytes("{'descr", kFour),
       {"quote that is not closed", "numpy.save"}},
      {"backslash", "a.npy", npy_bytes("{'de\\x73cr': '<f4'}", kFour), {"backslash", "numpy.save"}},
      {"text behind",
       "a.npy",
       npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)} x", kFour),
       {"after the closing brace", "numpy.save"}},
      {"no descr",
       "a.npy",
       npy_bytes("{'fortran_order': False, 'shape': (2, 2)}", kFour),
       {"no key 'descr'", "numpy.save"}},
      {"no order",
       "a.npy",
       npy_bytes("{'descr': '<f4', 'shape': (2, 2)}", kFour),
       {"no key 'fortran_order'", "numpy.save"}},
      {"no shape",
       "a.npy",
       npy_bytes("{'descr': '<f4', 'fortran_order': False}", kFour),
       {"no key 'shape'", "numpy.save"}},
      {"unknown key",
       "a.npy",
       npy_bytes("{'descr': '<f4', 'extra': 1}", kFour),
       {"unknown key 'extra'", "numpy.save"}},
      {"key twice",
       "a.npy",
       npy_bytes("{'descr': '<f4', 'descr': '<f4'}", kFour),
       {"twice", "numpy.save"}},
      {"order is a number",
       "a.npy",
       npy_bytes(npy_header("<f4", "(2, 2)", "0"), kFour),
       {"neither True nor False", "numpy.save"}},
      {"big-endian",
       "a.npy",
       npy_bytes(npy_header(">f4", "(2, 2)"), kFour),
       {"'>f4'", "big-endian", "astype('<f4')"}},
      {"double",
       "a.npy",
       npy_bytes(npy_header("<f8", "(2, 2)"), kFour + kFour),
       {"'<f8'", "'<f2'", "astype('<f4')"}},
      {"integers",
       "a.npy",
       npy_bytes(npy_header("<i4", "(2, 2)"), kFour),
       {"'<i4'", "astype('<f4')"}},
      {"objects", "a.npy", npy_bytes(npy_header("|O", "(2, 2)"), kFour), {"'|O'", "astype('<f4')"}},
      {"structured",
       "a.npy",
       npy_bytes("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (2,)}", kFour),
       {"structured dtype", "numpy.save"}},
      {"Fortran order",
       "a.npy",
       npy_bytes(npy_header("<f4", "(2, 2)", "True"), kFour),
       {"Fortran", "ascontiguousarray"}},
      {"rank 0",
       "a.npy",
       npy_bytes(npy_header("<f4", "()"), std::string(4, '\0')),
       {"0 dimensions", "reshape"}},
      {"rank 1", "a.npy", npy_bytes(npy_header("<f4", "(4,)"), kFour), {"1 dimensions", "reshape"}},
      {"rank 3",
       "a.npy",
       npy_bytes(npy_header("<f4", "(1, 2, 2)"), kFour),
       {"3 dimensions", "reshape"}},
      {"no rows",
       "a.npy",
       npy_bytes(npy_header("<f4", "(0, 4)"), ""),
       {"0 rows", "allowed are 1 to 4294967294"}},
      {"zero dim",
       "a.npy",
       npy_bytes(npy_header("<f4", "(4, 0)"), ""),
       {"0 numbers", "allowed are 1 to 65536"}},
      {"dim too large",
       "a.npy",
       npy_bytes(npy_header("<f4", "(1, 65537)"), std::string(4 * 65537, '\0')),
       {"65537", "1 to 65536"}},
      {"too many rows",
       "a.npy",
       npy_bytes(npy_header("<f4", "(4294967295, 1)"), kFour),
       {"4294967295 rows", "4294967294"}},
      {"shape product overflows",
       "a.npy",
       npy_bytes(npy_header("<f4", "(4611686018427387904, 4)"), kFour),
       {"4611686018427387904", "split the table"}},
      {"extent overflows",
       "a.npy",
       npy_bytes(npy_header("<f4", "(18446744073709551617, 1)"), kFour),
       {"above 2^64 - 1", "numpy.save"}},
      {"negative extent",
       "a.npy",
       npy_bytes(npy_header("<f4", "(-2, 2)"), kFour),
       {"no number", "'-2"}},
      {"huge but legal shape",
       "a.npy",
       npy_bytes(npy_header("<f4", "(4294967294, 65536)"), kFour),
       {"is cut", "has 16"}},
      {"data cut by one byte",
       "a.npy",
       npy_bytes(good, kFour).substr(0, npy_bytes(good, kFour).size() - 1),
       {"is cut", "has 15"}},
      {"trailing byte", "a.npy", npy_bytes(good, kFour + "x"), {"1 trailing bytes", "again"}},
      {"half with the bytes of fp32",
       "a.npy",
       npy_bytes(npy_header("<f2", "(2, 2)"), kFour),
       {"8 trailing bytes", "write it again"}},
      {"unknown extension",
       "a.npz",
       npy_bytes(good, kFour),
       {"'.npz'", ".npy, .fbin and .safetensors", "numpy.save"}},
      {"Parquet",
       "a.parquet",
       "PAR1",
       {".parquet is not read", "quarry convert embeddings ", "a.parquet ", "a.npy ("}},
      {"Arrow", "a.b.IPC", "ARROW1", {".ipc is not read", "a.b.IPC ", "a.b.npy ("}},
      {"no extension", "embeddings", npy_bytes(good, kFour), {"''", "numpy.save"}},
  };
  const auto header = [&](const std::string& text) { return npy_bytes(text, kFour); };
  for (const char* descr :
       {"<f8", "<f16", "=f4", "|f4", "f4",  "float32", "<F4",    "<f4 ", "",    "<c8",
        "<u4", "<i8",  "|i1", "|b1", "<U4", "|S4",     "<M8[s]", ">f2",  "!f4", "bfloat16"}) {
    if (std::string(descr) == "<f8") continue;  // above
    cases.push_back({std::string("dtype ") + descr,
                     "a.npy",
                     header(npy_header(descr, "(2, 2)")),
                     {std::string("dtype '") + descr + "'", "astype('<f4')"}});
  }
  for (const char* shape : {"[2, 2]", "2, 2", "(2 2)", "(2,, 2)", "(,2, 2)", "(2.0, 2)", "(0x2, 2)",
                            "(2L, 2)", "(None, 2)", "('2', 2)", "((2, 2))", "(2, 2"}) {
    cases.push_back({std::string("shape ") + shape,
                     "a.npy",
                     header(npy_header("<f4", shape)),
                     {"header is not valid: no ", "numpy.save"}});
  }
  const std::string f2 = "<f2";
  const auto rows_of = [&](std::vector<float> values) {
    return npy_bytes(npy_header("<f4", "(3, 2)"), bytes_of_values(values));
  };
  const auto halves_of = [&](std::vector<std::uint16_t> values) {
    return npy_bytes(npy_header(f2, "(3, 2)"), bytes_of_values(values));
  };
  cases += std::vector<BadInputCase>{
      {"trailing whitespace that is none",
       "a.npy",
       header(good + "\x0B"),
       {"after the closing", "numpy.save"}},
      {"NUL bytes behind",
       "a.npy",
       header(good + std::string(3, '\0')),
       {"after the closing", "'\\x00", "numpy.save"}},
      {"two dictionaries", "a.npy", header(good + good), {"after the closing", "numpy.save"}},
      {"a call for a value",
       "a.npy",
       header("{'descr': open('x'), 'fortran_order': False}"),
       {"no quoted text", "'open", "numpy.save"}},
      {"version 1.1",
       "a.npy",
       std::string("\x93NUMPY\1\1", 8) + npy_bytes(good, kFour).substr(8),
       {"version 1.1", "numpy.save"}},
      {"header of no bytes", "a.npy", npy_bytes("", kFour), {"no '{'", "numpy.save"}},
      {"a zip of arrays under this name",
       "a.npy",
       "PK\x03\x04" + std::string(60, '\0'),
       {"not a .npy file", "numpy.save"}},
      {"text under this name", "a.npy", "1.0,2.0\n3.0,4.0\n", {"not a .npy file", "numpy.save"}},
      {"version 2 header read as version 1",
       "a.npy",
       npy_bytes(good, kFour, 1, static_cast<std::int64_t>(good.size()) - 30),
       {"header is not valid", "numpy.save"}},
      {"rows of 2^32",
       "a.npy",
       header(npy_header("<f4", "(4294967296, 1)")),
       {"4294967296 rows", "split the table"}},
      {"rows of 2^63",
       "a.npy",
       header(npy_header("<f4", "(9223372036854775808, 1)")),
       {"9223372036854775808 rows", "split the table"}},
      {"bytes wrap at 2^32",
       "a.npy",
       header(npy_header("<f4", "(1073741825, 4)")),
       {"is cut", "needs 17179869200"}},
      {"a row is missing",
       "a.npy",
       npy_bytes(npy_header("<f4", "(3, 2)"), kFour),
       {"is cut", "needs 24", "again"}},
      {"a row too many",
       "a.npy",
       npy_bytes(npy_header("<f4", "(1, 2)"), kFour),
       {"8 trailing bytes", "again"}},
      {"no data", "a.npy", npy_bytes(good, ""), {"is cut", "has 0", "again"}},
      {"NaN",
       "a.npy",
       rows_of({1, 1, 1, nan, 1, 1}),
       {"1 of 3 rows", "row 1 (element 1 is NaN)", "--bad-rows drop"}},
      {"infinity",
       "a.npy",
       rows_of({inf, 1, 1, 1, 1, 1}),
       {"row 0 (element 0 is infinite)", "--bad-rows drop"}},
      {"negative infinity",
       "a.npy",
       rows_of({1, 1, 1, 1, 1, -inf}),
       {"row 2 (element 1 is infinite)", "--bad-rows drop"}},
      {"norm overflows",
       "a.npy",
       rows_of({1, 1, 3e38f, 1, 1, 1}),
       {"row 1 (its squared norm overflows)", "--bad-rows drop"}},
      {"norm overflows for L2",
       "a.npy",
       rows_of({1, 1, 1.8e19f, 1, 1, 1}),
       {"row 1 (its squared norm overflows)", "8.5e37", "--bad-rows drop"},
       3,
       {{"--set", "metric=l2"}}},
      {"norm of 0 for cosine",
       "a.npy",
       rows_of({1, 1, 0, 0, -0.0f, 0}),
       {"2 of 3 rows", "row 1 (its norm is 0), row 2", "--bad-rows drop"},
       3,
       {{"--set", "metric=cosine"}}},
      {"norm below all numbers for cosine",
       "a.npy",
       rows_of({1, 1, 1e-30f, 0, 1, 1}),
       {"row 1 (its norm is 0)", "--bad-rows drop"},
       3,
       {{"--set", "metric=cosine"}}},
      {"half NaN",
       "a.npy",
       halves_of({0, 0, 0, 0x7E00, 0, 0}),
       {"row 1 (element 1 is NaN)", "--bad-rows drop"}},
      {"half infinity",
       "a.npy",
       halves_of({0, 0, 0, 0, 0xFC00, 0}),
       {"row 2 (element 0 is infinite)", "--bad-rows drop"}},
      {"every row",
       "a.npy",
       npy_bytes(npy_header(f2, "(20, 2)"), std::string(80, '\x7F')),
       {"20 of 20 rows", "row 9 (element 0 is NaN), ...", "--bad-rows drop"}},
  };
  cases += place_cases("a.npy", npy_bytes(good, kFour));
  expect_refused(
      table_suite("npy", {{"a.npy", testing::padded_npy("<f4", "(3, 2)", kSix)},
                          {"b.npy", testing::padded_npy("<f2", "(3, 2)", kSix.substr(12), 2, 3)}}),
      cases);
}

TEST(BadInput, Fbin) {
  std::vector<BadInputCase> cases = {
      {"cut header", "a.fbin", std::string(7, '\1'), {"7 bytes", "rows and dim"}},
      {"no rows", "a.fbin", testing::fbin_bytes(0, 4, ""), {"0 rows", "1 to 4294967294"}},
      {"zero dim", "a.fbin", testing::fbin_bytes(4, 0, ""), {"0 numbers", "1 to 65536"}},
      {"dim too large", "a.fbin", testing::fbin_bytes(1, 65537, kFour), {"65537", "1 to 65536"}},
      {"rows is the empty-slot mark",
       "a.fbin",
       testing::fbin_bytes(0xFFFFFFFF, 1, kFour),
       {"4294967295", "1 to "}},
      {"largest shape",
       "a.fbin",
       testing::fbin_bytes(0xFFFFFFFE, 65536, kFour),
       {"is cut", "1125899906318336"}},
      {"cut data",
       "a.fbin",
       testing::fbin_bytes(2, 2, kFour.substr(1)),
       {"is cut", "has 15", "again"}},
      {"trailing bytes",
       "a.fbin",
       testing::fbin_bytes(2, 2, kFour + "ab"),
       {"2 trailing bytes", "again"}},
      {"big-endian header",
       "a.fbin",
       std::string("\0\0\0\2\0\0\0\2", 8) + kFour,
       {"33554432", "1 to "}},
  };
  using testing::fbin_bytes;
  const auto rows_of = [](std::vector<float> values) {
    return fbin_bytes(3, 2, bytes_of_values(values));
  };
  for (const std::size_t bytes : {1u, 3u, 4u, 5u}) {
    cases.push_back({"header of " + std::to_string(bytes) + " bytes",
                     "a.fbin",
                     std::string(bytes, '\1'),
                     {"(" + std::to_string(bytes) + " bytes)", "rows and dim", "Copy it again"}});
  }
  struct Shape {
    std::uint32_t rows, dim;
    std::vector<std::string> needles;
  };
  const std::string again = "copy or write it again";
  // All with the 16 bytes of a 2 x 2 table behind.
  for (const Shape& shape : std::vector<Shape>{
           {0, 0, {"0 rows", "export at least one row"}},
           {0, 4294967295u, {"0 rows", "export at least one row"}},
           {2, 0, {"0 numbers", "is the shape [rows, dim]?"}},
           {2, 65537, {"65537 numbers", "is the shape [rows, dim]?"}},
           {2, 65536, {"is cut", "needs 524288", again}},
           {2, 131072, {"131072 numbers", "1 to 65536"}},
           {1, 0x80000000u, {"2147483648 numbers", "1 to 65536"}},
           {1, 0xFFFFFFFFu, {"4294967295 numbers", "1 to 65536"}},
           {1, 0xFFFFFFFEu, {"4294967294 numbers", "1 to 65536"}},
           {0xFFFFFFFFu, 0xFFFFFFFFu, {"4294967295 rows", "split the table"}},
           {0xFFFFFFFFu, 0, {"4294967295 rows", "split the table"}},
           {0xFFFFFFFEu, 1, {"is cut", "needs 17179869176", again}},
           {0xFFFFFFFEu, 65537, {"65537 numbers", "1 to 65536"}},
           {0x40000001u, 4, {"is cut", "needs 17179869200", again}},
           {0x80000002u, 2, {"is cut", "needs 17179869200", again}},
           {0x10001u, 0x10000u, {"is cut", "needs 17180131328", again}},
           {0x80000000u, 1, {"is cut", "needs 8589934592", again}},
           {1, 2, {"8 trailing bytes", again}},
           {1, 1, {"12 trailing bytes", again}},
           {3, 1, {"4 trailing bytes", again}},
           {1, 5, {"is cut", "needs 20", again}},
           {5, 1, {"is cut", "needs 20", again}},
           {3, 2, {"is cut", "needs 24", again}},
       }) {
    cases.push_back({"shape " + std::to_string(shape.rows) + " x " + std::to_string(shape.dim),
                     "a.fbin", fbin_bytes(shape.rows, shape.dim, kFour), shape.needles});
  }
  const std::string npy = npy_bytes(npy_header("<f4", "(2, 2)"), kFour);
  cases += std::vector<BadInputCase>{
      {"no data", "a.fbin", fbin_bytes(2, 2, ""), {"is cut", "has 0", again}},
      {"cut inside the second row",
       "a.fbin",
       fbin_bytes(2, 2, kFour.substr(0, 11)),
       {"is cut", "has 11", again}},
      {"one row missing",
       "a.fbin",
       fbin_bytes(2, 2, kFour.substr(0, 8)),
       {"is cut", "has 8", again}},
      {"one trailing byte", "a.fbin", fbin_bytes(2, 2, kFour + "x"), {"1 trailing bytes", again}},
      {"a trailing row",
       "a.fbin",
       fbin_bytes(2, 2, kFour + "12345678"),
       {"8 trailing bytes", again}},
      {"half precision", "a.fbin", fbin_bytes(4, 2, kFour), {"is cut", "needs 32", again}},
      {"double precision",
       "a.fbin",
       fbin_bytes(1, 3, kFour),
       {"4 trailing bytes", "needs 12", again}},
      {"single bytes, .u8bin", "a.fbin", fbin_bytes(4, 4, kFour), {"is cut", "needs 64", again}},
      {"64-bit header",
       "a.fbin",
       testing::little_endian(2, 8) + testing::little_endian(2, 8) + kFour,
       {"0 numbers", "1 to 65536"}},
      {"header without the data's rows first",
       "a.fbin",
       fbin_bytes(70000, 2, std::string(2 * 70000, 'x')),
       {"is cut", "needs 560000", again}},
      {"dim before rows",
       "a.fbin",
       fbin_bytes(2, 70000, std::string(8 * 70000, '\0')),
       {"70000 numbers", "is the shape [rows, dim]?"}},
      {".npy under this name", "a.fbin", npy, {"numbers (shape [", "is the shape [rows, dim]?"}},
      {".safetensors under this name",
       "a.fbin",
       safetensors_bytes("{}" + std::string(22, ' '), ""),
       {"0 numbers", "1 to 65536"}},
      {"CSV under this name",
       "a.fbin",
       "1.0,2.0\n3.0,4.0\n",
       {"numbers (shape [", "is the shape [rows, dim]?"}},
      {"NaN in the first row",
       "a.fbin",
       rows_of({nan, 1, 1, 1, 1, 1}),
       {"1 of 3 rows", "row 0 (element 0 is NaN)", "--bad-rows drop"}},
      {"NaN in the last row",
       "a.fbin",
       rows_of({1, 1, 1, 1, 1, nan}),
       {"row 2 (element 1 is NaN)", "--bad-rows drop"}},
      {"infinity",
       "a.fbin",
       rows_of({1, 1, inf, 1, 1, 1}),
       {"row 1 (element 0 is infinite)", "--bad-rows drop"}},
      {"negative infinity",
       "a.fbin",
       rows_of({1, 1, 1, -inf, 1, 1}),
       {"row 1 (element 1 is infinite)", "--bad-rows drop"}},
      {"NaN and infinity",
       "a.fbin",
       rows_of({inf, nan, 1, 1, nan, inf}),
       {"2 of 3 rows", "row 0 (element 0 is infinite), row 2 (element 0 is NaN)",
        "--bad-rows drop"}},
      {"signalling NaN",
       "a.fbin",
       fbin_bytes(3, 2, std::string(20, '\0') + testing::little_endian(0x7F800001, 4)),
       {"row 2 (element 1 is NaN)", "--bad-rows drop"}},
      {"the bytes of an erased flash",
       "a.fbin",
       fbin_bytes(3, 2, std::string(24, '\xFF')),
       {"3 of 3 rows", "--bad-rows drop"}},
      {"norm overflows",
       "a.fbin",
       rows_of({1, 1, 2e19f, 1, 1, 1}),
       {"row 1 (its squared norm overflows)", "--bad-rows drop"}},
      {"norm overflows by its sum",
       "a.fbin",
       rows_of({1, 1, 1.5e19f, 1.5e19f, 1, 1}),
       {"row 1 (its squared norm overflows)", "--bad-rows drop"}},
      {"norm overflows for L2",
       "a.fbin",
       rows_of({1, 1, 1, 1, 1e19f, 0}),
       {"row 2 (its squared norm overflows)", "--bad-rows drop"},
       3,
       {{"--set", "metric=l2"}}},
      {"norm of 0 for cosine",
       "a.fbin",
       rows_of({0, 0, 1, 1, 1, 1}),
       {"row 0 (its norm is 0)", "norms above 0", "--bad-rows drop"},
       3,
       {{"--set", "metric=cosine"}}},
      {"negative zeros for cosine",
       "a.fbin",
       rows_of({1, 1, -0.0f, -0.0f, 1, 1}),
       {"row 1 (its norm is 0)", "norms above 0", "--bad-rows drop"},
       3,
       {{"--set", "metric=cosine"}}},
      {"more bad rows than are named",
       "a.fbin",
       fbin_bytes(30, 2, bytes_of_values(std::vector<float>(60, inf))),
       {"30 of 30 rows", "row 9 (element 0 is infinite), ...", "--bad-rows drop"}},
  };
  cases += place_cases("a.fbin", fbin_bytes(2, 2, kFour));
  expect_refused(table_suite("fbin", {{"a.fbin", fbin_bytes(3, 2, kSix)}}), cases);
}

TEST(BadInput, RowsOfNumbers) {
  const TempDir dir;
  struct Bad {
    float value;
    Metric metric;
    std::string reason;
  };
  for (const Bad& bad :
       {Bad{nan, Metric::kInnerProduct, "element 1 is NaN"},
        Bad{inf, Metric::kL2, "element 1 is infinite"},
        Bad{-inf, Metric::kCosine, "element 1 is infinite"},
        Bad{3e38f, Metric::kInnerProduct, "overflows"}, Bad{1.8e19f, Metric::kL2, "overflows"},
        Bad{0.0f, Metric::kCosine, "norm is 0"}}) {
    const std::vector<float> values = {1, 1, 0, bad.value, 1, 1};
    const std::string path =
        dir.write("t.npy", testing::padded_npy("<f4", "(3, 2)", testing::bytes_of_values(values)));
    const Embeddings table = Embeddings::open(path);
    expect_error<InputError>([&] { check_rows(table.view(), bad.metric, BadRows::kReject, path); },
                             {path, "1 of 3 rows", "row 1 (", bad.reason, "--bad-rows drop"});
  }
}

}  // namespace
}  // namespace quarry
