#include "model/costs.h"

#include "model/language_model.h"

namespace sisa::model {
namespace {

// State channels of a head.
int64_t state_channels(const ModelConfig& config) {
  return config.system == "sisa" ? config.d_state : 0;
}

}  // namespace

double forward_flops(const ModelConfig& config, int64_t sequence_length) {
  LanguageModel model(config, common::Precision::fp32, 1);
  int64_t weights = 0;
  for (const common::Parameter* p : model.parameters())
    if (p->group == common::Group::matrix)
      for (const common::Block& block : p->blocks) weights += block.numel();
  const int64_t channels = 2 * config.d_head() + state_channels(config);
  const double seen = (static_cast<double>(sequence_length) + 1) / 2;  // tokens, on average
  return 2 * (static_cast<double>(weights) +
              static_cast<double>(config.num_layers * config.num_heads * channels) * seen);
}

double activation_bytes(const ModelConfig& config) {
  // Numbers of bf16, unless it says otherwise.
  double products = 0;
  LanguageModel model(config, common::Precision::fp32, 1);
  for (const common::Parameter* p : model.parameters())
    if (p->group == common::Group::matrix)  // forward, input's gradient, weight's gradient
      products += 3 * static_cast<double>(p->rows + p->columns);
  const auto d = static_cast<double>(config.d_model), d_ff = static_cast<double>(config.d_ff),
             V = static_cast<double>(config.vocab_size), L = static_cast<double>(config.num_layers),
             H = static_cast<double>(config.num_heads), d_head = static_cast<double>(config.d_head()),
             d_state = static_cast<double>(state_channels(config)), width = d_head + d_state;
  // x, change and sum, norm; sum, the gradients of both, and of x.
  const double norms = (2 * L + 1) * (4 + 4) * d;
  // gate, up, product; these, and gradients of each.
  const double swiglu = L * (3 + 5) * d_ff;
  // query and key are made; attention reads them and value, and writes its output; backward it reads these
  // five, and writes gradients, the query's in fp32, which become those of the projections.
  const double attention = L * H *
                           (4 * width + (2 * width + 2 * d_head) + (2 * width + 3 * d_head) +
                            (3 * width + d_head) + 2 * d_head + (5 * width + 2 * d_state));
  // theta and alpha in fp32: written, summed; their gradients summed, and written once more.
  const double gates = d_state > 0 ? L * H * (d_state / 2 + 1) * (2 * (1 + 2 + 3) + 1) : 0;
  const double cross_entropy = 2 * V;
  const double embedding = 2 * d + (d + 2 * 2 * d);  // its gradient is added to fp32
  return 2 * (products + norms + swiglu + attention + gates + cross_entropy + embedding);
}

}  // namespace sisa::model
