// certify on the CPU: lists over threads.
#include "kernels/certify/certify.h"

#include <algorithm>

#include "kernels/certify/certify_row.h"

namespace quarry {
namespace {

/// List `l`: what is settled goes to the result as it is, and is to the rest of the list what is
/// passed over. scratch: [2 * length], for keys of exact scores and a list without what is settled.
/// What a list that is not proven leaves in `out` is no result.
void certify_with_settled(SoloGroup& solo, const CertifyArgs& args, std::uint32_t l,
                          std::uint64_t length, std::uint64_t* scratch) {
  const CandidateLists& lists = args.lists;
  const float above = lists.settled_above[l];
  const std::uint64_t* found = lists.keys + std::uint64_t{l} * lists.depth;
  std::uint64_t* rest = scratch + length;
  const std::uint32_t row = args.rows != nullptr ? args.rows[l] : args.first_row + l;
  const std::uint64_t to = std::uint64_t{row} * args.k;
  std::uint32_t settled = 0, left = 0;
  for (std::uint32_t j = 0; j < lists.count[l]; ++j) {
    const std::uint32_t item = item_of_key(found[j]);
    // A heavy item's score in the list has no bound.
    if (score_of_key(found[j]) > above && settled < args.k &&
        !is_among(args.heavy, args.num_heavy, item)) {
      args.out.items[to + settled] = item;
      args.out.scores[to + settled++] = kSettledScore;
    } else {
      rest[left++] = found[j];
    }
  }
  if (settled == 0) return certify_row(solo, args, l, scratch);
  const std::uint32_t passed = lists.passed != nullptr ? lists.passed[l] : 0;
  const std::uint32_t passed_and_settled = passed + settled;
  const std::uint32_t needed = lists.needed != nullptr ? lists.needed[l] : args.k;
  std::uint32_t count = 0;
  std::uint8_t complete = passed_and_settled == args.num_items ? 1 : 0, proven = 1;
  // Of a list that ends among them nothing else can be proven.
  if (settled < args.k && (lists.left_out[l] == 0 || needed > settled)) {
    const std::uint32_t needed_of_rest = needed - std::min(needed, settled);
    CertifyArgs one = args;
    one.queries += std::uint64_t{l} * args.bound.dim;
    one.lists = {rest,
                 &left,
                 lists.cut + l,
                 lists.left_out + l,
                 lists.depth,
                 &passed_and_settled,
                 lists.exact != nullptr ? lists.exact + l : nullptr,
                 lists.needed != nullptr ? &needed_of_rest : nullptr};
    one.rows = nullptr;
    one.first_row = 0;
    one.k = args.k - settled;
    one.out = {args.out.items + to + settled, args.out.scores + to + settled, &count, &complete};
    one.proven = &proven;
    certify_row(solo, one, 0, scratch);
  }
  args.proven[l] = proven;
  if (proven == 0) return;
  args.out.count[row] = settled + count;
  args.out.complete[row] = complete;
  if (args.out.passed != nullptr) args.out.passed[row] = passed;
  if (args.out.certified != nullptr) args.out.certified[row] = 1;
}

}  // namespace

std::uint64_t certify_scratch_size(const Exec& exec, std::uint32_t num_lists, std::uint64_t length,
                                   bool settles) {
  if (exec.device == Device::kCuda) return num_lists * length;
  return static_cast<std::uint64_t>(std::max(exec.threads, 1)) * (settles ? 2 : 1) * length;
}

void certify(const Exec& exec, const CertifyArgs& args) {
  if (exec.device == Device::kCuda) return certify_gpu(exec, args);
  const std::uint64_t length = std::uint64_t{args.lists.depth} + args.num_heavy;
  const bool settles = args.lists.settled_above != nullptr;
  parallel_for(exec, args.num_lists, 8, [&](std::uint64_t begin, std::uint64_t end) {
    SoloGroup solo;
    std::uint64_t* keys =
        args.scratch + static_cast<std::uint64_t>(worker_index()) * (settles ? 2 : 1) * length;
    for (auto l = static_cast<std::uint32_t>(begin); l < end; ++l) {
      if (settles) {
        certify_with_settled(solo, args, l, length, keys);
      } else {
        certify_row(solo, args, l, keys);
      }
    }
  });
}

void gather_queries(const Exec& exec, const float* from, std::uint32_t dim,
                    const std::uint32_t* rows, std::uint32_t num_rows, float* to) {
  if (exec.device == Device::kCuda) return gather_queries_gpu(exec, from, dim, rows, num_rows, to);
  for (std::uint32_t r = 0; r < num_rows; ++r) {
    const float* row = from + std::uint64_t{rows[r]} * dim;
    std::copy(row, row + dim, to + std::uint64_t{r} * dim);
  }
}

}  // namespace quarry
