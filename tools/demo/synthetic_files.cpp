// Writes a synthetic world as files, block by block: vectors and event text are made in parallel
// and written in order.
#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "kernels/core/errors.h"
#include "tools/demo/synthetic.h"

namespace quarry::demo {
namespace {

static_assert(std::endian::native == std::endian::little, "the file formats are little-endian");

/// A file that is written aside and appears under its name when finished; removed if it is not.
class OutputFile {
 public:
  explicit OutputFile(std::string path) : path_(std::move(path)), part_(path_ + ".part") {
    file_.reset(std::fopen(part_.c_str(), "wb"));
    if (file_ == nullptr) throw IoError("cannot write " + part_ + ": " + std::strerror(errno));
  }
  ~OutputFile() {
    if (file_ == nullptr) return;
    file_.reset();
    std::remove(part_.c_str());
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(const void* data, std::size_t bytes) {
    if (bytes != 0 && std::fwrite(data, 1, bytes, file_.get()) != bytes) fail();
    bytes_ += bytes;
  }
  void write(const std::string& text) { write(text.data(), text.size()); }
  void finish(SyntheticFiles& files) {
    if (std::fclose(file_.release()) != 0 || std::rename(part_.c_str(), path_.c_str()) != 0) fail();
    files.bytes += bytes_;
    files.paths.push_back(path_);
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  [[noreturn]] void fail() {
    const std::string why = std::strerror(errno);
    std::remove(part_.c_str());
    throw IoError("cannot write " + path_ + ": " + why +
                  "; free space in its folder or choose another with --out");
  }
  std::string path_;
  std::string part_;
  std::unique_ptr<std::FILE, Close> file_;
  std::uint64_t bytes_ = 0;
};

void append(std::string& out, std::int64_t number) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  out.append(digits, end);
}

std::string vector_header(VectorFormat format, std::uint32_t rows, std::uint32_t dim) {
  if (format == VectorFormat::kFbin) {
    std::string header(8, '\0');
    std::memcpy(header.data(), &rows, 4);
    std::memcpy(header.data() + 4, &dim, 4);
    return header;
  }
  std::string dictionary = "{'descr': '<f4', 'fortran_order': False, 'shape': (" +
                           std::to_string(rows) + ", " + std::to_string(dim) + "), }";
  dictionary.resize(
      117, ' ');  // magic, version and length take 10 bytes, the line break one: 128 in all
  return std::string("\x93NUMPY\x01\x00\x76\x00", 10) + dictionary + "\n";
}

using MakeVectors = void (SyntheticWorld::*)(std::uint32_t, std::uint32_t, float*) const;

void write_vectors(const Exec& exec, const SyntheticWorld& world, VectorFormat format,
                   const std::string& stem, std::uint32_t rows, MakeVectors make,
                   SyntheticFiles& files, const std::function<void(std::uint64_t)>& advance) {
  const std::uint32_t dim = world.options().dim;
  OutputFile out(stem + (format == VectorFormat::kFbin ? ".fbin" : ".npy"));
  out.write(vector_header(format, rows, dim));
  const std::uint32_t block = std::clamp(4u * 1024 * 1024 / dim, 16u, 65536u);
  std::vector<float> buffer(std::uint64_t{std::min(block, rows)} * dim);
  for (std::uint32_t begin = 0; begin < rows; begin += std::min(block, rows - begin)) {
    const std::uint32_t end = begin + std::min(block, rows - begin);
    parallel_for(exec, end - begin, 256, [&](std::uint64_t from, std::uint64_t to) {
      (world.*make)(begin + static_cast<std::uint32_t>(from),
                    begin + static_cast<std::uint32_t>(to), buffer.data() + from * dim);
    });
    out.write(buffer.data(), std::uint64_t{end - begin} * dim * sizeof(float));
    advance(end - begin);
  }
  out.finish(files);
}

void append_event(std::string& out, std::uint32_t user, const SyntheticEvent& event) {
  append(out, user);
  out += ',';
  append(out, event.item);
  out += ',';
  append(out, event.time);
  out += ',';
  out += event_kind_name(event.kind);
  out += ',';
  if (event.value != 0.0f) {
    const auto hundredths = static_cast<std::int64_t>(std::lround(event.value * 100.0f));
    append(out, hundredths / 100);
    out += '.';
    out += static_cast<char>('0' + hundredths / 10 % 10);
    out += static_cast<char>('0' + hundredths % 10);
  }
  out += '\n';
}

/// Event text of one block of users.
struct EventBlock {
  std::string log, held_out, planted;
  std::uint64_t num_log = 0, num_held_out = 0, num_leaks = 0;
};

void write_events(const Exec& exec, const SyntheticWorld& world, const std::string& folder,
                  OutputFile& planted, SyntheticFiles& files,
                  const std::function<void(std::uint64_t)>& advance) {
  constexpr std::uint32_t kBlockUsers = 512;
  constexpr std::uint32_t kBlocks = 32;
  OutputFile log(folder + "/events.csv");
  OutputFile held_out(folder + "/heldout.csv");
  log.write(std::string("user,item,time,kind,value\n"));
  held_out.write(std::string("user,item,time,kind,value\n"));
  const std::uint32_t num_users = world.options().num_users;
  std::vector<EventBlock> blocks(kBlocks);
  for (std::uint64_t begin = 0; begin < num_users; begin += kBlockUsers * kBlocks) {
    parallel_for(exec, kBlocks, 1, [&](std::uint64_t from, std::uint64_t to) {
      std::vector<SyntheticEvent> events;
      for (std::uint64_t b = from; b < to; ++b) {
        EventBlock& block = blocks[b];
        block = {};
        const std::uint64_t first = begin + b * kBlockUsers;
        for (std::uint64_t u = first; u < std::min<std::uint64_t>(first + kBlockUsers, num_users);
             ++u) {
          const auto user = static_cast<std::uint32_t>(u);
          world.user_events(user, events);
          for (const SyntheticEvent& event : events) {
            if (event.held_out) {
              append_event(block.held_out, user, event);
              ++block.num_held_out;
            }
            if (event.leaked) {
              block.planted +=
                  "leak," + std::to_string(event.item) + ",," + std::to_string(user) + "\n";
              ++block.num_leaks;
            }
            if (!event.held_out || event.leaked) {
              append_event(block.log, user, event);
              ++block.num_log;
            }
          }
        }
      }
    });
    for (const EventBlock& block : blocks) {
      log.write(block.log);
      held_out.write(block.held_out);
      planted.write(block.planted);
      files.events += block.num_log;
      files.held_out += block.num_held_out;
      files.leaks += block.num_leaks;
    }
    advance(std::min<std::uint64_t>(kBlockUsers * kBlocks, num_users - begin));
  }
  log.finish(files);
  held_out.finish(files);
}

void write_catalogue(const SyntheticWorld& world, const std::string& folder, OutputFile& planted,
                     SyntheticFiles& files) {
  OutputFile out(folder + "/catalogue.csv");
  out.write(std::string("item,title,first_seen,retired,category,seller,group\n"));
  std::string line;
  for (std::uint32_t i = 0; i < world.items().size(); ++i) {
    const SyntheticItem& item = world.items()[i];
    const std::string number = std::to_string(i);
    line = number;
    line += ",Item ";
    line += number;
    line += " of range ";
    append(line, item.cluster);
    line += ',';
    append(line, item.first_seen);
    line += ',';
    if (item.retired != INT64_MAX) append(line, item.retired);
    line += ",c";
    append(line, item.category);
    line += ",s";
    append(line, item.seller);
    line += ",g";
    append(line, item.group);
    line += '\n';
    out.write(line);
    switch (item.role) {
      case ItemRole::kNormal:
        break;
      case ItemRole::kExactCopy:
        planted.write("exact_copy," + number + "," + std::to_string(item.original) + ",\n");
        ++files.exact_copies;
        break;
      case ItemRole::kNearCopy:
        planted.write("near_copy," + number + "," + std::to_string(item.original) + ",\n");
        ++files.near_copies;
        break;
      case ItemRole::kCold:
        planted.write("cold," + number + ",,\n");
        ++files.cold;
        break;
      case ItemRole::kRetired:
        planted.write("retired," + number + ",,\n");
        ++files.retired;
        break;
    }
  }
  out.finish(files);
}

}  // namespace

SyntheticFiles write_synthetic(const Exec& exec, const SyntheticWorld& world, VectorFormat format,
                               const std::string& folder,
                               const std::function<void(double share)>& progress) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw IoError("cannot make the folder " + folder + ": " + error.message());
  const SyntheticOptions& options = world.options();
  const std::uint64_t total = std::uint64_t{options.num_users} * 2 + options.num_items;
  std::uint64_t done = 0;
  const auto advance = [&](std::uint64_t rows) {
    done += rows;
    if (progress) progress(static_cast<double>(done) / static_cast<double>(total));
  };
  SyntheticFiles files;
  OutputFile planted(folder + "/planted.csv");
  planted.write(std::string("kind,item,original,user\n"));
  write_catalogue(world, folder, planted, files);
  write_vectors(exec, world, format, folder + "/items", options.num_items,
                &SyntheticWorld::item_vectors, files, advance);
  write_vectors(exec, world, format, folder + "/users", options.num_users,
                &SyntheticWorld::user_vectors, files, advance);
  write_events(exec, world, folder, planted, files, advance);
  planted.finish(files);
  return files;
}

}  // namespace quarry::demo
