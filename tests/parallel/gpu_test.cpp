// The CUDA and NCCL sides of this folder against their CPU twins. Skipped where ranks outnumber GPUs.
#include <ATen/detail/CUDAHooksInterface.h>  // deviceCount, also in builds without CUDA
#include <ATen/ops/allclose.h>
#include <ATen/ops/ones.h>

#include <chrono>
#include <cmath>
#include <string>
#include <string_view>
#include <thread>

#include "common/error.h"
#include "parallel/adamw.h"
#include "tests/mpi_world.h"
#include "tests/parallel/collectives.h"
#include "tests/parallel/sample.h"

namespace sisa::tests {
namespace {

using parallel::AdamW;
using parallel::ParameterSpace;
using parallel::StateArray;

at::Device gpu() {
  return {at::kCUDA, static_cast<c10::DeviceIndex>(world().local_rank())};
}

class Gpu : public testing::Test {
 protected:
  void SetUp() override {
    const int gpus = at::detail::getCUDAHooks().deviceCount();
    if (gpus < world().local_size()) GTEST_SKIP() << gpus << " GPUs for " << world().local_size() << " ranks";
  }
};

TEST_F(Gpu, SumsAndCopiesOverNccl) {
  const auto communicator = parallel::make_communicator(world(), gpu());
  EXPECT_EQ(communicator->rank(), world().rank());
  EXPECT_EQ(communicator->size(), world().size());
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16, at::kLong})
    for (const int64_t n : {1, 7, 1001})
      check_collectives(*communicator, at::TensorOptions(gpu()).dtype(type), n);
}

TEST_F(Gpu, UpdatesAsTheCpuDoes) {
  const auto mpi = parallel::make_communicator(world(), at::kCPU);
  const auto nccl = parallel::make_communicator(world(), gpu());
  for (const auto precision : all_precisions)
    for (const bool sharded : {true, false}) {
      Sample on_cpu, on_gpu;
      ParameterSpace a(on_cpu.pointers(), {.precision = precision, .sharded = sharded}, world().rank(),
                       world().size());
      ParameterSpace b(on_gpu.pointers(), {.precision = precision, .device = gpu(), .sharded = sharded},
                       world().rank(), world().size());
      a.initialise(5);
      b.initialise(5);
      AdamW adamw_a(a, {.learning_rate = 6e-3}), adamw_b(b, {.learning_rate = 6e-3});
      for (int t = 1; t <= 12; ++t) {
        double norms[2];
        for (const bool cuda : {false, true}) {
          ParameterSpace& space = cuda ? b : a;
          parallel::Communicator& communicator = cuda ? *nccl : *mpi;
          set_gradients(space, world().rank(), t);
          space.reduce_gradients(communicator);
          norms[cuda] = (cuda ? adamw_b : adamw_a).step(communicator, 0.5, 1).gradient_norm;
          space.gather_values(communicator);
        }
        EXPECT_NEAR(norms[0], norms[1], 1e-12 * norms[0]);
      }
      // Fused multiply-adds of the GPU round differently, which bf16 shows as a unit in its last place.
      const double tolerance = is_bf16(precision)                     ? 0.02
                               : precision == common::Precision::fp32 ? 1e-6
                                                                      : 1e-13;
      for (size_t i = 0; i < a.ranges().size(); ++i)
        EXPECT_TRUE(at::allclose(a.ranges()[i].values.to(at::kDouble),
                                 b.ranges()[i].values.cpu().to(at::kDouble), tolerance, tolerance));
      EXPECT_TRUE(padding_is_zero(b));
      const auto pieces_a = a.owned_pieces(), pieces_b = b.owned_pieces();
      for (size_t i = 0; i < pieces_a.size(); ++i)
        for (const auto array : {StateArray::weights, StateArray::moment1, StateArray::moment2}) {
          a.write(pieces_a[i], array, b.read(pieces_b[i], array));
          EXPECT_TRUE(at::equal(a.read(pieces_a[i], array), b.read(pieces_b[i], array)));
        }
    }
}

TEST_F(Gpu, SkipsWhatIsNotFinite) {
  const auto communicator = parallel::make_communicator(world(), gpu());
  Sample sample;
  ParameterSpace space(sample.pointers(), {.precision = common::Precision::bf16, .device = gpu()},
                       world().rank(), world().size());
  space.initialise(5);
  const at::Tensor before = space.ranges().back().values.clone();
  set_gradients(space, world().rank(), 1);
  sample.pointers().back()->gradient[3] = std::nan("");
  space.reduce_gradients(*communicator);
  AdamW adamw(space, {});
  EXPECT_FALSE(adamw.step(*communicator, 1, 1).applied);
  EXPECT_TRUE(at::equal(space.ranges().back().values, before));
}

// A rank waits for the device, which waits for ranks that never come; another thread of it ends the wait.
TEST_F(Gpu, AbortEndsAWaitAndVoidsItsResult) {
  const auto communicator = parallel::make_communicator(world(), gpu());
  const at::Tensor tensor = at::ones({1000}, at::TensorOptions(gpu()));
  communicator->all_reduce(tensor);  // connects
  EXPECT_EQ(communicator->to_host(tensor)[0].item<float>(), static_cast<float>(world().size()));
  world().barrier();
  const bool waits = world().is_root() && world().size() > 1;
  if (waits) communicator->all_reduce(tensor);
  std::thread watcher([&] {
    const auto in_to_host = [] {
      const char* const name = world().collective_status().read().name;
      return name != nullptr && std::string_view(name) == "to_host";
    };
    while (waits && !in_to_host()) std::this_thread::yield();
    // The rank that waits begins: NCCL releases memory that the others could still be using.
    if (!waits) std::this_thread::sleep_for(std::chrono::seconds(1));
    communicator->abort();
    communicator->abort();  // does nothing more
  });
  if (waits) {
    EXPECT_THROW(communicator->to_host(tensor), SystemError);
  }
  watcher.join();
  try {
    communicator->all_reduce(tensor);
    FAIL() << "the communicator was aborted";
  } catch (const SystemError& error) {
    EXPECT_NE(std::string(error.what()).find("was aborted"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find(world().host()), std::string::npos) << error.what();
  }
}

TEST(Nccl, RefusesToShareAGpu) {
  if (at::detail::getCUDAHooks().deviceCount() == 0) GTEST_SKIP() << "no GPU";
  if (world().size() == 1) GTEST_SKIP() << "needs two ranks";
  try {
    parallel::make_communicator(world(), at::Device(at::kCUDA, 0));
    FAIL() << "all ranks have GPU 0";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("Ranks 0 and 1 share the GPU"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace sisa::tests
