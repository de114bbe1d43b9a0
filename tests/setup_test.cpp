// Set-up operations against maps and sets: the CPU's with one and several threads, and the Thrust
// text that a GPU runs, compiled for Thrust's CPU backend where its headers are found.
#include <gtest/gtest.h>

#include "tests/support/setup_cases.h"

#if defined(QUARRY_THRUST_ON_CPU)
#include <thrust/system/cpp/execution_policy.h>

#include "kernels/setup/lists_thrust.h"
#include "kernels/setup/space_thrust.h"
#include "tests/support/scale.h"
#endif

namespace quarry {
namespace {

Exec threads(int count) {
  Exec exec;
  exec.threads = count;
  return exec;
}

TEST(Setup, TheCpuGivesWhatMapsGive) {
  for (std::uint64_t seed = 0; seed < 400u * static_cast<unsigned>(test::test_scale()); ++seed) {
    const test::SetupCase c = test::setup_case(seed);
    const test::SetupResult expected = test::setup_by_maps(c);
    for (const int count : {1, 2, 5}) {
      ASSERT_EQ(test::difference(expected, test::setup_on(c, threads(count))), "")
          << count << " threads, seed " << seed << ": " << test::describe(c);
    }
  }
}

TEST(Setup, ALargeInputIsSharedByThreadsWithoutChange) {
  const test::SetupCase c = test::large_setup_case();
  const test::SetupResult expected = test::setup_by_maps(c);
  for (const int count : {1, 3, 8})
    ASSERT_EQ(test::difference(expected, test::setup_on(c, threads(count))), "") << count;
}

/// The comparison itself: any changed number is seen.
TEST(Setup, AChangedNumberIsSeen) {
  const test::SetupCase c = test::large_setup_case();
  const test::SetupResult expected = test::setup_by_maps(c);
  ASSERT_EQ(expected.arrays.size(), 14u);
  for (std::size_t i = 0; i < expected.arrays.size(); ++i) {
    ASSERT_FALSE(expected.arrays[i].second.empty()) << expected.arrays[i].first;
    test::SetupResult changed = expected;
    changed.arrays[i].second.back() += 1;
    EXPECT_NE(test::difference(expected, changed), "") << expected.arrays[i].first;
  }
}

TEST(Setup, ABuildWithoutCudaSaysSo) {
#if defined(QUARRY_HAS_CUDA)
  GTEST_SKIP() << "this build has CUDA";
#else
  Exec exec;
  exec.device = Device::kCuda;
  EXPECT_THROW(make_user_lists(exec, {}, 1), DeviceError);
  EXPECT_THROW(count_values(exec, {}, 1), DeviceError);
  EXPECT_THROW(popularity_bins(exec, nullptr, 0, 0, 1), DeviceError);
  EXPECT_THROW(order_space(exec, {}), DeviceError);
  EXPECT_THROW(sum_weights(exec, nullptr, nullptr, 0), DeviceError);
  EXPECT_THROW(weights_before(exec, {}, 0, 0, nullptr), DeviceError);
#endif
}

#if defined(QUARRY_THRUST_ON_CPU)

/// The functions of setup.h in Thrust's words.
struct ByThrust {
  Exec exec;
  UserArrays lists(std::span<const PairView> parts, std::uint32_t num_users) const {
    return by_thrust::user_lists<HostSpace>(thrust::cpp::par, exec, parts, num_users);
  }
  PlacedArray<std::uint32_t> counts(const PairView& pairs, std::uint32_t num_values) const {
    return by_thrust::counts<HostSpace>(thrust::cpp::par, exec, pairs, num_values);
  }
  PlacedArray<std::uint32_t> bins(const std::uint32_t* counts, std::uint32_t n,
                                  std::uint32_t num_items, std::uint32_t bins) const {
    return by_thrust::bins<HostSpace>(thrust::cpp::par, exec, counts, n, num_items, bins);
  }
  SpaceOrder order(const SpaceItems& items) const {
    return by_thrust::order<HostSpace>(thrust::cpp::par, exec, items);
  }
  PlacedArray<std::uint64_t> sums(const std::uint64_t* weights, const std::uint32_t* item_at,
                                  std::uint32_t n) const {
    return by_thrust::sums<HostSpace>(thrust::cpp::par, exec, weights, item_at, n);
  }
  PlacedArray<std::uint64_t> before(const UserLists& lists, std::uint32_t num_users,
                                    std::uint64_t num_values,
                                    const std::uint64_t* cumulative) const {
    return by_thrust::before<HostSpace>(thrust::cpp::par, exec, lists, num_users, num_values,
                                        cumulative);
  }
};

TEST(Setup, ThrustGivesWhatMapsGive) {
  for (std::uint64_t seed = 0; seed < 400u * static_cast<unsigned>(test::test_scale()); ++seed) {
    const test::SetupCase c = test::setup_case(seed);
    ASSERT_EQ(test::difference(test::setup_by_maps(c), test::run_setup(c, Exec{}, ByThrust{{}})),
              "")
        << "seed " << seed << ": " << test::describe(c);
  }
  const test::SetupCase c = test::large_setup_case();
  ASSERT_EQ(test::difference(test::setup_by_maps(c), test::run_setup(c, Exec{}, ByThrust{{}})), "");
}

TEST(Setup, KeysOfTheLargestIdsKeepBothHalves) {
  const std::uint32_t owner[] = {0xFFFFFFFDu, 0};
  const std::uint32_t values[] = {0xFFFFFFFEu, 0xFFFFFFFEu};
  PairView pairs;
  pairs.owner = owner;
  pairs.values = values;
  pairs.num_groups = pairs.num_pairs = 2;
  EXPECT_EQ(by_thrust::KeyOfPair{pairs}(0), 0xFFFFFFFDFFFFFFFEu);
  EXPECT_EQ(by_thrust::KeyOfPair{pairs}(1), 0xFFFFFFFEu);
  EXPECT_EQ(by_thrust::UpperHalf{}(0xFFFFFFFEu), 0xFFFFFFFE00000000u);
}

#else

TEST(Setup, ThrustGivesWhatMapsGive) {
  GTEST_SKIP() << "no CCCL headers were found: the Thrust text runs on a GPU only";
}

#endif

}  // namespace
}  // namespace quarry
