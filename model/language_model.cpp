#include "model/language_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "model/layer.h"
#include "model/mixers/registry.h"
#include "model/operations/functional.h"
#include "model/operations/fused.h"
#include "model/operations/products.h"
#include "model/parameters.h"
#include "model/recompute.h"

namespace sisa::model {

LanguageModel::LanguageModel(const ModelConfig& config, common::Precision precision, int64_t pad_to)
    : config_(completed(config)), precision_(precision) {
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
  if (const auto make_prefix = find_system(config_.system).make_prefix) prefix_ = make_prefix(config_);
  for (int64_t i = 0; i < config_.num_layers; ++i) layers_.push_back(std::make_unique<Layer>(context(i)));
  final_norm_ = make_norm("final_norm.weight", "final_norm", d);
}

LanguageModel::~LanguageModel() = default;

std::vector<common::Parameter*> LanguageModel::parameters() {
  std::vector<common::Parameter*> all = {&embedding_};
  if (prefix_.rows > 0) all.push_back(&prefix_);
  for (const auto& layer : layers_)
    for (common::Parameter* p : layer->parameters()) all.push_back(p);
  all.push_back(&final_norm_);
  return all;
}

void LanguageModel::set_recomputed_layers(int64_t n) {
  TORCH_INTERNAL_ASSERT(0 <= n && n <= config_.num_layers);
  num_recomputed_ = n;
}

at::Tensor LanguageModel::enter(const at::Tensor& tokens, bool begins) {
  const at::Tensor x = embedding(tokens, embedding_);
  if (!begins || prefix_.rows == 0) return x;
  const at::Tensor before = use(prefix_, x.scalar_type()).unsqueeze(0).expand({x.size(0), -1, -1});
  return at::cat({before, x}, 1);
}

at::Tensor LanguageModel::final_hidden(const at::Tensor& tokens, std::vector<at::Tensor>* hidden, Pass pass) {
  const int64_t T = tokens.size(1);
  Stream stream{enter(tokens, /*begins=*/true), {}};
  for (size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = *layers_[i];
    // The first layers: when their turn comes, the memory of the others is free already.
    const bool recompute = at::GradMode::is_enabled() && static_cast<int64_t>(i) < num_recomputed_;
    if (pass == Pass::evaluation)
      stream.x = layer.evaluate(stream.x);
    else
      stream = recompute ? recomputed(layer, stream) : layer.forward(stream);
    if (hidden) hidden->push_back(last_tokens(stream.value(), T));
  }
  const at::Tensor normed = add_rms_norm(stream.x, stream.delta, final_norm_, block_norm_epsilon,
                                         common::statistics_type(precision_))
                                .normed;
  return last_tokens(normed, T).flatten(0, 1);
}

at::Tensor LanguageModel::to_logits(const at::Tensor& hidden) const {
  return matmul_to(hidden, embedding_.value.detach().t(), common::statistics_type(precision_))
      .narrow(1, 0, config_.vocab_size);
}

namespace {

// The rows of the final hidden state that predict a token, N out of B T, and these tokens, on the model's device.
struct Predictions {
  at::Tensor hidden, targets;  // (N, d_model), (N)
  at::Tensor rows;             // (N), among all; undefined: all
};

// Looks for negative targets on the CPU only: on a GPU, the answer would have to be waited for.
Predictions predictions(const at::Tensor& hidden, const at::Tensor& targets) {
  const at::Tensor all = targets.flatten();
  const auto on_device = [&](const at::Tensor& x) { return x.to(hidden.device(), /*non_blocking=*/true); };
  if (!all.is_cpu() || all.ge(0).all().item<bool>()) return {hidden, on_device(all), {}};
  const at::Tensor rows = all.ge(0).nonzero().squeeze(1);
  const at::Tensor rows_on_device = on_device(rows);
  return {hidden.index_select(0, rows_on_device), on_device(all.index_select(0, rows)), rows_on_device};
}

}  // namespace

at::Tensor LanguageModel::loss_sum(const at::Tensor& tokens, const at::Tensor& targets) {
  const Predictions chosen = predictions(final_hidden(tokens, nullptr, Pass::training), targets);
  return cross_entropy_sum(chosen.hidden, embedding_, config_.vocab_size, chosen.targets,
                           common::statistics_type(precision_));
}

std::vector<std::string> LanguageModel::left_to_libtorch() {
  const at::Tensor x = at::empty({1, 1, config_.d_model}, embedding_.value.options().requires_grad(false));
  std::vector<std::string> parts;
  const auto add = [&](const std::string& part) {
    if (std::find(parts.begin(), parts.end(), part) == parts.end()) parts.push_back(part);
  };
  if (!fused::norm_usable(x, final_norm_)) add("norms");
  for (const auto& layer : layers_)
    for (const std::string& part : layer->mixer().left_to_libtorch(x)) add(part);
  if (!fused::cross_entropy_usable(x, embedding_)) add("cross entropy");
  return parts;
}

std::vector<Counter> LanguageModel::take_counters() {
  std::vector<Counter> sums;
  for (const auto& layer : layers_)
    for (Counter& counter : layer->mixer().take_counters()) {
      const auto found =
          std::find_if(sums.begin(), sums.end(), [&](const Counter& c) { return c.name == counter.name; });
      if (found == sums.end())
        sums.push_back(std::move(counter));
      else
        found->count = found->count + counter.count;
    }
  return sums;
}

at::Tensor LanguageModel::token_losses(const at::Tensor& tokens, const at::Tensor& targets,
                                       at::Tensor* correct) {
  const at::NoGradGuard no_grad;
  const Predictions chosen = predictions(final_hidden(tokens, nullptr, Pass::evaluation), targets);
  const at::Tensor losses = cross_entropies(chosen.hidden, embedding_, config_.vocab_size, chosen.targets,
                                            common::statistics_type(precision_), correct);
  const auto in_place = [&](const at::Tensor& values) {
    if (!chosen.rows.defined()) return values.view_as(targets);
    return at::zeros({targets.numel()}, values.options())
        .index_copy_(0, chosen.rows, values)
        .view_as(targets);
  };
  if (correct) *correct = in_place(*correct);
  return in_place(losses);
}

at::Tensor LanguageModel::logits(const at::Tensor& tokens, std::vector<at::Tensor>* hidden, Pass pass) {
  const at::NoGradGuard no_grad;
  return to_logits(final_hidden(tokens, hidden, pass))
      .view({tokens.size(0), tokens.size(1), config_.vocab_size});
}

bool LanguageModel::can_continue() const {
  return std::all_of(layers_.begin(), layers_.end(),
                     [](const auto& layer) { return layer->mixer().make_cache() != nullptr; });
}

Cache LanguageModel::make_cache() const {
  TORCH_INTERNAL_ASSERT(can_continue());
  Cache cache;
  for (const auto& layer : layers_) cache.layers_.push_back(layer->mixer().make_cache());
  return cache;
}

at::Tensor LanguageModel::next_logits(const at::Tensor& tokens, Cache& cache) {
  const at::NoGradGuard no_grad;
  at::Tensor x = enter(tokens, cache.is_empty_);
  cache.is_empty_ = false;
  for (size_t i = 0; i < layers_.size(); ++i) x = layers_[i]->extend(x, *cache.layers_[i]);
  const at::Tensor last = x.select(1, x.size(1) - 1);
  return to_logits(rms_norm(last, final_norm_, block_norm_epsilon, common::statistics_type(precision_)));
}

std::vector<std::vector<Reading>> LanguageModel::read(const at::Tensor& tokens) {
  const at::NoGradGuard no_grad;
  std::vector<std::vector<Reading>> readings;
  at::Tensor x = enter(tokens, /*begins=*/true);
  for (const auto& layer : layers_) {
    readings.push_back(layer->read(x));
    x = layer->evaluate(x);
  }
  return readings;
}

Cache::Cache() = default;
Cache::Cache(Cache&&) noexcept = default;
Cache& Cache::operator=(Cache&&) noexcept = default;
Cache::~Cache() = default;

void Cache::join(const Cache& other) {
  is_empty_ = is_empty_ && other.is_empty_;
  for (size_t i = 0; i < layers_.size(); ++i) layers_[i]->join(*other.layers_[i]);
}

}  // namespace sisa::model
