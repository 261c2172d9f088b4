// Evaluation and decoding on a GPU, against the same on the CPU in fp64.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include "model/operations/attention.h"
#include "tests/model/bound_model.h"
#include "tests/model/gpu.h"

namespace sisa::tests {
namespace {

using common::Precision;

using DecodingOnGpu = OnGpu;

TEST_F(DecodingOnGpu, AttentionToPast) {
  for (const auto& [type, tolerance] : {std::pair{at::kFloat, 1e-5}, std::pair{at::kBFloat16, 2e-2}})
    for (const int64_t width : {64, 80, 96, 128, 192})
      for (const int64_t T : {1, 2, 37, 300}) {
        at::manual_seed(1);
        const at::Tensor q = at::randn({2, T, 3, width}).to(type), k = at::randn({2, 300, 3, width}).to(type),
                         v = at::randn({2, 300, 3, 64}).to(type);
        const at::Tensor expected = model::attention_to_past(q.to(at::kDouble), k.to(at::kDouble),
                                                             v.to(at::kDouble), shape_of(q, 0.125));
        EXPECT_LT(
            relative_error(model::attention_to_past(q.to(gpu_), k.to(gpu_), v.to(gpu_), shape_of(q, 0.125)),
                           expected),
            tolerance)
            << c10::toString(type) << " width " << width << " T " << T;
      }
}

// The decays of 260 tokens go far beyond one segment with the larger biases.
TEST_F(DecodingOnGpu, PiecesAreTheWholeOfTheCpu) {
  for (const auto& [precision, tolerance] :
       {std::pair{Precision::fp32, 5e-5}, std::pair{Precision::bf16, 3e-2}})
    for (const char* system : {"transformer", "sisa"})
      for (const double bias : {-5.0, 0.0, 4.0}) {
        model::ModelConfig c = small_config(system, bias);
        c.d_model = 128;
        c.d_ff = 96;
        if (std::string(system) == "sisa") c.settings["d_state"] = 16;
        BoundModel reference(c, Precision::fp64), bound(c, precision, 64, 1, gpu_);
        at::manual_seed(3);
        for (const std::string& name : reference.names()) {
          const at::Tensor value = reference.value(name);
          value.add_(at::randn(value.sizes(), at::kDouble).mul(0.05));
          bound.value(name).copy_(value);
          value.copy_(bound.value(name));  // rounded alike
        }
        at::manual_seed(11);
        const at::Tensor x = at::randint(61, {2, 260}, at::kLong);
        const at::Tensor expected = reference.model.logits(x);
        EXPECT_LT(relative_error(bound.model.logits(x.to(gpu_)), expected), tolerance)
            << system << " " << bias << " " << c10::toString(common::compute_type(precision));
        model::Cache cache = bound.model.make_cache();
        int64_t t = 0;
        for (const int64_t length : {100, 1, 1, 1, 57, 1, 99}) {
          t += length;
          const at::Tensor next = bound.model.next_logits(x.narrow(1, t - length, length).to(gpu_), cache);
          EXPECT_LT(relative_error(next, expected.select(1, t - 1)), tolerance)
              << system << " " << bias << " at " << t;
        }
      }
}

}  // namespace
}  // namespace sisa::tests
