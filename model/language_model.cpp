#include "model/language_model.h"

#include <ATen/core/grad_mode.h>

#include "model/functional.h"
#include "model/layer.h"

namespace sisa::model {

LanguageModel::LanguageModel(const ModelConfig& config, common::Precision precision, int64_t pad_to)
    : config_(config), precision_(precision) {
  validate(config_);
  const auto context = [&](int64_t index) {
    const std::string bucket = "layers." + std::to_string(index);
    return LayerContext{config_, index, bucket, bucket + ".", precision, pad_to};
  };
  const int64_t d = config_.d_model;
  embedding_ = {.name = "embed",
                .bucket = "embedding",
                .rows = (config_.vocab_size + pad_to - 1) / pad_to * pad_to,
                .columns = d};
  embedding_.blocks = {{"embed.weight", {config_.vocab_size, d}, 0, common::normal(0.02)}};
  for (int64_t i = 0; i < config_.num_layers; ++i) layers_.push_back(std::make_unique<Layer>(context(i)));
  final_norm_ = make_norm("final_norm.weight", "final_norm", d);
}

LanguageModel::~LanguageModel() = default;

std::vector<common::Parameter*> LanguageModel::parameters() {
  std::vector<common::Parameter*> all = {&embedding_};
  for (const auto& layer : layers_)
    for (common::Parameter* p : layer->parameters()) all.push_back(p);
  all.push_back(&final_norm_);
  return all;
}

at::Tensor LanguageModel::final_hidden(const at::Tensor& tokens, std::vector<at::Tensor>* hidden) {
  at::Tensor x = embedding(tokens, embedding_);
  for (const auto& layer : layers_) {
    x = layer->forward(x);
    if (hidden) hidden->push_back(x);
  }
  return rms_norm(x, final_norm_, block_norm_epsilon, common::statistics_type(precision_)).flatten(0, 1);
}

at::Tensor LanguageModel::loss_sum(const at::Tensor& tokens, const at::Tensor& targets) {
  return cross_entropy_sum(final_hidden(tokens, nullptr), embedding_, config_.vocab_size, targets.flatten(),
                           common::statistics_type(precision_));
}

at::Tensor LanguageModel::token_losses(const at::Tensor& tokens, const at::Tensor& targets) {
  const at::NoGradGuard no_grad;
  return cross_entropies(final_hidden(tokens, nullptr), embedding_, config_.vocab_size, targets.flatten(),
                         common::statistics_type(precision_))
      .view_as(targets);
}

at::Tensor LanguageModel::logits(const at::Tensor& tokens, std::vector<at::Tensor>* hidden) {
  const at::NoGradGuard no_grad;
  const at::Tensor all =
      matmul_to(final_hidden(tokens, hidden), embedding_.value.t(), common::statistics_type(precision_));
  return all.narrow(1, 0, config_.vocab_size).view({tokens.size(0), tokens.size(1), config_.vocab_size});
}

}  // namespace sisa::model
