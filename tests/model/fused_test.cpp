// The fused operations beside what defines them: on a GPU, or, with SISA_EMULATED, with kernels that run on
// the CPU (tests/model/emulated).
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/zeros.h>

#include <array>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "model/augmentation.h"
#include "model/functional.h"
#include "model/fused.h"
#include "model/rope.h"
#include "tests/model/bound_model.h"
#ifndef SISA_EMULATED
#include "tests/model/gpu.h"
#endif

namespace sisa::tests {
namespace {

using common::Parameter;
using common::Precision;

// A bf16 number is off by 2^-9 of itself at most; of the largest in a tensor, which relative_error is about.
constexpr double one_rounding = 0.004;

#ifdef SISA_EMULATED
constexpr bool emulated = true;
struct OnGpu : testing::Test {
  const at::Device gpu_ = at::kCPU;
};
#else
constexpr bool emulated = false;
#endif

struct Fused : OnGpu {
  void TearDown() override { model::fused::set_enabled(true); }

  // The same parameter twice: in bf16 (vectors in fp32) on the GPU, and in fp64 on the CPU.
  struct Twice {
    Parameter gpu, cpu;
  };
  Twice parameter(const at::Tensor& value) const {
    const at::ScalarType type = value.dim() == 2 ? at::kBFloat16 : at::kFloat;
    const auto make = [&](const at::Tensor& v, at::ScalarType gradient_type) {
      Parameter p{.name = "p", .bucket = "b", .rows = v.size(0), .columns = v.dim() == 2 ? v.size(1) : 1};
      p.value = v.clone().set_requires_grad(true);
      p.gradient = at::zeros(v.sizes(), v.options().dtype(gradient_type).requires_grad(false));
      return p;
    };
    const at::Tensor rounded = value.to(type);
    return {make(rounded.to(gpu_), at::kFloat), make(rounded.to(at::kDouble), at::kDouble)};
  }
  at::Tensor on_gpu(const at::Tensor& x) const {
    return x.to(at::kBFloat16).to(gpu_).clone().set_requires_grad(true);
  }
  static at::Tensor rounded(const at::Tensor& x) { return x.to(at::kBFloat16).to(at::kDouble); }
  static at::Tensor on_cpu(const at::Tensor& x) { return rounded(x).clone().set_requires_grad(true); }
};

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

// What attention is given, from the layer's input: values, and gradients of everything that they are made of,
// where those that come back from attention are drawn at random.
struct HeadsCase {
  const char* name;
  model::ModelConfig config;
  int64_t length;
  double alpha;  // of the gate's mean
};

std::vector<HeadsCase> heads_cases() {
  model::ModelConfig c;
  c.d_model = 256;
  c.num_heads = 4;
  c.d_state = 16;
  c.causal_offset = 3;
  c.max_segments = 1;
  std::vector<HeadsCase> all;
  const auto add = [&](const char* name, int64_t length, double alpha,
                       const std::function<void(model::ModelConfig&)>& change) {
    all.push_back({name, c, length, alpha});
    change(all.back().config);
  };
  add("transformer", 70, 0, [](auto& m) { m.system = "transformer"; });
  add("one segment", 90, -3, [](auto&) {});
  add("long", 1100, -6, [](auto&) {});
  add("one token", 1, -3, [](auto&) {});
  add("beyond the limit", 90, 0, [](auto&) {});
  add("several segments", 90, -1, [](auto& m) { m.max_segments = 5; });
  add("beyond the last segment", 90, 0, [](auto& m) { m.max_segments = 3; });
  add("d_state 8", 30, -2, [](auto& m) { m.d_state = 8; });
  add("d_state 64", 60, -3, [](auto& m) { m.d_state = 64; });
  add("d_state 128", 60, -3, [](auto& m) { m.d_state = 128; });
  add("minimax", 60, -2, [](auto& m) { m.offset = "minimax", m.clamp = 2; });
  add("no decay", 60, 0, [](auto& m) { m.decay = "none"; });
  add("no rotation", 60, -3, [](auto& m) { m.rotation = "none"; });
  add("bilinear", 60, 0, [](auto& m) { m.decay = m.rotation = "none"; });
  add("fixed lambda", 60, -3, [](auto& m) { m.lambda = "fixed"; });
  return all;
}

TEST_F(Fused, HeadsAndTheirGradients) {
  for (const auto& [name, c, T, alpha] : heads_cases()) {
    SCOPED_TRACE(name);
    at::manual_seed(5);
    const bool state = c.system == "sisa", decays = state && c.decay == "learned",
               rotates = state && c.rotation == "learned";
    const int64_t B = 2, d = c.d_model, H = c.num_heads, width = state ? H * c.d_state : 0,
                  angles = rotates ? width / 2 : 0, end = 3 * d + 2 * width,
                  last = angles > 0 || decays ? end + (angles + (decays ? H : 0) + 63) / 64 * 64 : end;
    at::Tensor matrix = at::randn({last, d}) / 16;  // of channels: of the order of 1
    if (rotates) matrix.narrow(0, end, angles) *= 0.3;
    if (last > end)
      matrix.narrow(0, end + angles + (decays ? H : 0), last - end - angles - (decays ? H : 0)).zero_();
    Twice weight = parameter(matrix), bias = parameter(at::full({H}, alpha)),
          lambda = parameter(at::linspace(-2, 1, H));
    const at::Tensor a = at::randn({B, T, d}), x = on_gpu(a), X = on_cpu(a);

    const model::fused::StateChannels channels{.alpha_bias = decays ? &bias.gpu : nullptr,
                                               .lambda_raw = c.lambda == "learned" ? &lambda.gpu : nullptr,
                                               .fixed_lambda_raw = -1,
                                               .smallest_lambda = 1e-12,
                                               .num_angles = angles};
    model::Rope rope(c.d_head(), c.rope_base, at::kFloat), exact_rope(c.d_head(), c.rope_base, at::kDouble);
    const auto [cosine, sine] = rope.tables(T, gpu_);
    const model::fused::Projection rows{end, last};
    ASSERT_TRUE(model::fused::heads_usable(x, weight.gpu, c, rows));
    const model::fused::Heads heads =
        model::fused::heads(x, weight.gpu, c, rows, cosine, sine, state ? &channels : nullptr);

    const at::Tensor all = model::linear(X, weight.cpu);
    const auto split = [&](int64_t begin, int64_t size) {
      return all.narrow(-1, begin, size).unflatten(-1, {H, -1});
    };
    at::Tensor query = exact_rope(split(0, d)), key = exact_rope(split(d, d));
    at::Tensor num_limited;
    if (state) {
      model::Exponents exponents;
      if (decays) {
        const at::Tensor gate = all.narrow(-1, end + angles, H) + model::use(bias.cpu, at::kDouble);
        exponents = model::decay_exponents(-at::softplus(gate), c, c.num_segments());
        num_limited = exponents.num_limited.sum();
      }
      const at::Tensor raw =
          c.lambda == "learned" ? model::use(lambda.cpu, at::kDouble) : at::full({1}, -1, at::kDouble);
      const auto more = model::augment(split(3 * d + width, width), split(3 * d, width), exponents,
                                       rotates ? split(end, angles).cumsum(1) : at::Tensor(),
                                       at::softplus(raw), c.d_head());
      query = at::cat({query, more.query}, -1);
      key = at::cat({key, more.key}, -1);
    }
    const at::Tensor value = split(2 * d, d);
    const auto used = [&](const at::Tensor& out) { return out.narrow(-1, 0, query.size(-1)); };
    // A bf16 input of each exponential: its error is that of the exponent times what is exponentiated.
    EXPECT_LT(relative_error(used(heads.query), query), 3 * one_rounding);
    EXPECT_LT(relative_error(used(heads.key), key), 3 * one_rounding);
    EXPECT_LT(relative_error(heads.value, value), one_rounding);
    if (heads.query.size(-1) > query.size(-1)) {
      const int64_t spare = heads.query.size(-1) - query.size(-1);
      EXPECT_EQ(heads.query.narrow(-1, query.size(-1), spare).abs().max().item<double>(), 0);
      EXPECT_EQ(heads.key.narrow(-1, query.size(-1), spare).abs().max().item<double>(), 0);
    }
    ASSERT_EQ(heads.num_limited.defined(), num_limited.defined());
    if (num_limited.defined()) {
      EXPECT_NEAR(heads.num_limited.item<double>(), num_limited.item<double>(),
                  0.01 * static_cast<double>(B * T * H));
    }

    const auto draw = [](const at::Tensor& like) { return at::randn(like.sizes()).to(at::kBFloat16); };
    const at::Tensor wq = draw(query), wk = draw(key), wv = draw(value);
    (query * wq + key * wk).sum().add((value * wv).sum()).backward();
    const auto weighted = [&](const at::Tensor& out, const at::Tensor& w) {
      return (out * w.to(gpu_)).sum(at::kFloat);
    };
    (weighted(used(heads.query), wq) + weighted(used(heads.key), wk) + weighted(heads.value, wv)).backward();
    constexpr double tolerance = 4 * one_rounding;
    EXPECT_LT(relative_error(x.grad(), X.grad()), tolerance);
    for (const auto& [part, begin, size] :
         std::vector<std::tuple<const char*, int64_t, int64_t>>{{"Q K V", 0, 3 * d},
                                                                {"B C", 3 * d, 2 * width},
                                                                {"theta", end, angles},
                                                                {"alpha", end + angles, decays ? H : 0}})
      if (size > 0) {
        EXPECT_LT(relative_error(weight.gpu.gradient.narrow(0, begin, size),
                                 weight.cpu.gradient.narrow(0, begin, size)),
                  tolerance)
            << part;
      }
    if (decays) {
      EXPECT_LT(relative_error(bias.gpu.gradient, bias.cpu.gradient), tolerance);
    }
    if (state && c.lambda == "learned") {
      EXPECT_LT(relative_error(lambda.gpu.gradient, lambda.cpu.gradient), tolerance);
    }
    const int64_t real = end + angles + (decays ? H : 0);
    if (last > real) {
      EXPECT_EQ(weight.gpu.gradient.narrow(0, real, last - real).abs().max().item<double>(), 0);
    }
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
  c.num_heads = 4;
  c.d_ff = 300;
  c.d_state = 16;
  c.alpha_bias = -3;
  std::vector<Case> all;
  const auto add = [&](const char* name, const std::function<void(model::ModelConfig&)>& change,
                       int64_t length = 130) {
    model::ModelConfig changed = c;
    change(changed);
    all.push_back({name, changed, length});
  };
  add("transformer", [](auto& m) { m.system = "transformer"; });
  add("d_state 16", [](auto&) {});
  add(
      "a token", [](auto&) {}, 1);
  add(
      "d_state 64", [](auto& m) { m.d_state = 64; }, 257);
  add("d_state 128", [](auto& m) { m.d_state = 128; });
  add(
      "several segments", [](auto& m) { m.alpha_bias = 1, m.causal_offset = 20; }, 200);
  add(
      "beyond the last segment", [](auto& m) { m.alpha_bias = 1, m.causal_offset = 20, m.max_segments = 2; },
      200);
  add("minimax", [](auto& m) { m.offset = "minimax"; });
  add("minimax at its limit", [](auto& m) { m.offset = "minimax", m.alpha_bias = 0; });
  add("no decay", [](auto& m) { m.decay = "none"; });
  add("no rotation", [](auto& m) { m.rotation = "none"; });
  add("bilinear", [](auto& m) { m.decay = m.rotation = "none"; });
  add("fixed lambda", [](auto& m) { m.lambda = "fixed"; });
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
    const at::Tensor a = fused.model.take_num_limited(), b = plain.model.take_num_limited();
    ASSERT_EQ(a.defined(), b.defined());
    if (a.defined()) {
      EXPECT_NEAR(a.item<double>(), b.item<double>(), 0.01 * b.item<double>() + 2);
    }
  }
}

}  // namespace
}  // namespace sisa::tests
