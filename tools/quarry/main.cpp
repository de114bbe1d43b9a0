// The quarry program: parses the command line, runs one verb, maps errors to exit codes.
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <unistd.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <new>
#include <system_error>

#include "host/store/set_lock.h"
#include "kernels/core/errors.h"
#include "tools/quarry/blas.h"
#include "tools/quarry/config_file.h"
#include "tools/quarry/file_faults.h"
#include "tools/quarry/mapping_faults.h"
#include "tools/quarry/verbs.h"
#include "tools/quarry/version.h"

namespace quarry {
namespace {

// Exit codes are interface; never renumber. 8 (a gate failed) is returned by verbs that have gates.
enum ExitCode : int {
  kOk = 0,
  kInternal = 1,
  kUsage = 2,
  kBadData = 3,
  kLocked = 4,
  kIo = 5,
  kOutOfMemory = 6,
  kDevice = 7,
  kStopped = 75,
};

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);

/// Large blocks go back to the system as soon as they are freed. FAISS makes and drops tens of MiB
/// in every search, of which glibc would keep a copy per thread.
void give_memory_back() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}

extern "C" void request_stop(int) { stop_requested.store(true); }

/// The first Ctrl-C, SIGTERM or SIGHUP asks for an orderly end; a second one ends the process at
/// once. Without SA_RESTART: a call that waits (a pipe nobody reads, a hung mount) returns to be
/// told.
void install_signal_handlers() {
  struct sigaction action = {};
  action.sa_handler = request_stop;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  struct sigaction hangup = {};  // a terminal that went away; nohup's choice is left alone
  if (::sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler == SIG_DFL)
    ::sigaction(SIGHUP, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // a reader that went away is a write error, not a crash
  std::signal(SIGXFSZ, SIG_IGN);  // and so is a limit on the size of files
}

int fail(ExitCode code, const char* kind, const char* what) {
  std::fprintf(stderr, "quarry: %s: %s\n", kind, what);
  return code;
}

/// Words printed to a full disk or a closed pipe are lost without a sign unless someone asks.
bool output_is_lost() {
  std::cout.flush();
  return std::fflush(stdout) != 0 || std::ferror(stdout) != 0 || !std::cout;
}

/// The reader of standard output has closed its end, as `head` does when it has enough: no mistake
/// that anyone wants to hear of.
bool reader_went_away() {
  pollfd out = {1, POLLOUT, 0};
  return ::poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP)) != 0;
}

int fail_output() {
  if (stop_requested.load()) return fail(kStopped, "stopped", "while writing to standard output");
  if (reader_went_away()) return kIo;
  return fail(kIo, "output",
              "cannot write all of it to standard output (is the disk full?); what was written is "
              "incomplete");
}

int run_verb(const Context& context) {
  try {
    const int code = context.run();
    return output_is_lost() ? fail_output() : code;
  } catch (const ConfigError& error) {
    return fail(kUsage, "usage", error.what());
  } catch (const InputError& error) {
    return fail(kBadData, "bad data", error.what());
  } catch (const SetLocked& error) {
    return fail(kLocked, "locked", error.what());
  } catch (const IoError& error) {
    return fail(kIo, "I/O", error.what());
  } catch (const OutOfMemory& error) {
    return fail(kOutOfMemory, "out of memory", error.what());
  } catch (const std::bad_alloc&) {
    return fail(kOutOfMemory, "out of memory",
                "an allocation failed; try a smaller --tile or --host-memory");
  } catch (const DeviceError& error) {
    return fail(kDevice, "device", error.what());
  } catch (const Cancelled& error) {
    return fail(kStopped, "stopped", error.what());
  } catch (const std::system_error& error) {  // fmt's of a failed print, the file system's
    if (error.code() == std::errc::resource_unavailable_try_again ||
        error.code() == std::errc::not_enough_memory) {
      const std::string what = std::string("no room for another thread (") + error.what() +
                               "); raise the limits on memory and threads or take fewer --threads";
      return fail(kOutOfMemory, "out of memory", what.c_str());
    }
    return output_is_lost() ? fail_output() : fail(kIo, "I/O", error.what());
  } catch (const std::exception& error) {
    return fail(kInternal, "internal error (please report it)", error.what());
  }
}

/// A standard stream that is closed would lend its number to the next file that is opened, and
/// words would be written into it.
void keep_standard_streams() {
  for (const int stream : {0, 1, 2}) {
    if (::fcntl(stream, F_GETFD) >= 0) continue;
    const int opened = ::open("/dev/null", stream == 2 ? O_WRONLY : O_RDONLY);
    static_cast<void>(opened);  // takes the lowest free number: this one
  }
}

/// CLI11's words, with the verb whose help lists what is allowed.
int fail_usage(const CLI::App& app, const CLI::ParseError& error) {
  std::string help = "quarry";
  for (const CLI::App* verb : app.get_subcommands()) help += " " + verb->get_name();
  std::string words = error.what();
  // The commonest guess: k stands in the recipe.
  if ((words + " ").find("--k ") != std::string::npos) words += "; k is the recipe's: --set k=N";
  for (const char* flag : {"--ray", "--array", "--processes"}) {
    if (help == "quarry bench" && (words + " ").find(std::string(flag) + " ") != std::string::npos)
      words += fmt::format("; {} is of the Python package: python -m quarry bench {}", flag, flag);
  }
  return fail(kUsage, "usage", (words + "; " + help + " --help lists what it takes").c_str());
}

std::string quoted(const std::string& arg) {
  if (!arg.empty() && arg.find_first_of(" \t\n\"'\\$`*?[]{}()<>|&;#~") == std::string::npos)
    return arg;
  std::string text = "'";
  for (const char c : arg) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

/// CLI11 says only that a subcommand is missing when the first word is none.
void check_verb(const CLI::App& app, const std::vector<std::string>& args) {
  if (!args.empty() && !args.front().empty() && args.front()[0] == '-') return;
  std::string known;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!args.empty() && verb->get_name() == args.front()) return;
    known += (known.empty() ? "" : ", ") + verb->get_name();
  }
  throw ConfigError(
      (args.empty() ? std::string("say what to do") : "there is no verb '" + args.front() + "'") +
      "; verbs are " + known + "; quarry --help says what they do");
}

int run(int argc, char** argv) {
  keep_standard_streams();
  give_memory_back();
  install_signal_handlers();
  report_mapping_faults();
  plant_file_faults();
  Context context;
  context.stop = &stop_requested;
  context.command_line = "quarry";
  std::vector<std::string> args(argv + std::min(argc, 1), argv + argc);
  for (const std::string& arg : args) context.command_line += " " + quoted(arg);

  CLI::App app{
      "Quarry mines hard negatives: items the model finds nearly positive that are safe to teach "
      "as negative.",
      "quarry"};
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 2 usage, 3 bad data, 4 locked, 5 files, 6 out of memory, 7 device, 8 a "
      "gate failed or shards are missing, 75 stopped (nothing is left, or with --store what is "
      "complete; run it again), "
      "1 a fault of "
      "quarry itself.");
  app.set_version_flag("--version", std::string("quarry ") + kVersion);
  app.get_formatter()->column_width(32);
  add_mine(app, context);
  add_plan(app, context);
  add_recipes(app, context);
  add_show(app, context);
  add_explain(app, context);
  add_audit(app, context);
  add_doctor(app, context);
  add_synth(app, context);
  add_train_demo(app, context);
  add_bench(app, context);
  add_log(app, context);
  add_tag(app, context);
  add_verify(app, context);
  add_prune(app, context);
  add_refresh(app, context);
  add_approve(app, context);
  add_reject(app, context);
  add_policy(app, context);
  add_diff(app, context);
  add_compare(app, context);
  add_export(app, context);
  add_report(app, context);
  add_review(app, context);
  add_feedback(app, context);
  add_shards(app, context);
  try {
    check_verb(app, args);
    std::vector<std::string> all = with_config(app, args);
    std::reverse(all.begin(), all.end());  // CLI11 takes them from the back
    app.parse(all);
  } catch (const CLI::ParseError& error) {
    // Help and version are "errors" with code 0; every other one is a usage error, whatever CLI11's
    // own number.
    if (error.get_exit_code() != 0) return fail_usage(app, error);
    app.exit(error);
    return output_is_lost() ? fail_output() : kOk;
  } catch (const ConfigError& error) {
    return fail(kUsage, "usage", error.what());
  } catch (const IoError& error) {
    return fail(kIo, "I/O", error.what());
  }
  return run_verb(context);
}

}  // namespace
}  // namespace quarry

int main(int argc, char** argv) {
  quarry::restart_with_better_blas(argv);
  const int code = quarry::run(argc, argv);
  if (code != quarry::kOutOfMemory) return code;
  // The BLAS joins threads at exit, which may wait forever for the memory that there is not.
  std::fflush(nullptr);
  ::_exit(code);
}
