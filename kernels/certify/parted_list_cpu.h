// A list of which only a part needs exact scores. Private to kernels/certify.
#pragma once

#include "kernels/certify/certify.h"

namespace quarry {

/// Numbers of scratch for a list of `length` places, the heavy items' included.
std::uint64_t parted_list_scratch(std::uint64_t length);

/// List `l` of args. What is settled goes to the result as it is, first; what is dismissed goes
/// where its score says, which is looked up only if the list does not tell; the rest is certified
/// as a list of its own. scratch: parted_list_scratch(length). What a list that is not proven
/// leaves in `out` is no result.
void certify_parted(const CertifyArgs& args, std::uint32_t l, std::uint64_t length,
                    std::uint64_t* scratch);

}  // namespace quarry
