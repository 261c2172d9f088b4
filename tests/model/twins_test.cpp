// Every kernel on the CPU against its definition in plain operations, over sizes around those of tiles and
// vectors: B 1 to 3; T 1, 2, 37, 2047 to 2049; heads 1 to 16; d_state 16 to 128; d_head 16 to 64. Tolerances
// are about three times the largest errors that SISA_TWINS_REPORT=1 shows on an AVX-512 processor. In bf16
// they are one or two roundings of 2^-9 for most kernels; measured, forward and backward: attention
// fp32 1.7e-6 and 4.7e-6, bf16 2.9e-3 and 1.3e-2; augmented attention fp32 7.7e-7 and 1.8e-6, bf16 4.0e-3
// and 1.7e-2; swiglu bf16 5.2e-3 and 7.9e-3.
#include "tests/model/twins.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/polar.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/view_as_complex.h>
#include <ATen/ops/view_as_real.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "model/layer.h"
#include "model/operations/attention.h"
#include "model/operations/augmentation.h"
#include "model/operations/functional.h"
#include "model/operations/rope.h"
#include "tests/model/bound_model.h"

namespace sisa::tests {
namespace {

using common::Precision;

at::Tensor normal(at::IntArrayRef sizes) {
  return at::randn(sizes, at::kDouble);
}

std::string describe(const std::vector<std::pair<const char*, int64_t>>& sizes) {
  std::string text;
  for (const auto& [name, size] : sizes) text += fmt::format("{}{} {}", text.empty() ? "" : " ", name, size);
  return text;
}

// softmax(scores) v, where query rows[r] sees the keys up to itself: scores (B, H, R, T), v (B, T, H, d_v).
at::Tensor masked_softmax(const at::Tensor& scores, const at::Tensor& v, const at::Tensor& rows) {
  const at::Tensor future = at::arange(scores.size(-1), rows.options()) > rows.unsqueeze(1);
  return at::einsum("bhij,bjhn->bihn",
                    {scores.masked_fill(future, -std::numeric_limits<double>::infinity()).softmax(-1), v});
}

// z (…, n) as n / 2 complex numbers.
at::Tensor complex_pairs(const at::Tensor& z) {
  return at::view_as_complex(z.unflatten(-1, {-1, 2}));
}
at::Tensor turn(const at::Tensor& z, const at::Tensor& angles) {
  return at::view_as_real(complex_pairs(z) * at::polar(at::ones_like(angles), angles)).flatten(-2);
}

at::Tensor plain_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return x / ((x * x).mean(-1, /*keepdim=*/true) + epsilon).sqrt() * weight;
}

TEST(Twins, Attention) {
  constexpr double scale = 0.2;
  const Twins twins(
      "attention",
      [&](Arguments& a) -> Outputs {
        return {{"output", model::attention(a["query"], a["key"], a["value"], shape_of(a["query"], scale))}};
      },
      [&](Arguments& a) -> Outputs {
        const at::Tensor scores = at::einsum("bihn,bjhn->bhij", {a["query"], a["key"]}) * scale;
        return {{"output", masked_softmax(scores, a["value"], at::arange(a["query"].size(1)))}};
      },
      {{Precision::fp64, {1e-14, 5e-14}},
       {Precision::fp32, {5e-6, 1.5e-5}},
       {Precision::bf16, {1e-2, 4e-2}}});
  struct Size {
    int64_t B, T, H, d_qk, d_v;
  };
  at::manual_seed(1);
  for (const auto& [B, T, H, d_qk, d_v] :
       {Size{1, 1, 1, 32, 16}, Size{3, 1, 5, 96, 32}, Size{2, 2, 3, 192, 64}, Size{1, 37, 16, 80, 64},
        Size{3, 37, 7, 144, 16}, Size{2, 37, 1, 64, 64}, Size{1, 2047, 1, 96, 64}, Size{1, 2048, 2, 80, 64},
        Size{1, 2049, 1, 192, 64}})
    twins.compare(describe({{"B", B}, {"T", T}, {"H", H}, {"d_qk", d_qk}, {"d_v", d_v}}),
                  {{"query", Role::activation, normal({B, T, H, d_qk})},
                   {"key", Role::activation, normal({B, T, H, d_qk})},
                   {"value", Role::activation, normal({B, T, H, d_v})}});
}

// Attention over [q; Cbar] and [k; Bbar] against the sum of both scores, each by its definition (1.1).
TEST(Twins, AugmentedAttention) {
  struct Size {
    int64_t B, T, H, d_head, d_state;
    double decay;  // of all tokens together
    int64_t segments;
    const char* offset;
  };
  at::manual_seed(2);
  for (const auto& [B, T, H, d_head, d_state, decay, segments, offset] :
       {Size{1, 1, 1, 16, 16, 1, 1, "causal"}, Size{3, 2, 5, 32, 32, 60, 1, "causal"},
        Size{2, 37, 16, 64, 16, 110, 1, "causal"}, Size{3, 37, 3, 16, 128, 5, 1, "causal"},
        Size{2, 37, 7, 32, 64, 60, 1, "minimax"}, Size{1, 37, 2, 64, 32, 700, 6, "causal"},
        Size{1, 2047, 1, 64, 128, 100, 1, "causal"}, Size{1, 2048, 1, 64, 16, 1430, 12, "causal"},
        Size{1, 2048, 3, 64, 32, 15, 1, "minimax"}, Size{1, 2049, 1, 64, 64, 110, 1, "causal"}}) {
    const double scale = 1 / std::sqrt(static_cast<double>(d_head));
    // At great length some queries: the direct form holds a rotated B for each of their pairs with a key.
    const at::Tensor rows = T <= 64 ? at::arange(T) : at::arange(T - 1, -1, -65);
    const bool is_minimax = std::string_view(offset) == "minimax";
    const model::DecayOffset decay_offset{
        .kind = is_minimax ? model::DecayOffset::Kind::minimax : model::DecayOffset::Kind::causal,
        .limit = is_minimax ? 11.0 : 60.0};
    const Twins twins(
        "augmented attention",
        [&](Arguments& a) -> Outputs {
          const at::ScalarType wide = a.statistics();
          const model::Exponents exponents = model::decay_exponents(a["log_alpha"], decay_offset, segments);
          EXPECT_EQ(exponents.num_segments, segments);
          const model::Augmentation more = model::augment(a["C"].to(wide), a["B"].to(wide), exponents,
                                                          a["theta"].cumsum(1), a["lambda"], d_head);
          const at::Tensor mixed = model::attention(at::cat({a["q"], more.query.to(a.compute())}, -1),
                                                    at::cat({a["k"], more.key.to(a.compute())}, -1), a["v"],
                                                    shape_of(a["q"], scale));
          return {{"output", mixed.index_select(1, rows)}};
        },
        [&](Arguments& a) -> Outputs {
          at::Tensor g = a["log_alpha"].cumsum(1);  // (B, T, H)
          if (is_minimax) {
            const at::Tensor fixed = g.detach();
            g = (g - (fixed.amax(1, true) + fixed.amin(1, true)) / 2)
                    .clamp(-decay_offset.limit, decay_offset.limit);
          }
          const at::Tensor phase = a["theta"].cumsum(1);  // (B, T, H, d_state / 2)
          const auto queries = [&](const at::Tensor& all) { return all.index_select(1, rows).unsqueeze(2); };
          const auto keys = [&](const at::Tensor& all) { return all.unsqueeze(1); };
          const at::Tensor past = (rows.unsqueeze(1) >= at::arange(T)).unsqueeze(-1);  // (R, T, 1)
          const at::Tensor decays = at::where(past, queries(g) - keys(g), 0).exp();    // (B, R, T, H)
          const at::Tensor turned = turn(keys(a["B"]), keys(phase) - queries(phase));
          const at::Tensor state = (queries(a["C"]) * turned).sum(-1) * decays * a["lambda"];
          const at::Tensor content = at::einsum("bihn,bjhn->bhij", {a["q"].index_select(1, rows), a["k"]});
          return {{"output", masked_softmax(content * scale + state.permute({0, 3, 1, 2}), a["v"], rows)}};
        },
        {{Precision::fp64, {1e-14, 5e-14}},
         {Precision::fp32, {3e-6, 1e-5}},
         {Precision::bf16, {1.2e-2, 5e-2}}});
    const double width = std::pow(static_cast<double>(d_state), -0.25);  // C^T B about 1
    const at::Tensor share =
        at::rand({B, T, H}, at::kDouble).pow(4);  // of the whole decay; few tokens have most
    twins.compare(describe({{"B", B},
                            {"T", T},
                            {"H", H},
                            {"d_head", d_head},
                            {"d_state", d_state},
                            {"segments", segments}}) +
                      " " + offset,
                  {{"q", Role::activation, normal({B, T, H, d_head})},
                   {"k", Role::activation, normal({B, T, H, d_head})},
                   {"v", Role::activation, normal({B, T, H, d_head})},
                   {"C", Role::activation, normal({B, T, H, d_state}) * width},
                   {"B", Role::activation, normal({B, T, H, d_state}) * width},
                   {"log_alpha", Role::statistic, -share / share.sum(1, true) * decay},
                   {"theta", Role::statistic, normal({B, T, H, d_state / 2}) * 0.3},
                   {"lambda", Role::statistic, at::rand({H}, at::kDouble) + 0.1}});
  }
}

TEST(Twins, Linear) {
  struct Size {
    int64_t B, T, in, rows, first, count;
  };
  at::manual_seed(3);
  for (const bool wide : {false, true})
    for (const auto& [B, T, in, rows, first, count] :
         {Size{1, 1, 1, 1, 0, 1}, Size{3, 2, 17, 40, 7, 19}, Size{2, 37, 64, 96, 64, 32},
          Size{1, 37, 129, 65, 0, 65}, Size{1, 2049, 96, 104, 3, 100}}) {
      const Twins twins(
          wide ? "linear into statistics_type" : "linear",
          [&](Arguments& a) -> Outputs {
            return {{"output", model::linear(a["x"], a.parameter("weight"), first, count,
                                             wide ? a.statistics() : a.compute())}};
          },
          [&](Arguments& a) -> Outputs {
            return {{"output", at::linear(a["x"], a["weight"].narrow(0, first, count))}};
          },
          {{Precision::fp64, {1e-14, 5e-15}},
           {Precision::fp32, {1.5e-6, 1.5e-6}},
           {Precision::bf16, {wide ? 6e-7 : 1e-2, 1.2e-2}}});
      twins.compare(
          describe({{"B", B}, {"T", T}, {"in", in}, {"rows", rows}, {"first", first}, {"count", count}}),
          {{"x", Role::activation, normal({B, T, in})}, {"weight", Role::matrix, normal({rows, in})}});
    }
}

TEST(Twins, Embedding) {
  const Twins twins(
      "embedding",
      [](Arguments& a) -> Outputs {
        return {{"output", model::embedding(a["ids"], a.parameter("matrix"))}};
      },
      [](Arguments& a) -> Outputs {
        return {{"output", a["matrix"].index({a["ids"]})}};
      },
      {{Precision::fp64, {0, 1e-15}}, {Precision::fp32, {0, 1e-6}}, {Precision::bf16, {0, 3e-8}}});
  at::manual_seed(4);
  // Far more tokens than rows: each gradient is a sum of many.
  for (const auto& [B, T, rows] :
       {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1}, {3, 2, 64}, {2, 37, 5}, {1, 2049, 61}})
    twins.compare(describe({{"B", B}, {"T", T}, {"rows", rows}}),
                  {{"ids", Role::constant, at::randint(rows, {B, T}, at::kLong)},
                   {"matrix", Role::matrix, normal({rows, 33})}});
}

TEST(Twins, ParameterInUse) {
  const Twins twins(
      "use",
      [](Arguments& a) -> Outputs {
        return {{"value", model::use(a.parameter("bias"), a.compute())}};
      },
      [](Arguments& a) -> Outputs {
        return {{"value", a["bias"] * 1}};
      },
      {{Precision::fp64, {0, 1e-16}}, {Precision::fp32, {0, 2e-7}}, {Precision::bf16, {4e-3, 2e-7}}});
  at::manual_seed(5);
  for (const int64_t H : {1, 7, 16})
    twins.compare(describe({{"H", H}}), {{"bias", Role::vector, normal({H})}});
}

TEST(Twins, RmsNorm) {
  constexpr double epsilon = 1e-6;
  const Twins twins(
      "rms_norm",
      [&](Arguments& a) -> Outputs {
        return {{"output", model::rms_norm(a["x"], a.parameter("weight"), epsilon, a.statistics())}};
      },
      [&](Arguments& a) -> Outputs {
        return {{"output", plain_norm(a["x"], a["weight"], epsilon)}};
      },
      {{Precision::fp64, {2e-15, 1e-14}}, {Precision::fp32, {5e-7, 7e-7}}, {Precision::bf16, {8e-3, 8e-3}}});
  at::manual_seed(6);
  for (const auto& [B, T, d] :
       {std::tuple<int64_t, int64_t, int64_t>{1, 1, 2}, {3, 2, 17}, {2, 37, 768}, {1, 2049, 100}})
    twins.compare(describe({{"B", B}, {"T", T}, {"d", d}}),
                  {{"x", Role::activation, normal({B, T, d}) * 3}, {"weight", Role::vector, normal({d})}});
}

// Not only by sines and cosines of some angle: the derivative by both is compared too.
TEST(Twins, RotatePairs) {
  const Twins twins(
      "rotate_pairs",
      [](Arguments& a) -> Outputs {
        return {{"output", model::rotate_pairs(a["z"].to(a.statistics()), a["cosine"], a["sine"])}};
      },
      [](Arguments& a) -> Outputs {
        const at::Tensor factors = at::complex(a["cosine"], a["sine"]);
        return {{"output", at::view_as_real(complex_pairs(a["z"]) * factors).flatten(-2)}};
      },
      {{Precision::fp64, {1e-15, 1e-15}}, {Precision::fp32, {3e-7, 6e-7}}, {Precision::bf16, {3e-7, 1e-2}}});
  at::manual_seed(7);
  for (const auto& [B, T, H, n] : {std::tuple<int64_t, int64_t, int64_t, int64_t>{1, 1, 1, 2},
                                   {3, 2, 5, 16},
                                   {2, 37, 16, 128},
                                   {1, 2049, 1, 64}})
    for (const bool broadcast : {false, true}) {
      const std::vector<int64_t> angles =
          broadcast ? std::vector<int64_t>{T, 1, n / 2} : std::vector<int64_t>{B, T, H, n / 2};
      twins.compare(describe({{"B", B}, {"T", T}, {"H", H}, {"n", n}}) + (broadcast ? ", broadcast" : ""),
                    {{"z", Role::activation, normal({B, T, H, n})},
                     {"cosine", Role::statistic, normal(angles)},
                     {"sine", Role::statistic, normal(angles)}});
    }
}

TEST(Twins, Rope) {
  constexpr double base = 10000;
  struct Size {
    int64_t B, T, H, d_head;
    std::vector<int64_t> first;
  };
  at::manual_seed(8);
  for (const auto& [B, T, H, d_head, first] :
       {Size{1, 1, 1, 16, {}}, Size{3, 2, 5, 32, {4000, 4000, 4000}}, Size{2, 37, 16, 64, {5, 700}},
        Size{1, 2047, 1, 64, {}}, Size{1, 2049, 3, 32, {}}}) {
    const Twins twins(
        "rope",
        [&](Arguments& a) -> Outputs {
          return {{"output", model::Rope(d_head, base, a.statistics())(a["x"], first)}};
        },
        [&](Arguments& a) -> Outputs {
          const at::Tensor frequencies =
              at::pow(base, -at::arange(d_head / 2, at::kDouble) * 2 / static_cast<double>(d_head));
          std::vector<at::Tensor> turned;
          for (int64_t b = 0; b < B; ++b) {
            const int64_t start = first.empty() ? 0 : first[static_cast<size_t>(b)];
            const at::Tensor positions = at::arange(start, start + T, at::kDouble).view({T, 1, 1});
            turned.push_back(turn(a["x"][b], positions * frequencies));
          }
          return {{"output", at::stack(turned)}};
        },
        {{Precision::fp64, {1e-15, 1e-15}},
         {Precision::fp32, {3e-7, 3e-7}},
         {Precision::bf16, {3e-7, 1e-2}}});
    twins.compare(
        describe({{"B", B}, {"T", T}, {"H", H}, {"d_head", d_head}}) + (first.empty() ? "" : ", later"),
        {{"x", Role::activation, normal({B, T, H, d_head})}});
  }
}

// As a layer has it: its mixer, whose W_O is zero here, adds nothing.
TEST(Twins, SwiGlu) {
  struct Size {
    int64_t B, T, d, d_ff;
  };
  at::manual_seed(9);
  for (const auto& [B, T, d, d_ff] :
       {Size{1, 1, 2, 1}, Size{3, 2, 16, 40}, Size{2, 37, 64, 171}, Size{1, 2049, 32, 86}}) {
    model::ModelConfig config;
    config.d_model = d;
    config.settings["num_heads"] = 1;
    config.d_ff = d_ff;
    use_system(config, "transformer");
    // Functions hold on to their parameters until the backward pass is over.
    std::unique_ptr<model::Layer> layer;
    const Twins twins(
        "swiglu",
        [&](Arguments& a) -> Outputs {
          layer = std::make_unique<model::Layer>(
              model::LayerContext{config, 0, "layers.0", "layers.0.", a.precision(), /*pad_to=*/1});
          const std::map<std::string, std::string> inputs = {{"layers.0.ffn.gate_up", "gate_up"},
                                                             {"layers.0.ffn.w_down", "down"},
                                                             {"layers.0.ffn_norm.weight", "norm"}};
          for (common::Parameter* p : layer->parameters()) {
            const auto input = inputs.find(p->name);
            if (input != inputs.end()) {
              p->value = a[input->second];
              p->gradient = a.parameter(input->second).gradient;
            } else {
              p->gradient = at::zeros(
                  p->columns == 1 ? std::vector<int64_t>{p->rows} : std::vector<int64_t>{p->rows, p->columns},
                  common::state_type(a.precision(), p->traits));
              p->value = p->gradient.to(common::value_type(a.precision(), p->traits), false, /*copy=*/true)
                             .set_requires_grad(true);
            }
          }
          return {{"output", layer->forward({a["x"], {}}).value()}};
        },
        [&](Arguments& a) -> Outputs {
          const at::Tensor& x = a["x"];
          const at::Tensor n = plain_norm(x, a["norm"], model::block_norm_epsilon);
          const at::Tensor gate = at::linear(n, a["gate_up"].narrow(0, 0, d_ff)),
                           up = at::linear(n, a["gate_up"].narrow(0, d_ff, d_ff));
          return {{"output", x + at::linear(gate * gate.sigmoid() * up, a["down"])}};
        },
        {{Precision::fp64, {2e-15, 1.5e-13}},
         {Precision::fp32, {1.2e-6, 2.5e-6}},
         {Precision::bf16, {1.6e-2, 2.5e-2}}});
    const double width = 1 / std::sqrt(static_cast<double>(d)),
                 ff_width = 1 / std::sqrt(static_cast<double>(d_ff));
    twins.compare(describe({{"B", B}, {"T", T}, {"d", d}, {"d_ff", d_ff}}),
                  {{"x", Role::activation, normal({B, T, d})},
                   {"norm", Role::vector, normal({d})},
                   {"gate_up", Role::matrix, normal({2 * d_ff, d}) * width},
                   {"down", Role::matrix, normal({d, d_ff}) * ff_width}});
  }
}

// Rows beyond the vocabulary are padding. 40,000 tokens are several parts, of at most 16,384 each.
// How far a matrix product with sums of n terms may be off, in whatever order a library adds them, relative to
// the largest element of a^T b, a (n, k), b (n, m): lambda sqrt(n) u |a|^T |b|, u being the unit roundoff of
// `type` (Higham and Mary, "A new approach to probabilistic rounding error analysis", 2019). The bound holds
// with a probability that lambda decides; at 4 a failure is not to be expected.
double rounding_of_sums(const at::Tensor& a, const at::Tensor& b, at::ScalarType type) {
  constexpr double lambda = 4;
  const double u = type == at::kDouble ? std::ldexp(1, -53) : std::ldexp(1, -24);
  const at::Tensor wide_a = a.to(at::kDouble), wide_b = b.to(at::kDouble);
  const double terms = wide_a.abs().t().mm(wide_b.abs()).max().item<double>();
  const double largest = wide_a.t().mm(wide_b).abs().max().item<double>();
  return largest == 0 ? 0 : lambda * std::sqrt(static_cast<double>(a.size(0))) * u * terms / largest;
}

TEST(Twins, CrossEntropy) {
  struct Size {
    int64_t N, d, vocab_size, rows;
  };
  at::manual_seed(10);
  for (const auto& [N, d, vocab_size, rows] :
       {Size{1, 1, 1, 1}, Size{74, 16, 61, 64}, Size{2049, 33, 257, 257}, Size{40'000, 4, 61, 64}}) {
    const at::Tensor hidden = normal({N, d}), matrix = normal({rows, d}),
                     targets = at::randint(vocab_size, {N}, at::kLong);
    // The matrix's gradient is (softmax - onehot)^T hidden: a sum over all N rows.
    const at::Tensor difference =
        at::linear(hidden, matrix.narrow(0, 0, vocab_size)).softmax(1) - at::one_hot(targets, vocab_size);
    const auto sums = [&](at::ScalarType type) { return rounding_of_sums(difference, hidden, type); };
    const Twins twins(
        "cross_entropy_sum",
        [&](Arguments& a) -> Outputs {
          common::Parameter& parameter = a.parameter("matrix");
          return {{"sum", model::cross_entropy_sum(a["hidden"], parameter, vocab_size, a["targets"],
                                                   a.statistics())},
                  {"each", model::cross_entropies(a["hidden"].detach(), parameter, vocab_size, a["targets"],
                                                  a.statistics())}};
        },
        [&](Arguments& a) -> Outputs {
          const at::Tensor logits = at::linear(a["hidden"], a["matrix"].narrow(0, 0, vocab_size));
          const at::Tensor each = at::cross_entropy_loss(logits, a["targets"], {}, at::Reduction::None);
          return {{"sum", each.sum()}, {"each", each.detach()}};
        },
        {{Precision::fp64, {1e-15, 4e-15 + sums(at::kDouble)}},
         {Precision::fp32, {8e-7, 4e-6 + sums(at::kFloat)}},
         {Precision::bf16, {4e-7, 1.2e-2}}});
    twins.compare(describe({{"N", N}, {"d", d}, {"vocab_size", vocab_size}, {"rows", rows}}),
                  {{"hidden", Role::activation, hidden},
                   {"matrix", Role::matrix, matrix},
                   {"targets", Role::constant, targets}});
  }
}

// The frame itself, on a kernel for x w that may be wrong in one element of one direction.
enum class Fault { none, output, gradient, parameter };
void compare_products(Fault fault) {
  const Twins twins(
      "product",
      [&](Arguments& a) -> Outputs {
        const at::Tensor last = at::arange(6).view({2, 3}).eq(5), &x = a["x"];
        const at::Tensor w =
            fault == Fault::parameter ? a["w"] : model::use(a.parameter("w"), a.statistics());
        if (fault == Fault::gradient) return {{"product", at::where(last, x.detach(), x) * w}};
        return {{"product", fault == Fault::output ? x * w + last : x * w}};
      },
      [](Arguments& a) -> Outputs {
        return {{"product", a["x"] * a["w"]}};
      },
      {{Precision::fp64, {1e-15, 1e-15}}});
  twins.compare("T 2", {{"x", Role::activation, normal({2, 3})}, {"w", Role::vector, normal({3})}});
}

TEST(Twins, SeeAnErrorOfOneElement) {
  compare_products(Fault::none);
  EXPECT_NONFATAL_FAILURE(compare_products(Fault::output), "product fp64, T 2: product is worst at [1, 2]");
  EXPECT_NONFATAL_FAILURE(compare_products(Fault::gradient),
                          "product fp64, T 2: the gradient of x is worst at [1, 2]: 0 instead of");
  EXPECT_NONFATAL_FAILURE(compare_products(Fault::parameter), "went to its value");
}

// The names of all operators called while it lives, also by the backward pass.
class CalledOperators {
 public:
  // Marks those that are given a tensor (…, T, T).
  explicit CalledOperators(int64_t T) {
    calls() = {.T = T, .names = {}, .given_squares = {}};
    const auto note = [](const at::RecordFunction& function) -> std::unique_ptr<at::ObserverContext> {
      const std::lock_guard lock(mutex());
      calls().names.insert(function.name());
      for (const c10::IValue& input : function.inputs())
        if (input.isTensor() && is_square(input.toTensor())) calls().given_squares.insert(function.name());
      return nullptr;
    };
    handle_ = at::addGlobalCallback(
        at::RecordFunctionCallback(note).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
  }
  CalledOperators(const CalledOperators&) = delete;
  CalledOperators& operator=(const CalledOperators&) = delete;
  ~CalledOperators() { at::removeCallback(handle_); }

  std::set<std::string> with(const std::string& part) const {
    std::set<std::string> some;
    for (const std::string& name : calls().names)
      if (name.find(part) != std::string::npos) some.insert(name);
    return some;
  }
  const std::set<std::string>& given_squares() const { return calls().given_squares; }

 private:
  struct Calls {
    int64_t T;
    std::set<std::string> names, given_squares;
  };
  static Calls& calls() {  // a callback captures nothing
    static Calls all;
    return all;
  }
  static std::mutex& mutex() {
    static std::mutex one;
    return one;
  }
  static bool is_square(const at::Tensor& x) {
    return x.defined() && x.dim() >= 2 && x.size(-1) == calls().T && x.size(-2) == calls().T;
  }
  at::CallbackHandle handle_;
};

// Nothing but the fused operator sees scores, which may be infinite where they are masked: no tensor of them
// is formed, so none can have -inf added to it.
TEST(Twins, ScoresAreSeenByTheFusedOperatorOnly) {
  constexpr int64_t T = 37;
  for (const Precision precision :
       {Precision::fp64, Precision::fp32, Precision::bf16, Precision::bf16_pure}) {
    model::ModelConfig config;
    config.vocab_size = 61;
    config.d_model = 32;
    config.num_layers = 1;
    config.settings["num_heads"] = 2;
    config.d_ff = 43;
    BoundModel bound(config, precision);
    const at::Tensor tokens = at::randint(61, {2, T}, at::kLong);
    const CalledOperators called(T);
    bound.model.loss_sum(tokens, tokens).backward();
    bound.model.logits(tokens);
    EXPECT_THAT(called.with("scaled_dot_product"),
                testing::UnorderedElementsAre("aten::_scaled_dot_product_flash_attention_for_cpu",
                                              "aten::_scaled_dot_product_flash_attention_for_cpu_backward"))
        << name_of(precision);
    EXPECT_THAT(called.given_squares(), testing::IsEmpty()) << name_of(precision);
  }
  const CalledOperators called(T);  // that it would see them
  masked_softmax(at::zeros({1, 1, T, T}), at::zeros({1, T, 1, 2}), at::arange(T));
  EXPECT_THAT(called.given_squares(), testing::IsSupersetOf({"aten::masked_fill", "aten::softmax"}));
}

}  // namespace
}  // namespace sisa::tests
