// run.determinism: strict on a GPU. Skipped where there is none.
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>

#include <cmath>
#include <vector>

#include "launcher/recipe/recipe.h"
#include "launcher/run/device.h"
#include "launcher/run/learner.h"
#include "model/operations/fused.h"
#include "tests/model/gpu.h"
#include "tests/mpi_world.h"

namespace sisa::tests {
namespace {

using common::Precision;

struct StrictOnGpu : OnGpu {
  void TearDown() override {
    at::globalContext().setDeterministicAlgorithms(false, false);
    model::fused::set_enabled(true);
  }
};

// Wide and long enough for sums of attention's gradients to come out differently where their order is free.
model::ModelConfig config_of(const std::string& system) {
  model::ModelConfig c;
  c.system = system;
  c.vocab_size = 20000;
  c.d_model = 768;
  c.num_layers = 4;
  c.d_ff = 2048;
  c.settings["num_heads"] = 12;
  if (system == "sisa") c.settings["alpha_bias"] = -2;  // several segments
  return c;
}

TEST_F(StrictOnGpu, TheSameBitsOnEveryRun) {
  launcher::RunSection run;
  run.device = "cuda";
  run.determinism = launcher::Determinism::strict;
  const at::Device device = launcher::open_device(run, world());
  for (const char* system : {"transformer", "sisa"})
    for (const Precision precision : {Precision::bf16, Precision::fp32, Precision::bf16_pure})
      for (const bool fused : {true, false}) {
        SCOPED_TRACE(testing::Message()
                     << system << " precision " << static_cast<int>(precision) << " fused " << fused);
        model::fused::set_enabled(fused);
        launcher::Learner learner(config_of(system), {.precision = precision, .device = device, .pad_to = 64},
                                  world());
        learner.space().initialise(1);
        at::manual_seed(1);
        // Frequent and rare ones, as in text.
        const at::Tensor tokens = (at::rand({4, 2049}) * std::log(19999.0)).exp().to(at::kLong);
        std::vector<at::Tensor> first;
        for (int again = 0; again < 4; ++again) {
          for (common::Parameter* p : learner.model().parameters()) p->gradient.zero_();
          std::vector<at::Tensor> readings;
          const at::Tensor loss = learner.model().loss_sum(tokens.narrow(1, 0, 2048).to(device),
                                                           tokens.narrow(1, 1, 2048).contiguous());
          loss.backward();
          readings.push_back(loss.detach());
          for (common::Parameter* p : learner.model().parameters()) readings.push_back(p->gradient.clone());
          if (again == 0) first = readings;
          for (size_t i = 0; i < first.size(); ++i)
            EXPECT_TRUE(at::equal(readings[i], first[i])) << "tensor " << i << ", time " << again;
        }
      }
}

}  // namespace
}  // namespace sisa::tests
