#include "parallel/communicator.h"

#include <ATen/detail/CUDAHooksInterface.h>  // deviceCount, also in builds without CUDA
#include <ATen/ops/full.h>

#include "common/error.h"
#include "tests/mpi_world.h"
#include "tests/parallel/collectives.h"

namespace sisa::tests {
namespace {

class MpiCommunicator : public testing::TestWithParam<at::ScalarType> {};
INSTANTIATE_TEST_SUITE_P(Types, MpiCommunicator,
                         testing::Values(at::kFloat, at::kDouble, at::kBFloat16, at::kLong),
                         [](const auto& type) { return std::string(c10::toString(type.param)); });

TEST_P(MpiCommunicator, SumsAndCopies) {
  const auto communicator = parallel::make_communicator(world(), at::kCPU);
  EXPECT_EQ(communicator->rank(), world().rank());
  EXPECT_EQ(communicator->size(), world().size());
  for (const int64_t n : {1, 7, 64, 1001, 40}) check_collectives(*communicator, GetParam(), n);
}

TEST_P(MpiCommunicator, CutsLargeTensorsIntoParts) {
  const auto communicator = parallel::make_mpi_communicator(world(), 10);
  for (const int64_t n : {2, 5, 10, 33}) check_collectives(*communicator, GetParam(), n);
}

TEST(MpiCommunicator, RoundsSumsInBf16Once) {
  const int n = world().size();
  const auto communicator = parallel::make_communicator(world(), at::kCPU);
  // 256 + 1 is 256 in bf16, so sums that are rounded on their way stay at 256.
  const at::Tensor tensor = at::full({2 * n}, world().is_root() ? 256 : 1, at::kBFloat16);
  const at::Tensor expected = at::full({2 * n}, 256 + n - 1, at::kFloat).to(at::kBFloat16);
  const at::Tensor slice = at::empty_like(tensor.narrow(0, 0, 2));
  communicator->reduce_scatter(tensor, slice);
  EXPECT_TRUE(at::equal(slice, expected.narrow(0, 0, 2)));
  communicator->all_reduce(tensor);
  EXPECT_TRUE(at::equal(tensor, expected));
}

TEST(MpiCommunicator, GivesCpuTensorsToTheHostAsTheyAre) {
  const auto communicator = parallel::make_communicator(world(), at::kCPU);
  const at::Tensor tensor = at::full({3}, 2.5);
  EXPECT_TRUE(communicator->to_host(tensor).is_same(tensor));
  EXPECT_NO_THROW(communicator->throw_if_failed());
}

TEST(NcclCommunicator, IsRefusedWithoutGpu) {
  if (at::detail::getCUDAHooks().deviceCount() > 0) GTEST_SKIP() << "this host has a GPU";
  EXPECT_THROW(parallel::make_communicator(world(), at::Device(at::kCUDA, 0)), Error);
}

}  // namespace
}  // namespace sisa::tests
