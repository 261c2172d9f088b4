// Started as two ranks: rank 0 waits for ever in a barrier that rank 1 never enters, until a second thread of
// rank 0 aborts. The test in CMakeLists.txt asks for the exit code 75 that mpirun then hands out.
#include <chrono>
#include <string_view>
#include <thread>

#include "parallel/collective_status.h"
#include "parallel/communicator.h"

int main() {
  using namespace sisa::parallel;
  const World world;
  if (world.size() != 2) world.abort(1);
  const auto communicator = make_mpi_communicator(world);
  if (world.rank() == 1) {
    std::this_thread::sleep_for(std::chrono::minutes(10));
    return 0;
  }
  std::thread watcher([&] {
    const auto in_barrier = [&] {
      const auto seen = world.collective_status().read();
      return seen.name != nullptr && std::string_view(seen.name) == "barrier" &&
             CollectiveStatus::Clock::now() - seen.since > std::chrono::milliseconds(200);
    };
    while (!in_barrier()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    communicator->abort();
  });
  world.barrier();
  watcher.join();
}
