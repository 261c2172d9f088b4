#include <ucontext.h>

#include <cstdlib>
#include <stdexcept>
#include <vector>

#include "tests/model/emulated/cuda_runtime.h"

namespace sisa::emulated {
namespace {

struct Barrier {
  int64_t arrived = 0, generation = 0;
};

struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(64 << 10);
  dim3 index;
  bool done = false;
};

struct Block {
  std::vector<Fiber> fibers;
  size_t size = 0, alive = 0, current = 0;
  Barrier barrier;
  std::vector<Barrier> warps;
  std::vector<double> values;  // that lanes exchange
  std::vector<int64_t> alive_lanes;
  const std::function<void()>* kernel = nullptr;
  ucontext_t scheduler;
};
Block block;

void enter() {
  (*block.kernel)();
  block.fibers[block.current].done = true;
  --block.alive;
  --block.alive_lanes[block.current / 32];
}

void yield() {
  swapcontext(&block.fibers[block.current].context, &block.scheduler);
}

// `expected` may fall while others wait, as threads return.
template <typename Expected>
void wait(Barrier& barrier, const Expected& expected) {
  const int64_t generation = barrier.generation;
  ++barrier.arrived;
  while (barrier.generation == generation) {
    if (barrier.arrived >= expected()) {
      barrier.arrived = 0;
      ++barrier.generation;
    } else {
      yield();
    }
  }
}

void run_block() {
  block.alive = block.size;
  block.barrier = {};
  block.warps.assign((block.size + 31) / 32, {});
  block.alive_lanes.assign(block.warps.size(), 0);
  for (size_t i = 0; i < block.size; ++i) {
    Fiber& fiber = block.fibers[i];
    fiber.done = false;
    fiber.index = dim3(static_cast<unsigned>(i) % blockDim.x, static_cast<unsigned>(i) / blockDim.x);
    ++block.alive_lanes[i / 32];
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = &block.scheduler;
    makecontext(&fiber.context, enter, 0);
  }
  while (block.alive > 0)
    for (block.current = 0; block.current < block.size; ++block.current) {
      Fiber& fiber = block.fibers[block.current];
      if (fiber.done) continue;
      threadIdx = fiber.index;
      swapcontext(&block.scheduler, &fiber.context);
    }
}

}  // namespace

void run(dim3 grid, dim3 threads, const std::function<void()>& kernel) {
  if (threads.z != 1 || grid.z != 1) throw std::invalid_argument("blocks and grids of three dimensions");
  block.size = static_cast<size_t>(threads.x) * threads.y;
  if (block.fibers.size() < block.size) block.fibers = std::vector<Fiber>(block.size);
  block.values.resize(block.size);
  block.kernel = &kernel;
  gridDim = grid;
  blockDim = threads;
  for (unsigned y = 0; y < grid.y; ++y)
    for (unsigned x = 0; x < grid.x; ++x) {
      blockIdx = dim3(x, y);
      run_block();
    }
}

void block_barrier() {
  wait(block.barrier, [] { return static_cast<int64_t>(block.alive); });
}

double exchange(double value, int source) {
  const size_t warp = block.current / 32;
  const auto alive = [warp] { return block.alive_lanes[warp]; };
  block.values[block.current] = value;
  wait(block.warps[warp], alive);
  const double result = block.values[32 * warp + static_cast<size_t>(source)];
  wait(block.warps[warp], alive);
  return result;
}

}  // namespace sisa::emulated
