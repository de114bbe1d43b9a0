// Malformed embedding files and rows that cannot be scored, with the stated error and message.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "host/data/embeddings.h"
#include "kernels/core/errors.h"
#include "tests/support/bad_input.h"
#include "tests/support/files.h"

namespace quarry {
namespace {

using testing::BadInputCase;
using testing::expect_error;
using testing::expect_refused;
using testing::npy_bytes;
using testing::npy_header;
using testing::repeated;
using testing::safetensors_bytes;
using testing::TempDir;

const std::string kFour(16, '\0');  // the payload of a 2 x 2 fp32 table

TEST(BadInput, Npy) {
  const std::string good = npy_header("<f4", "(2, 2)");
  const std::vector<BadInputCase> cases = {
      {"empty file", "a.npy", "", {"is empty", "again"}},
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
       {"cut inside the header"}},
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
      {"quote not closed", "a.npy", npy_bytes("{'descr", kFour), {"quote that is not closed"}},
      {"backslash", "a.npy", npy_bytes("{'de\\x73cr': '<f4'}", kFour), {"backslash"}},
      {"text behind",
       "a.npy",
       npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)} x", kFour),
       {"after the closing brace"}},
      {"no descr",
       "a.npy",
       npy_bytes("{'fortran_order': False, 'shape': (2, 2)}", kFour),
       {"no key 'descr'"}},
      {"no order",
       "a.npy",
       npy_bytes("{'descr': '<f4', 'shape': (2, 2)}", kFour),
       {"no key 'fortran_order'"}},
      {"no shape",
       "a.npy",
       npy_bytes("{'descr': '<f4', 'fortran_order': False}", kFour),
       {"no key 'shape'"}},
      {"unknown key",
       "a.npy",
       npy_bytes("{'descr': '<f4', 'extra': 1}", kFour),
       {"unknown key 'extra'"}},
      {"key twice", "a.npy", npy_bytes("{'descr': '<f4', 'descr': '<f4'}", kFour), {"twice"}},
      {"order is a number",
       "a.npy",
       npy_bytes(npy_header("<f4", "(2, 2)", "0"), kFour),
       {"neither True nor False"}},
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
       {"structured dtype"}},
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
       {"4611686018427387904"}},
      {"extent overflows",
       "a.npy",
       npy_bytes(npy_header("<f4", "(18446744073709551617, 1)"), kFour),
       {"above 2^64 - 1"}},
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
       {"8 trailing bytes"}},
      {"unknown extension",
       "a.npz",
       npy_bytes(good, kFour),
       {"'.npz'", ".npy, .fbin and .safetensors", "numpy.save"}},
      {"no extension", "embeddings", npy_bytes(good, kFour), {"''", "numpy.save"}},
  };
  EXPECT_GE(cases.size(), 40u);
  expect_refused(cases, [](const std::string& path) { Embeddings::open(path); });
}

TEST(BadInput, Fbin) {
  const std::vector<BadInputCase> cases = {
      {"empty file", "a.fbin", "", {"is empty"}},
      {"cut header", "a.fbin", std::string(7, '\1'), {"7 bytes", "rows and dim"}},
      {"no rows", "a.fbin", testing::fbin_bytes(0, 4, ""), {"0 rows", "1 to 4294967294"}},
      {"zero dim", "a.fbin", testing::fbin_bytes(4, 0, ""), {"0 numbers", "1 to 65536"}},
      {"dim too large", "a.fbin", testing::fbin_bytes(1, 65537, kFour), {"65537", "1 to 65536"}},
      {"rows is the empty-slot mark",
       "a.fbin",
       testing::fbin_bytes(0xFFFFFFFF, 1, kFour),
       {"4294967295"}},
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
      {"big-endian header", "a.fbin", std::string("\0\0\0\2\0\0\0\2", 8) + kFour, {"33554432"}},
  };
  expect_refused(cases, [](const std::string& path) { Embeddings::open(path); });
}

TEST(BadInput, Safetensors) {
  const auto file = [](const std::string& header) { return safetensors_bytes(header, kFour); };
  const auto tensor = [](const std::string& begin, const std::string& end,
                         const std::string& shape = "[2,2]", const std::string& dtype = "F32") {
    return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":[)" + begin +
           "," + end + "]}";
  };
  const std::string n = "a.safetensors";
  const std::vector<BadInputCase> cases = {
      {"empty file", n, "", {"is empty"}},
      {"shorter than the length", n, "1234567", {"7 bytes", "copy it again"}},
      {"header longer than the file",
       n,
       testing::little_endian(100, 8) + "{}",
       {"100 bytes", "at most 2"}},
      {"huge header", n, std::string(8, '\xFF') + "{}", {"18446744073709551615", "at most"}},
      {"no brace", n, safetensors_bytes(" {}", ""), {"does not begin with '{'"}},
      {"zero header", n, std::string(8, '\0') + "{}", {"does not begin with '{'"}},
      {"array at the top", n, safetensors_bytes("[]", ""), {"does not begin with '{'"}},
      {"cut JSON", n, file(R"({"w":{"dtype":"F32")"), {"not JSON", "save_file"}},
      {"text behind the JSON", n, file(R"({"w":)" + tensor("0", "16") + "}}"), {"not JSON"}},
      {"bad UTF-8", n, file("{\"\xFF\":1}"), {"not JSON"}},
      {"duplicate tensor",
       n,
       file(R"({"w":)" + tensor("0", "16") + R"(,"w":)" + tensor("0", "16") + "}"),
       {"'w' stands twice"}},
      {"duplicate key",
       n,
       file(R"({"w":{"dtype":"F32","dtype":"F16","shape":[2,2],"data_offsets":[0,16]}})"),
       {"'dtype' stands twice"}},
      {"duplicate metadata",
       n,
       file(R"({"__metadata__":{"a":"1","a":"2"},"w":)" + tensor("0", "16") + "}"),
       {"'a' stands twice"}},
      {"metadata with a number", n, file(R"({"__metadata__":{"a":1}})"), {"number 1", "'a'"}},
      {"unknown key",
       n,
       file(R"({"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16],"x":"y"}})"),
       {"unknown key 'x'", "'w'"}},
      {"missing dtype",
       n,
       file(R"({"w":{"shape":[2,2],"data_offsets":[0,16]}})"),
       {"'w' needs dtype"}},
      {"missing offsets", n, file(R"({"w":{"dtype":"F32","shape":[2,2]}})"), {"'w' needs dtype"}},
      {"one offset",
       n,
       file(R"({"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0]}})"),
       {"two data_offsets"}},
      {"three offsets",
       n,
       file(R"({"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16,16]}})"),
       {"third data offset"}},
      {"tensor is a number", n, file(R"({"w":3})"), {"number 3", "'w'"}},
      {"tensor is null", n, file(R"({"w":null})"), {"null"}},
      {"nested arrays",
       n,
       file(R"({"w":{"dtype":"F32","shape":[[2,2]],"data_offsets":[0,16]}})"),
       {"an array"}},
      {"nested objects", n, file(R"({"w":{"dtype":{"x":{}}}})"), {"an object"}},
      {"deep nesting", n, file(R"({"w":{"shape":)" + std::string(100000, '[')), {"an array"}},
      {"negative extent",
       n,
       file(R"({"w":)" + tensor("0", "16", "[-2,2]") + "}"),
       {"negative number -2"}},
      {"fractional extent", n, file(R"({"w":)" + tensor("0", "16", "[2.0,2]") + "}"), {"'2.0'"}},
      {"extent above 2^64",
       n,
       file(R"({"w":)" + tensor("0", "16", "[18446744073709551617,2]") + "}"),
       {"18446744073709551617"}},
      {"very many extents",
       n,
       file(R"({"w":)" + tensor("0", "16", "[1" + repeated(",1", 100) + "]") + "}"),
       {"64 dimensions"}},
      {"shape product overflows",
       n,
       file(R"({"w":)" + tensor("0", "16", "[4294967296,4294967296]") + "}"),
       {"more than 2^64", "'w'"}},
      {"wrapping product",
       n,
       file(R"({"w":)" + tensor("0", "16", "[4611686018427387905,4]") + "}"),
       {"more than 2^64"}},
      {"shape and bytes differ",
       n,
       file(R"({"w":)" + tensor("0", "16", "[2,3]") + "}"),
       {"needs 24", "16 bytes"}},
      {"offset behind the data",
       n,
       file(R"({"w":)" + tensor("0", "24", "[2,3]") + "}"),
       {"[0, 24]", "16"}},
      {"offsets reversed", n, file(R"({"w":)" + tensor("16", "0") + "}"), {"[16, 0]"}},
      {"hole at the start",
       n,
       file(R"({"w":)" + tensor("8", "16", "[1,2]") + "}"),
       {"begins at byte 8", "holes"}},
      {"hole in the middle",
       n,
       file(R"({"a":)" + tensor("0", "4", "[1,1]") + R"(,"b":)" + tensor("8", "16", "[1,2]") + "}"),
       {"'b'", "begins at byte 8", "ends at 4"}},
      {"overlap",
       n,
       file(R"({"a":)" + tensor("0", "12", "[1,3]") + R"(,"b":)" + tensor("8", "16", "[1,2]") +
            "}"),
       {"'b'", "overlap"}},
      {"trailing bytes",
       n,
       file(R"({"w":)" + tensor("0", "8", "[1,2]") + "}"),
       {"8 trailing bytes"}},
      {"unknown dtype",
       n,
       file(R"({"w":)" + tensor("0", "16", "[2,2]", "F33") + "}"),
       {"F33", "unknown dtype", "tensor.float()"}},
      {"half a byte",
       n,
       file(R"({"w":)" + tensor("0", "1", "[1,1]", "F4") + R"(,"v":)" +
            tensor("1", "16", "[15]", "U8") + "}"),
       {"'w'", "F4"}},
      {"double",
       n,
       file(R"({"w":)" + tensor("0", "16", "[1,2]", "F64") + "}"),
       {"F64", "tensor.float()"}},
      {"no tensors", n, safetensors_bytes("{}", ""), {"0 tensors of 2 dimensions"}},
      {"rank 1 only",
       n,
       file(R"({"w":)" + tensor("0", "16", "[4]") + "}"),
       {"0 tensors of 2 dimensions", "'w' F32 [4]"}},
      {"two tables",
       n,
       file(R"({"a":)" + tensor("0", "8", "[1,2]") + R"(,"b":)" + tensor("8", "16", "[1,2]") + "}"),
       {"2 tensors", "'a'", "'b'", "Name the one"}},
      {"no rows",
       n,
       safetensors_bytes(R"({"w":)" + tensor("0", "0", "[0,2]") + "}", ""),
       {"0 rows"}},
      {"dim too large",
       n,
       safetensors_bytes(R"({"w":)" + tensor("0", "131074", "[1,65537]", "F16") + "}",
                         std::string(131074, '\0')),
       {"65537", "1 to 65536"}},
  };
  EXPECT_GE(cases.size(), 40u);
  expect_refused(cases, [](const std::string& path) { Embeddings::open(path); });
  const TempDir dir;
  const std::string rank1 = dir.write(n, file(R"({"w":)" + tensor("0", "16", "[4]") + "}"));
  expect_error<InputError>([&] { Embeddings::open(rank1, "w"); },
                           {rank1, "1 dimensions", "reshape"});
  const std::string npy = dir.write("a.npy", npy_bytes(npy_header("<f4", "(2, 2)"), kFour));
  expect_error<ConfigError>([&] { Embeddings::open(npy, "w"); },
                            {npy, "'w'", "leave the name out"});
}

TEST(BadInput, RowsOfNumbers) {
  const TempDir dir;
  const float inf = std::numeric_limits<float>::infinity();
  struct Bad {
    float value;
    Metric metric;
    std::string reason;
  };
  for (const Bad& bad :
       {Bad{std::nanf(""), Metric::kInnerProduct, "element 1 is NaN"},
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
