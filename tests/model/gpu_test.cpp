// The model on a GPU. Skipped where there is none.
#include <ATen/TensorOperators.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "model/operations/attention.h"
#include "model/operations/functional.h"
#include "tests/model/golden_check.h"
#include "tests/model/gpu.h"

namespace sisa::tests {
namespace {

using common::Precision;

struct ModelOnGpu : OnGpu {
  void TearDown() override { at::globalContext().setDeterministicAlgorithms(false, /*warn_only=*/false); }
};

void check_golden_files(Precision precision, const at::Device& device) {
  for (const auto& path : golden_files()) {
    const GoldenFile file(path);
    if (!known(file.system())) continue;
    SCOPED_TRACE(file.name());
    check_golden(GoldenCase(file), precision, 64, device);
  }
}

TEST_F(ModelOnGpu, GoldenFilesInFp32) {
  check_golden_files(Precision::fp32, gpu_);
}

TEST_F(ModelOnGpu, GoldenFilesInBf16) {
  check_golden_files(Precision::bf16, gpu_);
}

void check_attention(int64_t d_qk, const at::Device& device) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const double tolerance = type == at::kFloat ? 1e-5 : 2e-2;
    for (const int64_t T : {2, 37, 129, 300}) {
      at::manual_seed(1);
      std::vector<at::Tensor> on_cpu, on_gpu;
      for (const int64_t width : {d_qk, d_qk, int64_t{64}}) {
        const at::Tensor x = at::randn({2, T, 3, width}).to(type);
        on_cpu.push_back(x.to(at::kFloat).clone().set_requires_grad(true));
        on_gpu.push_back(x.to(device).clone().set_requires_grad(true));
      }
      const at::Tensor a = model::attention(on_cpu[0], on_cpu[1], on_cpu[2], shape_of(on_cpu[0], 0.125));
      const at::Tensor b = model::attention(on_gpu[0], on_gpu[1], on_gpu[2], shape_of(on_gpu[0], 0.125));
      EXPECT_LT(relative_error(b, a), tolerance) << T;
      const at::Tensor weight = at::randn(a.sizes());
      (a * weight).sum().backward();
      (b.to(at::kFloat) * weight.to(device)).sum().backward();
      for (size_t i = 0; i < 3; ++i)
        EXPECT_LT(relative_error(on_gpu[i].grad(), on_cpu[i].grad()), tolerance) << T << " input " << i;
    }
  }
}

TEST_F(ModelOnGpu, AttentionAsOnTheCpu) {
  check_attention(80, gpu_);
}

TEST_F(ModelOnGpu, AttentionInAFixedOrderAsOnTheCpu) {
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  for (const int64_t d_qk : {64, 80, 192, 320}) check_attention(d_qk, gpu_);
}

// From bf16 operands into an fp32 buffer, over two passes.
TEST_F(ModelOnGpu, WeightGradientsAreNotRoundedToBf16) {
  at::manual_seed(2);
  const int64_t n = 4096, in = 64, out = 128;
  common::Parameter p{.name = "p", .bucket = "b", .rows = out, .columns = in};
  p.value = at::randn({out, in}).to(at::kBFloat16).to(gpu_).set_requires_grad(true);
  p.gradient = at::zeros({out, in}, at::device(gpu_).dtype(at::kFloat));
  at::Tensor expected = at::zeros({out, in}, at::kDouble);
  for (int pass = 0; pass < 2; ++pass) {
    const at::Tensor x = at::randn({n, in}).to(at::kBFloat16), weight = at::randn({n, out}).to(at::kBFloat16);
    (model::linear(x.to(gpu_), p) * weight.to(gpu_)).sum(at::kFloat).backward();
    expected += weight.to(at::kDouble).t().mm(x.to(at::kDouble));
  }
  EXPECT_LT(relative_error(p.gradient, expected), 1e-5);  // bf16 would be off by 4e-3
}

TEST_F(ModelOnGpu, AnyRangeOfDecayStaysFinite) {
  for (const double range : {5.0, 22.0, 43.0, 60.0, 80.0}) {
    model::ModelConfig c;
    c.vocab_size = 61;
    c.d_model = 128;
    c.num_layers = 2;
    c.settings["num_heads"] = 2;
    c.d_ff = 128;
    c.settings["causal_offset"] = range;
    constexpr int64_t length = 512;
    c.settings["alpha_bias"] = std::log(std::expm1(2 * range / length));
    BoundModel bound(c, Precision::bf16, 64, 1, gpu_);
    at::manual_seed(3);
    const at::Tensor x = at::randint(61, {2, length}, at::kLong).to(gpu_);
    bound.model.loss_sum(x, x).backward();
    for (const std::string& name : bound.names())
      EXPECT_TRUE(bound.gradient(name).isfinite().all().item<bool>()) << name << " at " << range;
  }
}

}  // namespace
}  // namespace sisa::tests
