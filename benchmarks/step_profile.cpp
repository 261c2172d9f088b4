// Where the GPU's time goes in a training step, by kernel.
//
// step_profile RECIPE [KEY=VALUE …]
// Trains on random tokens, two steps at a time of four micro-batches each: to warm up, then timed, then
// recorded. Prints tokens a second and, of each kernel, its share of the time in which the GPU computes,
// calls and time, and how long the GPU was idle before it.
#include <ATen/ops/randint.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/error.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/device.h"
#include "launcher/run/learner.h"
#include "launcher/run/plan.h"
#include "parallel/world.h"

namespace sisa {
namespace {

namespace profiler = torch::autograd::profiler;
using torch::profiler::impl::ActivityType;

struct Kernel {
  double seconds = 0, idle = 0;  // idle: that the GPU did nothing just before it
  int64_t calls = 0;
};

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  c10::cuda::device_synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Record {
  double seconds;  // the work's; the profiler's own, before and after, do not count
  std::map<std::string, Kernel> kernels;
};

Record record(const std::function<void()>& work) {
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  const std::set<ActivityType> activities = {ActivityType::CUDA};
  profiler::prepareProfiler(config, activities);
  profiler::enableProfiler(config, activities);
  const double seconds = seconds_of(work);
  const auto result = profiler::disableProfiler();
  std::vector<const profiler::KinetoEvent*> events;
  for (const profiler::KinetoEvent& event : result->events())
    if (event.deviceType() == c10::DeviceType::CUDA) events.push_back(&event);
  std::sort(events.begin(), events.end(),
            [](const auto* a, const auto* b) { return a->startNs() < b->startNs(); });
  std::map<std::string, Kernel> kernels;
  uint64_t end = events.empty() ? 0 : events.front()->startNs();
  for (const profiler::KinetoEvent* event : events) {
    Kernel& kernel = kernels[event->name()];
    kernel.seconds += static_cast<double>(event->durationNs()) * 1e-9;
    if (event->startNs() > end) kernel.idle += static_cast<double>(event->startNs() - end) * 1e-9;
    ++kernel.calls;
    end = std::max<uint64_t>(end, event->startNs() + event->durationNs());
  }
  return {seconds, kernels};
}

void print(const Record& record) {
  const auto& [seconds, kernels] = record;
  std::vector<std::pair<std::string, Kernel>> sorted(kernels.begin(), kernels.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  double busy = 0, idle = 0;
  for (const auto& [name, kernel] : sorted) {
    busy += kernel.seconds;
    idle += kernel.idle;
  }
  fmt::print(
      "{:>7} {:>7} {:>9} {:>9}  kernel; the GPU computes for {:.1f} % of the time, idles between kernels for "
      "{:.1f} %\n",
      "share %", "calls", "us a call", "us before", 100 * busy / seconds, 100 * idle / seconds);
  for (const auto& [name, kernel] : sorted)
    if (kernel.seconds + kernel.idle > 0.001 * seconds) {
      const double calls = static_cast<double>(kernel.calls);
      fmt::print("{:7.2f} {:7} {:9.1f} {:9.1f}  {}\n", 100 * kernel.seconds / busy, kernel.calls,
                 1e6 * kernel.seconds / calls, 1e6 * kernel.idle / calls, name.substr(0, 110));
    }
}

void run(const launcher::Recipe& recipe, const parallel::World& world) {
  const at::Device device = launcher::open_device(recipe.run, world);
  launcher::Learner learner(recipe.model,
                            {.precision = recipe.run.precision,
                             .device = device,
                             .pad_to = launcher::padding(recipe),
                             .micro_batch = recipe.train.micro_batch,
                             .recompute = recipe.train.recompute,
                             .optimizer = recipe.optimizer},
                            world);
  learner.space().initialise(recipe.run.seed);
  const int64_t samples = 4 * recipe.train.micro_batch * world.size(), T = recipe.data.sequence_length;
  const auto read = [&](int64_t, int64_t count) {
    const auto ids = [&] { return at::randint(recipe.model.vocab_size, {count, T}, at::kLong).pin_memory(); };
    return data::Batch{ids(), ids()};
  };
  const auto steps = [&] {
    for (int i = 0; i < 2; ++i) learner.step(read, samples, samples * T, 1e-3);
  };
  steps();
  const double seconds = seconds_of(steps);
  const auto memory = c10::cuda::CUDACachingAllocator::getDeviceStats(device.index());
  fmt::print("{:.0f} tok/s with micro-batches of {}; {:.1f} GiB at most\n",
             static_cast<double>(2 * samples * T) / seconds, recipe.train.micro_batch,
             static_cast<double>(memory.reserved_bytes[0].peak) / (1 << 30));
  print(record(steps));
}

}  // namespace
}  // namespace sisa

int main(int argc, char** argv) {
  using namespace sisa;
  try {
    if (argc < 2) throw Error("Usage: step_profile RECIPE [KEY=VALUE …]");
    const parallel::World world;
    run(launcher::load_recipe(argv[1], std::vector<std::string>(argv + 2, argv + argc)), world);
    return common::success;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return common::failure;
  }
}
