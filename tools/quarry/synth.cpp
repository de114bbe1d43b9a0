// `quarry synth`: structured synthetic data of any size, with planted cases whose right answer is
// known.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "kernels/core/errors.h"
#include "tools/demo/synthetic.h"
#include "tools/quarry/verbs.h"

namespace quarry {
namespace {

struct SynthArguments {
  demo::SyntheticOptions options;
  std::string out;
  std::string format = "npy";
  int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  bool force = false;
  bool json = false;
};

int synth(const SynthArguments& args, const Context& context) {
  const std::filesystem::path out(args.out);
  std::error_code error;
  if (std::filesystem::exists(out, error) && !std::filesystem::is_empty(out, error) &&
      !args.force) {
    throw IoError(
        args.out +
        " exists and is not empty; choose another --out, or --force to overwrite the files in it");
  }
  Exec exec;
  exec.threads = args.threads;
  const demo::SyntheticWorld world(args.options);
  const auto format = args.format == "fbin" ? demo::VectorFormat::kFbin : demo::VectorFormat::kNpy;
  const auto started = std::chrono::steady_clock::now();
  const bool terminal = isatty(2) != 0;
  double shown = 0;
  const demo::SyntheticFiles files =
      demo::write_synthetic(exec, world, format, args.out, [&](double share) {
        if (context.stop != nullptr && *context.stop)
          throw Cancelled("stopped; the files written so far are incomplete");
        if (terminal && (share - shown >= 0.01 || share >= 1.0)) {
          std::fprintf(stderr, "\rsynth: %3.0f %%%s", share * 100, share >= 1.0 ? "\n" : "");
          shown = share;
        }
      });
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  const std::string extension = format == demo::VectorFormat::kFbin ? ".fbin" : ".npy";
  if (args.json) {
    const nlohmann::ordered_json result = {{"users", args.options.num_users},
                                           {"items", args.options.num_items},
                                           {"dim", args.options.dim},
                                           {"clusters", world.options().clusters},
                                           {"seed", args.options.seed},
                                           {"events", files.events},
                                           {"held_out", files.held_out},
                                           {"as_of", world.log_end()},
                                           {"planted",
                                            {{"exact_copies", files.exact_copies},
                                             {"near_copies", files.near_copies},
                                             {"cold", files.cold},
                                             {"retired", files.retired},
                                             {"leaks", files.leaks}}},
                                           {"bytes", files.bytes},
                                           {"files", files.paths},
                                           {"seconds", seconds}};
    std::printf(
        "%s\n",
        result.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
  }
  std::fprintf(
      stderr,
      "synth: %u users, %u items, %u dimensions, %llu events, %llu held out, in %.1f s (%.1f MB)\n"
      "planted: %llu exact copies, %llu near copies, %llu cold items, %llu retired items, %llu "
      "leaks\n",
      args.options.num_users, args.options.num_items, args.options.dim,
      static_cast<unsigned long long>(files.events),
      static_cast<unsigned long long>(files.held_out), seconds,
      static_cast<double>(files.bytes) / 1e6, static_cast<unsigned long long>(files.exact_copies),
      static_cast<unsigned long long>(files.near_copies),
      static_cast<unsigned long long>(files.cold), static_cast<unsigned long long>(files.retired),
      static_cast<unsigned long long>(files.leaks));
  for (const std::string& path : files.paths) std::fprintf(stderr, "  %s\n", path.c_str());
  std::fprintf(stderr,
               "the log ends at %lld; mine it without knowing the planted later events:\n"
               "  quarry mine --items %s/items%s --users %s/users%s --events %s/events.csv "
               "--catalogue %s/catalogue.csv "
               "--as-of %lld --recipe balanced --out %s/negatives\n",
               static_cast<long long>(world.log_end()), args.out.c_str(), extension.c_str(),
               args.out.c_str(), extension.c_str(), args.out.c_str(), args.out.c_str(),
               static_cast<long long>(world.log_end()), args.out.c_str());
  return 0;
}

}  // namespace

void add_synth(CLI::App& app, Context& context) {
  auto args = std::make_shared<SynthArguments>();
  CLI::App* sub = app.add_subcommand(
      "synth", "Make structured synthetic data with planted copies, leaks and cold items");
  demo::SyntheticOptions& o = args->options;
  sub->add_option("--out", args->out, "folder for the files")->required();
  sub->add_option("--users", o.num_users, "number of users")
      ->capture_default_str()
      ->check(CLI::Range(1u, 4294967294u));
  sub->add_option("--items", o.num_items, "number of items")
      ->capture_default_str()
      ->check(CLI::Range(10u, 4294967294u));
  sub->add_option("--dim", o.dim, "dimensions of the vectors")
      ->capture_default_str()
      ->check(CLI::Range(2u, 65536u));
  sub->add_option("--events-per-user", o.events_per_user,
                  "events of each user; a fifth as many are held out")
      ->capture_default_str()
      ->check(CLI::Range(1u, 100000u));
  sub->add_option("--clusters", o.clusters,
                  "latent clusters; 0: the square root of the number of items")
      ->capture_default_str();
  sub->add_option("--seed", o.seed, "same seed, same bytes")->capture_default_str();
  sub->add_option("--zipf", o.zipf, "exponent of item popularity, 0 to 3")->capture_default_str();
  sub->add_option("--copies", o.duplicate_share,
                  "share of items that copy another, half of them exactly")
      ->capture_default_str();
  sub->add_option("--cold", o.cold_share,
                  "share of items that appear on the last day, without events")
      ->capture_default_str();
  sub->add_option("--retired", o.retired_share, "share of items withdrawn during the year")
      ->capture_default_str();
  sub->add_option("--leaks", o.leak_share,
                  "share of held-out positives also written into the events, as later events")
      ->capture_default_str();
  sub->add_option("--format", args->format, "format of the vectors")
      ->capture_default_str()
      ->check(CLI::IsMember({"npy", "fbin"}));
  sub->add_option("--threads", args->threads, "worker threads; they do not change the bytes")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  sub->add_flag("--force", args->force, "write into a folder that is not empty");
  sub->add_flag("--json", args->json, "a summary for machines on standard output");
  sub->callback(
      [&context, args] { context.run = [&context, args] { return synth(*args, context); }; });
}

}  // namespace quarry
