// Attention with state channels for Hopper GPUs beside its direct form in fp64: on such a GPU, or, with
// SISA_EMULATED, by threads that the CPU plays (tests/model/emulated).
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>
#include <vector>

#include "model/kernels/kernels.h"
#include "tests/model/fused_fixture.h"
#ifdef SISA_EMULATED
#include "tests/model/emulated/cuda_runtime.h"
#else
#include <c10/cuda/CUDAStream.h>
#endif

namespace sisa::tests {
namespace {

namespace kernels = model::kernels;
using kernels::Bf16;

void* stream() {
#ifdef SISA_EMULATED
  return nullptr;
#else
  return c10::cuda::getCurrentCUDAStream().stream();
#endif
}

Bf16* bits(const at::Tensor& x) {
  return static_cast<Bf16*>(x.data_ptr());
}

constexpr int64_t d_head = 64;

// Query, key and value as the kernels take them, bf16 on the CPU, with the decay that they stand for.
struct Inputs {
  at::Tensor query, key, value;  // (B, T, H, ·)
  at::Tensor exponents;          // (B, H, blocks) int16; undefined: all equal
};

// `decay`: nats a token, on average; it varies between tokens, and grows from head to head. 0: none.
Inputs draw(int64_t B, int64_t T, int64_t H, int64_t d_state, double decay) {
  at::manual_seed(T + d_state);
  const auto channels = [&](int64_t n) { return at::randn({B, T, H, n}, at::kDouble); };
  Inputs inputs{channels(d_head), channels(d_head), channels(d_head), {}};
  // Of such a size that their scores are of the order of 1.
  const double size = d_state > 0 ? std::sqrt(8 / std::sqrt(static_cast<double>(d_state))) : 1;
  at::Tensor c = channels(d_state) * size, b = channels(d_state) * size;
  if (decay > 0 && d_state > 0) {
    const at::Tensor heads = at::arange(1, H + 1, at::kDouble) / H;
    const at::Tensor g = -(at::rand({B, T, H}, at::kDouble).pow(4) * 5 * decay * heads).cumsum(1);
    const int64_t blocks = (T + kernels::exponent_block - 1) / kernels::exponent_block;
    const at::Tensor first = g.index_select(1, at::arange(blocks) * kernels::exponent_block);
    const at::Tensor exponent = (first / -kernels::exponent_step).floor();  // (B, blocks, H)
    const at::Tensor of_token = exponent.repeat_interleave(kernels::exponent_block, 1).narrow(1, 0, T);
    const at::Tensor u = (g + kernels::exponent_step * (of_token + 1)).clamp(-kernels::exponent_step);
    c = c * u.exp().unsqueeze(-1);
    b = b * (-u).exp().unsqueeze(-1);
    inputs.exponents = exponent.transpose(1, 2).contiguous().to(at::kShort);
  }
  inputs.query = at::cat({inputs.query, c}, -1);
  inputs.key = at::cat({inputs.key, b}, -1);
  for (at::Tensor* x : {&inputs.query, &inputs.key, &inputs.value}) *x = x->to(at::kBFloat16);
  return inputs;
}

struct Results {
  at::Tensor output, query_gradient, key_gradient, value_gradient;
};

Results direct(const Inputs& inputs, const at::Tensor& output_gradient, double scale) {
  const auto wide = [](const at::Tensor& x) { return x.to(at::kDouble).requires_grad_(); };
  const at::Tensor query = wide(inputs.query), key = wide(inputs.key), value = wide(inputs.value);
  const int64_t T = query.size(1), d_state = query.size(-1) - d_head;
  const auto product = [&](int64_t begin, int64_t size) {  // (B, H, i, j)
    const auto heads_first = [&](const at::Tensor& x) { return x.narrow(-1, begin, size).transpose(1, 2); };
    return heads_first(query).matmul(heads_first(key).transpose(2, 3));
  };
  at::Tensor scores = product(0, d_head);
  if (d_state > 0) {
    at::Tensor factor = at::zeros({1}, at::kDouble);
    if (inputs.exponents.defined()) {
      const at::Tensor n =
          inputs.exponents.to(at::kDouble).repeat_interleave(kernels::exponent_block, 2).narrow(2, 0, T);
      factor = kernels::exponent_step * (n.unsqueeze(2) - n.unsqueeze(3)).clamp_max(0);
    }
    scores = scores + product(d_head, d_state) * factor.exp();
  }
  const at::Tensor later = at::arange(T).unsqueeze(0).gt(at::arange(T).unsqueeze(1));
  const at::Tensor weights = (scores * scale).masked_fill(later, -INFINITY).softmax(-1);
  const at::Tensor output = weights.matmul(value.transpose(1, 2)).transpose(1, 2);
  output.backward(output_gradient.to(at::kDouble));
  return {output, query.grad(), key.grad(), value.grad()};
}

struct HopperAttention : OnGpu {
  void SetUp() override {
    OnGpu::SetUp();
    if (!IsSkipped() && !kernels::attention_fits(d_head, 16))
      GTEST_SKIP() << "no GPU of compute capability 9.0";
  }

  // The value lies among other numbers, as among the projections, and so does its gradient.
  Results run(const Inputs& inputs, const at::Tensor& output_gradient, double scale) const {
    const int64_t B = inputs.query.size(0), T = inputs.query.size(1), H = inputs.query.size(2),
                  row = H * d_head + 24;
    const auto on_gpu = [&](const at::Tensor& x) { return x.to(gpu_).contiguous(); };
    const at::Tensor query = on_gpu(inputs.query), key = on_gpu(inputs.key),
                     gradient = on_gpu(output_gradient);
    const at::Tensor exponents = inputs.exponents.defined() ? on_gpu(inputs.exponents) : at::Tensor();
    const auto among_others = [&] { return at::full_like(at::empty({B, T, row}, query.options()), NAN); };
    const at::Tensor values = among_others(), value_gradients = among_others();
    const auto part = [&](const at::Tensor& all) {
      return all.narrow(2, 16, H * d_head).unflatten(2, {H, d_head});
    };
    part(values).copy_(inputs.value);
    const kernels::AttentionCall shape{
        .batch = B,
        .length = T,
        .heads = H,
        .d_state = query.size(-1) - d_head,
        .scale = scale,
        .exponents = exponents.defined() ? exponents.const_data_ptr<int16_t>() : nullptr,
        .value_strides = {T * row, row, d_head}};
    const auto garbage = [&](at::IntArrayRef sizes, at::ScalarType type) {
      return at::full_like(at::empty(sizes, query.options().dtype(type)), NAN);
    };
    const at::Tensor output = garbage({B, T, H, d_head}, at::kBFloat16),
                     logsumexp = garbage({B, H, kernels::attention_rows(T)}, at::kFloat),
                     products = garbage(logsumexp.sizes(), at::kFloat),
                     query_gradient = garbage(query.sizes(), at::kFloat),
                     key_gradient = garbage({B, T, H, d_head}, at::kBFloat16),
                     state_gradient = garbage({B, T, H, shape.d_state}, at::kFloat),
                     turns = at::zeros({kernels::attention_turns(shape)}, query.options().dtype(at::kInt));
    kernels::attention(shape, bits(query), bits(key), bits(part(values)), bits(output),
                       logsumexp.data_ptr<float>(), stream());
    const kernels::AttentionGradients gradients{.output = bits(gradient),
                                                .query = query_gradient.data_ptr<float>(),
                                                .key = bits(key_gradient),
                                                .key_state = state_gradient.data_ptr<float>(),
                                                .value = bits(part(value_gradients)),
                                                .value_strides = {T * row, row, d_head}};
    kernels::attention_backward(shape, bits(query), bits(key), bits(part(values)), bits(output),
                                logsumexp.data_ptr<float>(), gradients, products.data_ptr<float>(),
                                turns.data_ptr<int>(), stream());
    EXPECT_TRUE(value_gradients.narrow(2, 0, 16).isnan().all().item<bool>() &&
                value_gradients.narrow(2, row - 8, 8).isnan().all().item<bool>());
    return {output, query_gradient, at::cat({key_gradient.to(at::kFloat), state_gradient}, -1),
            part(value_gradients)};
  }

  void compare(int64_t B, int64_t T, int64_t H, int64_t d_state, double decay,
               double gradient_size = 1) const {
    SCOPED_TRACE(::testing::Message() << "T " << T << ", d_state " << d_state << ", decay " << decay
                                      << ", gradients of " << gradient_size);
    const Inputs inputs = draw(B, T, H, d_state, decay);
    const at::Tensor output_gradient = at::randn({B, T, H, d_head}).mul(gradient_size).to(at::kBFloat16);
    constexpr double scale = 0.125;
    const Results expected = direct(inputs, output_gradient, scale),
                  actual = run(inputs, output_gradient, scale);
    // Weights and the scores' gradients are rounded to bf16, 2^-9 of each at most, before they are summed.
    EXPECT_LT(relative_error(actual.output, expected.output), 6e-3);
    EXPECT_LT(relative_error(actual.value_gradient, expected.value_gradient), 8e-3);
    for (const auto& [name, a, e] : {std::tuple("query", actual.query_gradient, expected.query_gradient),
                                     std::tuple("key", actual.key_gradient, expected.key_gradient)}) {
      SCOPED_TRACE(name);
      const at::Tensor difference = (a.detach().to(at::kCPU).to(at::kDouble) - e).abs();
      const auto error = [&](int64_t begin,
                             int64_t size) {  // of each token and head, of what is largest in it
        return difference.narrow(-1, begin, size).amax(-1) /
               e.narrow(-1, begin, size).abs().amax(-1).clamp_min(1e-30);
      };
      ASSERT_TRUE(difference.isfinite().all().item<bool>());
      // Where gradients nearly cancel, less of them is right, and of a first token's, which do, nothing.
      EXPECT_LT(difference.narrow(-1, 0, d_head).max().item<double>(),
                1e-2 * e.narrow(-1, 0, d_head).abs().max().item<double>() + 1e-6 * gradient_size);
      if (T < 4) continue;
      EXPECT_LT(error(0, d_head).median().item<double>(), 2e-2);
      // Channels of state differ from token to token by many powers of two.
      if (d_state > 0) {
        EXPECT_LT(error(d_head, d_state).median().item<double>(), 2e-2);
        EXPECT_LT(error(d_head, d_state).quantile(0.9).item<double>(), 6e-2);
        if (T >= 300) {
          EXPECT_LT(error(d_head, d_state).quantile(0.99).item<double>(), 3e-2);
        }
      }
    }
  }
};

TEST_F(HopperAttention, EqualsItsDirectForm) {
  for (const int64_t T : {1, 17, 64, 130, 200})
    for (const int64_t d_state : {0, 16}) compare(1, T, 2, d_state, 0);
  for (const int64_t d_state : {32, 64, 128}) compare(1, 200, 1, d_state, 0);
  compare(2, 140, 3, 16, 0);
}

TEST_F(HopperAttention, IsExactAtAnyDecay) {
  // Nats a token: all exponents equal, some tiles apart, blocks of a tile apart, most tiles far apart.
  for (const double decay : {0.02, 0.2, 1.0, 3.0}) compare(1, 400, 2, 16, decay);
  for (const int64_t d_state : {32, 64, 128}) compare(1, 300, 1, d_state, 0.7);
  compare(1, 400, 1, 16, 3.0, 1e-8);  // times e^-80 they would be less than bf16 can say
}

// Exponents grow along a sequence but for rounding of the sums that they come from. If one falls, blocks of
// keys differ in how they walk along the queries, and in who waits for whom; they must all come to an end.
TEST_F(HopperAttention, EndsEvenIfExponentsFall) {
  for (const int64_t d_state : {16, 64, 128}) {
    Inputs inputs = draw(1, 300, 1, d_state, 0);
    const int64_t blocks = kernels::num_exponents(300);
    for (int64_t risen = 0; risen < blocks; risen += 8) {  // in one tile of keys
      inputs.exponents = at::full({1, 1, blocks}, 4, at::kShort);
      inputs.exponents.narrow(2, risen, std::min<int64_t>(8, blocks - risen)).fill_(5);
      (void)run(inputs, at::zeros(inputs.value.sizes(), at::kBFloat16), 0.125);
    }
  }
}

#ifdef SISA_EMULATED
// A missing barrier would show: copies and products are played as late as they may happen.
TEST_F(HopperAttention, DoesNotDependOnTheOrderOfWarps) {
  for (const auto& [T, d_state, decay] : std::vector<std::tuple<int64_t, int64_t, double>>{
           {520, 0, 0}, {520, 16, 0}, {300, 16, 0.3}, {260, 64, 0.3}, {260, 128, 0}, {260, 128, 0.3}}) {
    SCOPED_TRACE(::testing::Message() << "d_state " << d_state << ", decay " << decay);
    const Inputs inputs = draw(1, T, 1, d_state, decay);
    const at::Tensor gradient = at::randn(inputs.value.sizes()).to(at::kBFloat16);
    std::optional<Results> first;
    for (const unsigned seed : {0u, 1u, 2u}) {
      ::sisa::emulated::shuffle(seed);
      const Results results = run(inputs, gradient, 0.125);
      ::sisa::emulated::shuffle(0);
      if (!first) first = results;
      EXPECT_TRUE(results.output.equal(first->output)) << seed;
      EXPECT_TRUE(results.query_gradient.equal(first->query_gradient)) << seed;
      EXPECT_TRUE(results.key_gradient.equal(first->key_gradient)) << seed;
      EXPECT_TRUE(results.value_gradient.equal(first->value_gradient)) << seed;
    }
  }
}
#endif

TEST_F(HopperAttention, SumsInAFixedOrder) {
  const Inputs inputs = draw(2, emulated ? 260 : 2048, emulated ? 2 : 12, 16, 0.1);
  const at::Tensor output_gradient = at::randn(inputs.value.sizes()).to(at::kBFloat16);
  const Results first = run(inputs, output_gradient, 0.125);
  for (int i = 0; i < (emulated ? 1 : 10); ++i) {
    const Results again = run(inputs, output_gradient, 0.125);
    EXPECT_TRUE(again.output.equal(first.output));
    EXPECT_TRUE(again.query_gradient.equal(first.query_gradient));
    EXPECT_TRUE(again.key_gradient.equal(first.key_gradient));
    EXPECT_TRUE(again.value_gradient.equal(first.value_gradient));
  }
}

// A token's output has the same bits whatever comes after it, at any decay.
TEST_F(HopperAttention, IsCausalBitForBit) {
  for (const double decay : {0.02, 1.0}) {
    const int64_t T = 300, kept = 135;
    const Inputs inputs = draw(1, T, 2, 16, decay);
    Inputs changed = draw(1, T, 2, 16, 2 * decay);
    for (const auto& [to, from] : {std::pair(changed.query, inputs.query), std::pair(changed.key, inputs.key),
                                   std::pair(changed.value, inputs.value)})
      to.narrow(1, 0, kept).copy_(from.narrow(1, 0, kept));
    const int64_t blocks = (kept + kernels::exponent_block - 1) / kernels::exponent_block;
    changed.exponents.narrow(2, 0, blocks).copy_(inputs.exponents.narrow(2, 0, blocks));
    const at::Tensor gradient = at::zeros(inputs.value.sizes(), at::kBFloat16);
    const at::Tensor a = run(inputs, gradient, 0.125).output, b = run(changed, gradient, 0.125).output;
    EXPECT_TRUE(a.narrow(1, 0, kept).equal(b.narrow(1, 0, kept)));
    EXPECT_FALSE(a.equal(b));
  }
}

}  // namespace
}  // namespace sisa::tests
