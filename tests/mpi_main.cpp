// The main function of tests that run under mpirun. Every rank runs every test; rank 0 alone prints, unless
// another fails.
#include <gtest/gtest.h>

#include "parallel/world.h"
#include "tests/mpi_world.h"

namespace sisa::tests {
namespace {
const parallel::World* current = nullptr;
}
const parallel::World& world() {
  return *current;
}
}  // namespace sisa::tests

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const sisa::parallel::World world;
  sisa::tests::current = &world;
  if (!world.is_root()) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    auto* printer = listeners.Release(listeners.default_result_printer());
    struct FailuresOnly : testing::EmptyTestEventListener {
      explicit FailuresOnly(TestEventListener* p) : printer(p) {}
      void OnTestPartResult(const testing::TestPartResult& result) override {
        if (result.failed()) printer->OnTestPartResult(result);
      }
      std::unique_ptr<TestEventListener> printer;
    };
    listeners.Append(new FailuresOnly(printer));
  }
  int64_t failed = RUN_ALL_TESTS();
  world.all_reduce({&failed, 1}, sisa::parallel::World::Reduction::max);
  return static_cast<int>(failed);
}
