#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#include "tests/model/emulated/cuda_runtime.h"

namespace sisa::emulated {
namespace {

struct Barrier {
  int64_t arrived = 0, generation = 0;
};

// Where to go on. The builtins: without system calls, and glibc checks that setjmp does not change stacks.
using Place = void* [5];

// A thread. Its ucontext starts it on its stack; from there on it takes turns.
struct Fiber {
  ucontext_t start;
  Place place;
  std::vector<char> stack = std::vector<char>(64 << 10);
  dim3 index;
  bool started = false, done = false;
  const std::function<bool()>* awaited = nullptr;  // it is not entered before that holds
};

struct Block {
  std::vector<Fiber> fibers;
  size_t size = 0, alive = 0, current = 0;
  int64_t number = 0;  // of all that ran
  int64_t steps = 0;   // waits that ended, threads that returned
  std::minstd_rand random;
  bool in_order = true;
  bool asked = false;  // first_in_block
  Barrier barrier;
  std::vector<Barrier> warps, named;
  std::vector<double> values;  // that lanes exchange
  std::vector<int64_t> alive_lanes;
  const std::function<void()>* kernel = nullptr;
  Place scheduler;
};
Block block;

void enter() {
  (*block.kernel)();
  block.fibers[block.current].done = true;
  --block.alive;
  --block.alive_lanes[block.current / 32];
  __builtin_longjmp(block.scheduler, 1);
}

// Runs it until it waits or is done.
void run_fiber(Fiber& fiber) {
  if (__builtin_setjmp(block.scheduler) != 0) return;
  if (std::exchange(fiber.started, true)) __builtin_longjmp(fiber.place, 1);
  setcontext(&fiber.start);
}

void arrive(Barrier& barrier, int64_t expected) {
  if (++barrier.arrived < expected) return;
  barrier.arrived = 0;
  ++barrier.generation;
}
// `expected` may fall while others wait, as threads return.
template <typename Expected>
void wait(Barrier& barrier, const Expected& expected) {
  const int64_t generation = barrier.generation;
  arrive(barrier, expected());
  wait_until([&] {
    if (barrier.generation == generation && barrier.arrived >= expected()) arrive(barrier, 0);
    return barrier.generation != generation;
  });
}

void run_warp(size_t warp) {
  for (block.current = 32 * warp; block.current < std::min(32 * (warp + 1), block.size); ++block.current) {
    Fiber& fiber = block.fibers[block.current];
    if (fiber.done) continue;
    threadIdx = fiber.index;
    if (fiber.awaited && !(*fiber.awaited)()) continue;
    run_fiber(fiber);
    if (fiber.done) ++block.steps;
  }
}

void run_block() {
  block.alive = block.size;
  block.barrier = {};
  ++block.number;
  block.asked = false;
  block.warps.assign((block.size + 31) / 32, {});
  block.named.assign(16, {});
  block.alive_lanes.assign(block.warps.size(), 0);
  for (size_t i = 0; i < block.size; ++i) {
    Fiber& fiber = block.fibers[i];
    fiber.started = fiber.done = false;
    fiber.awaited = nullptr;
    fiber.index = dim3(static_cast<unsigned>(i) % blockDim.x, static_cast<unsigned>(i) / blockDim.x);
    ++block.alive_lanes[i / 32];
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.data();
    fiber.start.uc_stack.ss_size = fiber.stack.size();
    makecontext(&fiber.start, enter, 0);
  }
  std::vector<size_t> order(block.warps.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (!block.in_order) std::shuffle(order.begin(), order.end(), block.random);
  while (block.alive > 0) {
    const int64_t steps = block.steps;
    for (const size_t warp : order) {
      run_warp(warp);
      if (!block.in_order && block.steps > steps) break;  // the first that can go on, does
    }
    if (block.steps == steps) {
      std::fprintf(stderr, "block %u: %zu of %zu threads wait for one another\n", blockIdx.x, block.alive,
                   block.size);
      std::abort();
    }
  }
}

}  // namespace

void shuffle(unsigned seed) {
  block.in_order = seed == 0;
  block.random.seed(seed);
}

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

void arrive_at(int barrier, int threads) {
  arrive(block.named[static_cast<size_t>(barrier)], threads);
}
void wait_at(int barrier, int threads) {
  wait(block.named[static_cast<size_t>(barrier)], [threads] { return threads; });
}

void warp_barrier() {
  const size_t warp = block.current / 32;
  wait(block.warps[warp], [warp] { return block.alive_lanes[warp]; });
}

void wait_until(const std::function<bool()>& condition) {
  Fiber& fiber = block.fibers[block.current];
  if (!condition()) {
    fiber.awaited = &condition;
    if (__builtin_setjmp(fiber.place) == 0) __builtin_longjmp(block.scheduler, 1);
    fiber.awaited = nullptr;
  }
  ++block.steps;
}

bool first_in_block() {
  return !std::exchange(block.asked, true);
}

int64_t block_number() {
  return block.number;
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
