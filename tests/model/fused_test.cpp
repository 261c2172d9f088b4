// The fused operations beside what defines them: on a GPU, or, with SISA_EMULATED, with kernels that run on
// the CPU (tests/model/emulated).
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "model/operations/functional.h"
#include "tests/model/fused_fixture.h"

namespace sisa::tests {
namespace {

TEST_F(Fused, NormAndResidual) {
  at::manual_seed(1);
  for (const int64_t d : {256, 512, 768, 1024})
    for (const bool adds : {true, false})
      for (const int64_t rows : {1, 37, emulated ? 100 : 9000}) {
        const at::Tensor a = at::randn({1, rows, d}) * 3, b = at::randn({1, rows, d}),
                         w1 = at::randn({1, rows, d}).to(at::kBFloat16),
                         w2 = at::randn({1, rows, d}).to(at::kBFloat16);
        Twice weight = parameter(at::randn({d}) + 1);
        const auto run = [&](const at::Tensor& x, const at::Tensor& delta, Parameter& p,
                             at::ScalarType statistics) {
          const auto [sum, normed] = model::add_rms_norm(x, delta, p, 1e-6, statistics);
          (sum * w1.to(x.options()) + normed * w2.to(x.options())).sum(at::kDouble).backward();
          return normed;
        };
        const at::Tensor x = on_gpu(a), y = adds ? on_gpu(b) : at::Tensor(), X = on_cpu(a),
                         Y = adds ? on_cpu(b) : at::Tensor();
        ASSERT_TRUE(model::fused::norm_usable(x, weight.gpu));
        EXPECT_LT(relative_error(run(x, y, weight.gpu, at::kFloat), run(X, Y, weight.cpu, at::kDouble)),
                  2 * one_rounding);
        EXPECT_LT(relative_error(x.grad(), X.grad()), 3 * one_rounding);
        if (adds) {
          EXPECT_LT(relative_error(y.grad(), Y.grad()), 3 * one_rounding);
        }
        EXPECT_LT(relative_error(weight.gpu.gradient, weight.cpu.gradient), 2 * one_rounding)
            << d << " " << rows;
      }
}

TEST_F(Fused, Swiglu) {
  at::manual_seed(2);
  for (const int64_t n : {8, 64, 2944, 3072}) {
    const at::Tensor a = at::randn({2, 33, 2 * n}) * 4, w = at::randn({2, 33, n}).to(at::kBFloat16);
    const at::Tensor x = on_gpu(a), X = on_cpu(a);
    const at::Tensor out = model::swiglu(x), expected = model::swiglu(X);
    EXPECT_LT(relative_error(out, expected), one_rounding);
    (out * w.to(gpu_)).sum(at::kFloat).backward();
    (expected * w.to(at::kDouble)).sum().backward();
    EXPECT_LT(relative_error(x.grad(), X.grad()), one_rounding) << n;
  }
}

TEST_F(Fused, CrossEntropy) {
  at::manual_seed(3);
  for (const auto& [vocab_size, rows, tokens] :
       std::vector<std::array<int64_t, 3>>{{61, 64, emulated ? 20 : 300},
                                           {257, 320, emulated ? 7 : 77},
                                           {50277, 50304, emulated ? 3 : 40},
                                           {20000, 20032, emulated ? 9 : 9000}}) {
    at::Tensor matrix = at::randn({rows, 64});
    matrix.narrow(0, vocab_size, rows - vocab_size).zero_();
    Twice p = parameter(matrix);
    const at::Tensor h = at::randn({tokens, 64}), targets = at::randint(vocab_size, {tokens}, at::kLong);
    const at::Tensor x = on_gpu(h);
    ASSERT_TRUE(model::fused::cross_entropy_usable(x, p.gpu));
    const at::Tensor loss = model::cross_entropy_sum(x, p.gpu, vocab_size, targets.to(gpu_), at::kFloat);
    loss.backward();

    // What is asked for: of logits in bf16, everything else exact.
    const at::Tensor X = rounded(h), W = p.cpu.value.detach().narrow(0, 0, vocab_size);
    const at::Tensor logits = rounded(X.mm(W.t()));
    at::Tensor gradient = logits.softmax(1);
    const at::Tensor column = targets.unsqueeze(1);
    EXPECT_LT(relative_error(loss, (logits.logsumexp(1) - logits.gather(1, column).squeeze(1)).sum()), 1e-5);
    gradient.scatter_add_(1, column, at::full({tokens, 1}, -1, gradient.options()));
    EXPECT_LT(relative_error(x.grad(), gradient.mm(W)), 3 * one_rounding) << vocab_size;
    EXPECT_LT(relative_error(p.gpu.gradient.narrow(0, 0, vocab_size), gradient.t().mm(X)), 2 * one_rounding)
        << vocab_size;
    EXPECT_EQ(p.gpu.gradient.narrow(0, vocab_size, rows - vocab_size).abs().max().item<double>(), 0);
  }
}

// Whole models: gradients may be as far from those of fp64 as those of the plain operations are.
struct Case {
  const char* name;
  model::ModelConfig config;
  int64_t length = 130;
};

std::vector<Case> cases() {
  model::ModelConfig c;
  c.vocab_size = 301;
  c.d_model = 256;
  c.num_layers = 2;
  c.settings["num_heads"] = 4;
  c.d_ff = 300;
  c.settings["d_state"] = 16;
  c.settings["alpha_bias"] = -3;
  std::vector<Case> all;
  const auto add = [&](const char* name, const std::function<void(model::ModelConfig&)>& change,
                       int64_t length = 130) {
    model::ModelConfig changed = c;
    change(changed);
    all.push_back({name, changed, length});
  };
  add("transformer", [](auto& m) { use_system(m, "transformer"); });
  add("d_state 16", [](auto&) {});
  add(
      "a token", [](auto&) {}, 1);
  add(
      "d_state 64", [](auto& m) { m.settings["d_state"] = 64; }, 257);
  add("d_state 128", [](auto& m) { m.settings["d_state"] = 128; });
  add(
      "fast decay", [](auto& m) { m.settings["alpha_bias"] = 1; }, 200);
  add(
      // Faster decay leaves alpha's bias, in bf16, a gradient of noise.
      "several segments",
      [](auto& m) {
        m.settings["causal_offset"] = 20, m.settings["alpha_bias"] = 0, m.settings["max_segments"] = 8;
      },
      200);
  add(
      "beyond the last segment",
      [](auto& m) {
        m.settings["alpha_bias"] = 1, m.settings["causal_offset"] = 20, m.settings["max_segments"] = 2;
      },
      200);
  add("minimax", [](auto& m) { m.settings["offset"] = "minimax"; });
  add("minimax at its limit",
      [](auto& m) { m.settings["offset"] = "minimax", m.settings["alpha_bias"] = 0; });
  add("no decay", [](auto& m) { m.settings["decay"] = "none"; });
  add("no rotation", [](auto& m) { m.settings["rotation"] = "none"; });
  add("bilinear", [](auto& m) { m.settings["decay"] = m.settings["rotation"] = "none"; });
  add("fixed lambda", [](auto& m) { m.settings["lambda"] = "fixed"; });
  return all;
}

TEST_F(Fused, WholeModels) {
  if (emulated) GTEST_SKIP() << "takes minutes, and attention on the CPU rounds otherwise";
  for (const auto& [name, config, length] : cases()) {
    SCOPED_TRACE(name);
    at::manual_seed(4);
    const at::Tensor x = at::randint(config.vocab_size, {3, length}, at::kLong),
                     y = at::randint(config.vocab_size, {3, length}, at::kLong);
    BoundModel exact(config, Precision::fp64), plain(config, Precision::bf16, 64, 1, gpu_),
        fused(config, Precision::bf16, 64, 1, gpu_);
    stir(exact, 0.05);
    stir(plain, 0.05);
    stir(fused, 0.05);
    const at::Tensor expected = exact.model.loss_sum(x, y);
    model::fused::set_enabled(false);
    const at::Tensor with_plain = plain.model.loss_sum(x.to(gpu_), y);
    with_plain.backward();
    model::fused::set_enabled(true);
    const at::Tensor with_fused = fused.model.loss_sum(x.to(gpu_), y);
    with_fused.backward();
    expected.backward();
    EXPECT_LT(relative_error(with_fused, expected), 2e-3);
    EXPECT_LT(relative_error(with_fused, expected), 2 * relative_error(with_plain, expected) + 2e-4);
    for (const std::string& p : exact.names()) {
      const at::Tensor gradient = exact.gradient(p);
      if (gradient.abs().max().item<double>() < 1e-9) continue;  // of one token, no decay matters
      const double mine = relative_error(fused.gradient(p), gradient),
                   its = relative_error(plain.gradient(p), gradient);
      // Gradients of decays are sums of differences of numbers rounded to bf16: off by a few percent either
      // way (spec 1.5).
      const double slack = p.find("alpha_proj") != std::string::npos ? 0.05 : 0.01;
      EXPECT_LT(mine, 1.6 * its + slack) << p << ": " << mine << ", plain " << its;
    }
    const at::Tensor a = take_limited(fused.model), b = take_limited(plain.model);
    ASSERT_EQ(a.defined(), b.defined());
    if (a.defined()) {
      EXPECT_NEAR(a.item<double>(), b.item<double>(), 0.01 * b.item<double>() + 2);
    }
  }
}

TEST_F(Fused, WhatIsLeftToLibTorchIsSaid) {
  const auto left = [&](int64_t d_model, int64_t vocab_size, int64_t max_segments, Precision precision) {
    model::ModelConfig c = cases()[1].config;  // SISA, heads of 64 channels
    c.d_model = d_model;
    c.vocab_size = vocab_size;
    c.num_layers = 1;
    c.settings["max_segments"] = max_segments;
    BoundModel bound(c, precision, 64, 1, gpu_);
    return bound.model.left_to_libtorch();
  };
  using Parts = std::vector<std::string>;
  const Parts all = {"norms", "heads", "attention", "cross entropy"};
  EXPECT_EQ(left(256, 301, 0, Precision::bf16_pure), all);
  EXPECT_EQ(left(64, 301, 0, Precision::bf16), (Parts{"norms", "attention"}));  // heads of 16 channels
  EXPECT_EQ(left(512, 66000, 1, Precision::bf16), (Parts{"attention", "cross entropy"}));  // of 128
  EXPECT_EQ(left(256, 301, 8, Precision::bf16), Parts{"attention"});                       // in segments
  const Parts none = left(256, 301, 0, Precision::bf16);
  EXPECT_TRUE(none.empty() || (!emulated && none == Parts{"attention"}));  // of a GPU of another kind
}

// Kernels give the same bits twice, but for sums that add atomically: the embedding's gradient on a GPU.
TEST_F(Fused, RecomputedLayersGiveTheSameGradients) {
  for (const char* system : {"transformer", "sisa"}) {
    SCOPED_TRACE(system);
    model::ModelConfig c = cases().front().config;
    use_system(c, system);
    at::manual_seed(5);
    const at::Tensor x = at::randint(c.vocab_size, {1, 20}, at::kLong).to(gpu_);
    BoundModel kept(c, Precision::bf16, 64, 1, gpu_), again(c, Precision::bf16, 64, 1, gpu_);
    stir(kept, 0.05);
    stir(again, 0.05);
    const at::Tensor a = kept.model.loss_sum(x, x);
    EXPECT_EQ(count_nodes(a, "Recomputed"), 0);
    a.backward();
    again.model.set_recomputed_layers(1);
    const at::Tensor b = again.model.loss_sum(x, x);
    EXPECT_EQ(count_nodes(b, "Recomputed"), 1);
    b.backward();
    EXPECT_TRUE(a.equal(b));
    for (const std::string& name : kept.names())
      if (name == "embed.weight")
        EXPECT_LT(relative_error(again.gradient(name), kept.gradient(name)), 1e-5);
      else
        EXPECT_TRUE(kept.gradient(name).equal(again.gradient(name))) << name;
  }
}

}  // namespace
}  // namespace sisa::tests
