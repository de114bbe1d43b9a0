// setup on a GPU: the Thrust text with the stream and the memory of the Exec.
#include <thrust/execution_policy.h>
#include <thrust/system_error.h>

#include "kernels/core/launch.cuh"
#include "kernels/setup/lists_thrust.h"
#include "kernels/setup/setup.h"
#include "kernels/setup/space_thrust.h"

namespace quarry {
namespace {

/// Thrust's work memory from the Exec, so that its limits and refusals hold here as well.
struct ExecMemory {
  using value_type = char;
  Exec exec;
  char* allocate(std::ptrdiff_t bytes) {
    return static_cast<char*>(allocate_bytes<DeviceSpace>(exec, static_cast<std::size_t>(bytes)));
  }
  void deallocate(char* pointer, std::size_t bytes) noexcept {
    release_bytes<DeviceSpace>(exec, pointer, bytes);
  }
};

/// Runs `body(policy)` on the Exec's device and stream, with Thrust's errors as ours. `nosync`:
/// Thrust waits only where it needs a number on the host.
template <class Body>
auto on_device(const Exec& exec, Body&& body) {
  const DeviceScope scope(exec);
  ExecMemory memory{exec};
  try {
    return body(thrust::cuda::par_nosync(memory).on(exec.stream));
  } catch (const thrust::system_error& error) {
    require_cuda(error.code().value(), error.what(), __FILE__, __LINE__);
    throw DeviceError(error.what());
  }
}

}  // namespace

UserArrays make_user_lists_gpu(const Exec& exec, std::span<const PairView> parts,
                               std::uint32_t num_users) {
  return on_device(exec, [&](const auto& policy) {
    return by_thrust::user_lists<DeviceSpace>(policy, exec, parts, num_users);
  });
}

PlacedArray<std::uint32_t> count_values_gpu(const Exec& exec, const PairView& pairs,
                                            std::uint32_t num_values) {
  return on_device(exec, [&](const auto& policy) {
    return by_thrust::counts<DeviceSpace>(policy, exec, pairs, num_values);
  });
}

PlacedArray<std::uint32_t> popularity_bins_gpu(const Exec& exec, const std::uint32_t* counts,
                                               std::uint32_t n, std::uint32_t num_items,
                                               std::uint32_t bins) {
  return on_device(exec, [&](const auto& policy) {
    return by_thrust::bins<DeviceSpace>(policy, exec, counts, n, num_items, bins);
  });
}

SpaceOrder order_space_gpu(const Exec& exec, const SpaceItems& items) {
  return on_device(
      exec, [&](const auto& policy) { return by_thrust::order<DeviceSpace>(policy, exec, items); });
}

PlacedArray<std::uint64_t> sum_weights_gpu(const Exec& exec, const std::uint64_t* weights,
                                           const std::uint32_t* item_at, std::uint32_t n) {
  return on_device(exec, [&](const auto& policy) {
    return by_thrust::sums<DeviceSpace>(policy, exec, weights, item_at, n);
  });
}

PlacedArray<std::uint64_t> weights_before_gpu(const Exec& exec, const UserLists& lists,
                                              std::uint32_t num_users, std::uint64_t num_values,
                                              const std::uint64_t* cumulative) {
  return on_device(exec, [&](const auto& policy) {
    return by_thrust::before<DeviceSpace>(policy, exec, lists, num_users, num_values, cumulative);
  });
}

}  // namespace quarry
