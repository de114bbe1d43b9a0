// certify: lists that a search left become exact and ordered, on the CPU or a GPU; with the steps
// around it. Every pointer is memory of exec.device; work is ordered on exec.stream.
#pragma once

#include "kernels/certify/candidate_lists.h"
#include "kernels/core/exec.h"

namespace quarry {

/// Scores every candidate that is neither settled nor dismissed exactly, proves the lists if their
/// kind asks for it, writes the k best in key order. Cost: a dot product per candidate and heavy
/// item, and a sort per list.
void certify(const Exec& exec, const CertifyArgs& args);
void certify_gpu(const Exec& exec, const CertifyArgs& args);
/// Numbers of u64 for args.scratch; `length`: lists.depth + num_heavy; toward: lists.least is
/// there.
std::uint64_t certify_scratch_size(const Exec& exec, std::uint32_t num_lists, std::uint64_t length,
                                   bool toward = false);

/// to[r] = from[rows[r]] for r < num_rows. from: [any, dim]; rows: [num_rows]; to: [num_rows, dim].
void gather_queries(const Exec& exec, const float* from, std::uint32_t dim,
                    const std::uint32_t* rows, std::uint32_t num_rows, float* to);
void gather_queries_gpu(const Exec& exec, const float* from, std::uint32_t dim,
                        const std::uint32_t* rows, std::uint32_t num_rows, float* to);

/// Labels and distances into lists as topk leaves them; empty places are closed. Of several that
/// tie at the end such an index keeps any: everything left out may score as much as the worst kept.
void label_keys(const Exec& exec, const LabelArgs& args);
void label_keys_gpu(const Exec& exec, const LabelArgs& args);

}  // namespace quarry
