// quarry doctor: what this machine and this build have, and what that means.
#include <fmt/format.h>
#include <unistd.h>
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "index/retriever.h"
#include "kernels/core/exact_score.h"
#include "kernels/topk/bf16_cpu.h"
#include "kernels/topk/int8_cpu.h"
#include "tools/quarry/blas.h"
#include "tools/quarry/device.h"
#include "tools/quarry/progress.h"
#include "tools/quarry/run_report.h"
#include "tools/quarry/verbs.h"
#include "tools/quarry/version.h"

namespace quarry {
namespace {

using Json = nlohmann::ordered_json;

std::string cpu_features() {
  std::string text;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const auto add = [&](bool present, const char* name) {
    if (present) text += (text.empty() ? "" : " ") + std::string(name);
  };
  add(__builtin_cpu_supports("avx2"), "avx2");
  add(__builtin_cpu_supports("fma"), "fma");
  add(__builtin_cpu_supports("avx512f"), "avx512f");
#endif
  return text.empty() ? "none of avx2, fma, avx512f" : text;
}

int run_doctor(bool json) {
  const FaissInfo faiss = faiss_info();
  const GpuInfo gpu = gpu_info();
  const std::string exact = exact_score_instruction_set();
  const std::uint64_t page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t memory = page * static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES));
  const std::uint64_t free_memory = page * static_cast<std::uint64_t>(::sysconf(_SC_AVPHYS_PAGES));
  const int threads = available_threads();
  // What is faster than fp32 goes first; what it leaves is scored in fp32, so results are the same.
  const std::string first_pass =
      int8_pays(int8_unit())   ? std::string("8 bits by ") + name_of(int8_unit())
      : bf16_pays(bf16_unit()) ? std::string("bf16 by ") + name_of(bf16_unit())
                               : std::string("fp32");
  if (json) {
    const Json out = {{"version", kVersion},
                      {"cpu",
                       {{"threads", threads},
                        {"features", cpu_features()},
                        {"exact_score", exact},
                        {"first_pass", first_pass}}},
                      {"memory", {{"bytes", memory}, {"free_bytes", free_memory}}},
                      {"blas", blas_description()},
                      {"blas_took_processor_for", blas_core_before_restart()},
                      {"faiss",
                       {{"present", faiss.present},
                        {"gpu", faiss.gpu},
                        {"header_version", faiss.header_version},
                        {"library_version", faiss.library_version},
                        {"self_test_passed", faiss.self_test_passed}}},
                      {"gpu",
                       {{"built_with_cuda", gpu.built_with_cuda},
                        {"devices", gpu.devices},
                        {"words", gpu.words}}},
                      {"versions", Json::parse(versions_json())}};
    std::puts(out.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
    return 0;
  }
  const auto line = [](const char* what, const std::string& value, const std::string& meaning) {
    fmt::print("{:<8} {}\n", what, value);
    if (!meaning.empty()) fmt::print("{:<8}   {}\n", "", meaning);
  };
  line("quarry", kVersion, "");
  line("threads", std::to_string(threads), "");
  line("cpu", cpu_features(),
       "exact scores use " + exact +
           (exact == "portable" ? ": the same results, several times slower" : "") +
           "; exact retrieval passes over the items in " + first_pass);
  line("memory", fmt::format("{}, free {}", words_of_bytes(memory), words_of_bytes(free_memory)),
       "tiles stay under --host-memory (default 512M)");
  const std::string taken_for = blas_core_before_restart();
  line("blas", blas_description(),
       taken_for.empty()
           ? ""
           : fmt::format("OpenBLAS takes this processor for a {0}; quarry asks for {1} "
                         "(OPENBLAS_CORETYPE={1}, which programs of your own need too)",
                         taken_for, std::getenv("OPENBLAS_CORETYPE")));
  if (!faiss.present) {
    line("faiss", "none",
         "--retriever exact works; IVF, HNSW and other index strings need a build with FAISS");
  } else {
    line("faiss",
         fmt::format("headers {}, library {}", faiss.header_version, faiss.library_version),
         faiss.self_test_passed
             ? std::string("self-test passed: --retriever takes FAISS index strings") +
                   (faiss.gpu ? ", on the GPU too" : " (CPU)")
             : "SELF-TEST FAILED: headers and library do not fit together; use --retriever exact "
               "and reinstall FAISS");
  }
  line("gpu", gpu.words, "");
  return 0;
}

}  // namespace

void add_doctor(CLI::App& app, Context& context) {
  auto json = std::make_shared<bool>(false);
  CLI::App* verb = app.add_subcommand("doctor", "say what this machine and this build can do");
  verb->add_flag("--json", *json, "JSON on stdout");
  verb->callback([&context, json] { context.run = [json] { return run_doctor(*json); }; });
}

}  // namespace quarry
