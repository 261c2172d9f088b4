#include "model/costs.h"

#include <cmath>
#include <map>
#include <string>

#include "common/quantity.h"
#include "model/language_model.h"
#include "model/layer.h"
#include "model/operations/fused.h"

namespace sisa::model {
namespace {

// A network whose parameters have no memory.
struct Network {
  explicit Network(const ModelConfig& config) : model(config, common::Precision::fp32, /*pad_to=*/1) {
    for (const common::Parameter* p : model.parameters())
      if (p->traits.kind == common::ParameterKind::matrix)
        for (const common::Block& block : p->blocks) weights[p->bucket] += static_cast<double>(block.numel());
    num_parameters = common::count_elements(model.parameters());
  }
  // Logical weights of the matrices: of the first `count` layers, and of the embedding, which is the head.
  double in_layers(int64_t count) const {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      const auto found = weights.find("layers." + std::to_string(i));
      if (found != weights.end()) sum += found->second;
    }
    return sum;
  }
  double in_layers() const { return in_layers(model.config().num_layers); }
  double in_head() const {
    return static_cast<double>(model.config().vocab_size) * static_cast<double>(model.config().d_model);
  }
  // The positions that go through the layers for a sequence of `length` tokens, which a system with a prefix has
  // more of, and how many these are for each token.
  int64_t positions(int64_t length) const { return length + model.num_prefix(); }
  double per_token(int64_t length) const {
    return static_cast<double>(positions(length)) / static_cast<double>(length);
  }
  // The sum of a cost for one token of a sequence of `length` tokens.
  double sum_over_mixers(int64_t length, double MixerCosts::*cost) const {
    double sum = 0;
    for (const auto& layer : model.layers()) sum += layer->mixer().costs(positions(length)).*cost;
    return sum * per_token(length);
  }

  LanguageModel model;
  std::map<std::string, double> weights;  // by bucket
  int64_t num_parameters = 0;             // logical
};

Traffic swiglu_traffic(double d, double d_ff) {
  Traffic sum = product_traffic(d, 2 * d_ff);
  // Reads gate and up, writes their product. Backward: reads both and the gradient, writes both gradients.
  sum += {bf16_bytes * 3 * d_ff, bf16_bytes * 5 * d_ff};
  sum += product_traffic(d_ff, d);
  return sum;
}

Traffic layer_traffic(const Layer& layer, const ModelConfig& c, int64_t length) {
  const auto d = static_cast<double>(c.d_model);
  Traffic sum = norm_traffic(d);
  sum += layer.mixer().costs(length).activations;
  if (!layer.has_feed_forward()) return sum;
  sum += norm_traffic(d);
  sum += swiglu_traffic(d, static_cast<double>(c.d_ff));
  return sum;
}

}  // namespace

int64_t num_parameters(const ModelConfig& config) {
  return Network(config).num_parameters;
}

int64_t match_d_ff(ModelConfig config, int64_t target) {
  config.d_ff = 1;
  const int64_t one = num_parameters(config);
  config.d_ff = 2;
  const int64_t each = num_parameters(config) - one;  // the count is linear in d_ff from 1 on
  if (each == 0)
    throw ConfigError({"d_ff", "system"},
                      fmt::format("The system {} has no SwiGLU, so that no model.d_ff gives {} parameters.",
                                  config.system, common::format_count(target)));
  const auto d_ff =
      1 + static_cast<int64_t>(std::llround(static_cast<double>(target - one) / static_cast<double>(each)));
  if (d_ff < 1)
    throw ConfigError({"d_ff"},
                      fmt::format("No model.d_ff gives {} parameters: already d_ff = 1 has {}. Ask for more "
                                  "parameters, or make the model smaller.",
                                  common::format_count(target), common::format_count(one)));
  return d_ff;
}

double forward_flops(const ModelConfig& config, int64_t sequence_length) {
  const Network network(config);
  return 2 * (network.in_layers() * network.per_token(sequence_length) + network.in_head()) +
         network.sum_over_mixers(sequence_length, &MixerCosts::flops);
}

double usual_training_flops(const ModelConfig& config, int64_t sequence_length) {
  const Network network(config);
  return 6.0 * static_cast<double>(network.num_parameters) +
         network.sum_over_mixers(sequence_length, &MixerCosts::usual_flops);
}

double activation_bytes(const ModelConfig& config, int64_t sequence_length, int64_t recomputed_layers) {
  const Network network(config);
  const ModelConfig& c = network.model.config();
  const auto d = static_cast<double>(c.d_model), vocab_size = static_cast<double>(c.vocab_size);
  // Reads a row, writes x. Backward: reads x's gradient, writes it in fp32; reads that, and reads and writes the
  // row's gradient.
  const Traffic embedding{bf16_bytes * 2 * d, bf16_bytes * d + fp32_bytes * d + fp32_bytes * 3 * d};
  Traffic layers;
  int64_t index = 0;
  for (const auto& layer : network.model.layers()) {
    const Traffic once = layer_traffic(*layer, c, network.positions(sequence_length));
    layers += {once.forward * (index < recomputed_layers ? 2 : 1), once.backward};
    ++index;
  }
  // The first norm has no change to add, and makes no sum: neither does it where that layer is recomputed.
  layers.forward -= bf16_bytes * 2 * d * (recomputed_layers > 0 ? 2 : 1);
  Traffic final_norm = norm_traffic(d);
  final_norm.backward -= bf16_bytes * d;  // nothing else reads its sum
  Traffic head = product_traffic(d, vocab_size);
  head += {bf16_bytes * 2 * vocab_size, 0};  // cross entropy: reads logits, writes their gradients
  return embedding.sum() + (layers.sum() + final_norm.sum()) * network.per_token(sequence_length) +
         head.sum();
}

double weight_bytes(const ModelConfig& config, int64_t tokens, int64_t recomputed_layers) {
  const Network network(config);
  // Read by two products; the gradient is read and written by the third.
  const double once = 2 * bf16_bytes + 2 * fp32_bytes;
  const auto parts = static_cast<double>((tokens + fused::logits_rows - 1) / fused::logits_rows);
  return network.in_layers() * once + network.in_layers(recomputed_layers) * bf16_bytes +
         network.in_head() * once * parts;
}

double cache_bytes(const ModelConfig& config, int64_t sequence_length) {
  return Network(config).sum_over_mixers(sequence_length, &MixerCosts::cache_bytes);
}

}  // namespace sisa::model
