#include "model/costs.h"

#include "model/language_model.h"
#include "model/operations/fused.h"

namespace sisa::model {
namespace {

// State channels of a token, over all heads, and the gates that they have.
struct StateSizes {
  double channels = 0, angles = 0, alphas = 0;
};
StateSizes state_sizes(const ModelConfig& c) {
  if (c.system != "sisa") return {};
  const auto heads = static_cast<double>(c.num_heads), channels = heads * static_cast<double>(c.d_state);
  return {.channels = channels,
          .angles = c.rotation == "learned" ? channels / 2 : 0,
          .alphas = c.decay == "learned" ? heads : 0};
}

// Logical weights of the matrices: of all layers, and of the embedding, which is the head.
struct Weights {
  double layers = 0, head = 0;
};
Weights count_weights(const ModelConfig& config) {
  LanguageModel model(config, common::Precision::fp32, 1);
  Weights weights;
  for (const common::Parameter* p : model.parameters())
    if (p->group == common::Group::matrix)
      for (const common::Block& block : p->blocks)
        (p->bucket == "embedding" ? weights.head : weights.layers) += static_cast<double>(block.numel());
  return weights;
}

// Bytes of a token.
constexpr double bf16 = 2, fp32 = 4, fp64 = 8;
struct Bytes {
  double forward = 0, backward = 0;
  Bytes& operator+=(const Bytes& more) {
    forward += more.forward;
    backward += more.backward;
    return *this;
  }
  double sum() const { return forward + backward; }
};

// Backward, for the gradient of the weight and for that of the input.
Bytes product(double in, double out) {
  return {bf16 * (in + out), 2 * bf16 * (in + out)};
}

// x, change; sum, normed. Sum, gradients of sum and normed; gradient.
Bytes norm(double d) {
  return {bf16 * 4 * d, bf16 * 4 * d};
}

// From the norm before it to the projection after it: fused::attention, in the order in which it works.
Bytes mixer(const ModelConfig& c) {
  const auto d = static_cast<double>(c.d_model), heads = static_cast<double>(c.num_heads);
  const auto [state, angles, alphas] = state_sizes(c);
  const double gates = angles + alphas, phases_and_decays = fp32 * angles + fp64 * alphas;
  Bytes sum = product(d, 3 * d + 2 * state);
  // Gates are a product of their own forward; backward their columns are among those of the others.
  if (gates > 0) sum += {bf16 * d + fp32 * gates, bf16 * 2 * gates};
  // scan_gates: gates; phases, decays. Their gradients' sums, alphas; gradients.
  sum += {fp32 * gates + phases_and_decays, fp32 * (gates + alphas) + bf16 * gates};
  // channels: the projections but the value, phases, decays; query, key. Gradients of query and key's state
  // in fp32, of key's content; B, C, phases, decays; gradients of projections, sums, amplitudes.
  sum += {bf16 * (2 * d + 2 * state) + phases_and_decays + bf16 * 2 * (d + state),
          fp32 * (d + 2 * state) + bf16 * d + bf16 * 2 * state + phases_and_decays +
              bf16 * (2 * d + 2 * state) + fp32 * gates + (state > 0 ? fp32 * heads : 0)};
  // attention: query, key, value; output, logsumexp. Output and its gradient; their products. Then query,
  // key, value, output's gradient, logsumexp, products; gradients as above, and of value.
  sum += {bf16 * (2 * (d + state) + d) + bf16 * d + fp32 * heads,
          bf16 * 2 * d + fp32 * heads + bf16 * (2 * (d + state) + 2 * d) + fp32 * 2 * heads +
              fp32 * (d + 2 * state) + bf16 * 2 * d};
  sum += product(d, d);
  return sum;
}

Bytes swiglu(double d, double d_ff) {
  Bytes sum = product(d, 2 * d_ff);
  // Gate, up; product. Gate, up, gradient; gradients of both.
  sum += {bf16 * 3 * d_ff, bf16 * 5 * d_ff};
  sum += product(d_ff, d);
  return sum;
}

Bytes layer(const ModelConfig& c) {
  const auto d = static_cast<double>(c.d_model), d_ff = static_cast<double>(c.d_ff);
  Bytes sum = norm(d);
  sum += mixer(c);
  if (c.d_ff == 0) return sum;
  sum += norm(d);
  sum += swiglu(d, d_ff);
  return sum;
}

}  // namespace

double forward_flops(const ModelConfig& config, int64_t sequence_length) {
  const Weights weights = count_weights(config);
  const double channels = 2 * static_cast<double>(config.d_model) + state_sizes(config).channels;
  const double seen = (static_cast<double>(sequence_length) + 1) / 2;  // tokens, on average
  return 2 * (weights.layers + weights.head + static_cast<double>(config.num_layers) * channels * seen);
}

double activation_bytes(const ModelConfig& config, int64_t recomputed_layers) {
  const auto d = static_cast<double>(config.d_model), vocab_size = static_cast<double>(config.vocab_size);
  // A row; x. Its gradient; the same in fp32; that, and the row's gradient read and written.
  const Bytes embedding{bf16 * 2 * d, bf16 * d + fp32 * d + fp32 * 3 * d};
  const Bytes of_layer = layer(config);
  Bytes layers{of_layer.forward * static_cast<double>(config.num_layers + recomputed_layers),
               of_layer.backward * static_cast<double>(config.num_layers)};
  // The first norm has no change to add, and makes no sum: neither does it where that layer is recomputed.
  layers.forward -= bf16 * 2 * d * (recomputed_layers > 0 ? 2 : 1);
  Bytes final_norm = norm(d);
  final_norm.backward -= bf16 * d;  // nothing else reads its sum
  Bytes head = product(d, vocab_size);
  head += {bf16 * 2 * vocab_size, 0};  // cross entropy: logits; gradients
  return embedding.sum() + layers.sum() + final_norm.sum() + head.sum();
}

double weight_bytes(const ModelConfig& config, int64_t tokens, int64_t recomputed_layers) {
  const Weights weights = count_weights(config);
  const double once = 2 * bf16 + 2 * fp32;  // read by two products; gradient read and written by the third
  const auto parts = static_cast<double>((tokens + fused::logits_rows - 1) / fused::logits_rows);
  const double again = static_cast<double>(recomputed_layers) / static_cast<double>(config.num_layers);
  return weights.layers * (once + bf16 * again) + weights.head * once * parts;
}

}  // namespace sisa::model
