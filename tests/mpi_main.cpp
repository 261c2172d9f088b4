// The main function of test programs that run under mpirun. Every rank runs every test. Rank 0 prints; the
// other ranks print their failures only.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <memory>

#include "parallel/world.h"
#include "tests/mpi_world.h"
#include "tests/run_cases.h"

namespace sisa::tests {
namespace {

const parallel::World* current = nullptr;

class FailuresOnly : public testing::EmptyTestEventListener {
 public:
  explicit FailuresOnly(testing::TestEventListener* printer) : printer_(printer) {}
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (result.failed()) printer_->OnTestPartResult(result);
  }

 private:
  std::unique_ptr<testing::TestEventListener> printer_;
};

// The outcome of all ranks together: failed if one of them failed, else passed if a case ran on one of them.
Outcome over_ranks(Outcome own, const parallel::World& world) {
  std::array<int64_t, 2> any = {own == Outcome::failed, own == Outcome::passed};
  world.all_reduce(any, parallel::World::Reduction::max);
  return any[0] != 0 ? Outcome::failed : any[1] != 0 ? Outcome::passed : Outcome::skipped;
}

}  // namespace

const parallel::World& world() {
  return *current;
}

}  // namespace sisa::tests

int main(int argc, char** argv) {
  using namespace sisa::tests;
  testing::InitGoogleTest(&argc, argv);
  const sisa::parallel::World world;
  current = &world;
  if (!world.is_root()) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    listeners.Append(new FailuresOnly(listeners.Release(listeners.default_result_printer())));
  }
  return static_cast<int>(over_ranks(run_cases(), world));
}
