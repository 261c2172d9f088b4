#include "model/generate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/error.h"
#include "common/hash.h"
#include "common/random.h"

namespace sisa::model {

void validate(const GenerateOptions& o) {
  if (o.max_tokens < 1)
    throw Error("The number of tokens to generate is {}; it must be at least 1.", o.max_tokens);
  if (!(o.temperature > 0) || !std::isfinite(o.temperature))
    throw Error(
        "The temperature is {}; it must be above 0. For the likeliest token at each step choose greedy.",
        o.temperature);
  if (o.top_k < 0) throw Error("top-k is {}; it must be 0 (all tokens) or more.", o.top_k);
  if (!(o.top_p > 0) || o.top_p > 1) throw Error("top-p is {}; it must be above 0 and at most 1.", o.top_p);
}

int64_t choose_token(const at::Tensor& logits, const GenerateOptions& options, double draw) {
  const at::Tensor values = logits.to(at::kDouble).contiguous();
  const double* logit = values.const_data_ptr<double>();
  std::vector<int64_t> order(static_cast<size_t>(values.numel()));
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto likelier = [&](int64_t a, int64_t b) {
    return logit[a] != logit[b] ? logit[a] > logit[b] : a < b;
  };
  if (options.greedy) return *std::min_element(order.begin(), order.end(), likelier);

  std::sort(order.begin(), order.end(), likelier);
  if (options.top_k > 0 && options.top_k < values.numel()) order.resize(static_cast<size_t>(options.top_k));
  std::vector<double> cumulative;  // unnormalised, of the tokens in `order`
  double sum = 0;
  for (const int64_t token : order)
    cumulative.push_back(sum += std::exp((logit[token] - logit[order.front()]) / options.temperature));
  // The fewest tokens whose share reaches top_p; rounding must not lose the last one.
  const auto kept =
      std::lower_bound(cumulative.begin(), cumulative.end(), options.top_p * sum) - cumulative.begin();
  cumulative.resize(std::min(static_cast<size_t>(kept) + 1, cumulative.size()));
  const auto chosen =
      std::upper_bound(cumulative.begin(), cumulative.end(), draw * cumulative.back()) - cumulative.begin();
  return order[std::min(static_cast<size_t>(chosen), cumulative.size() - 1)];
}

namespace {

// The logits of what comes next in several texts, which grow a token at a time.
class Texts {
 public:
  Texts(LanguageModel& model, const std::vector<std::vector<int64_t>>& prompts, const at::Device& device)
      : model_(model), device_(device), can_continue_(model.can_continue()) {
    if (!can_continue_) {
      texts_ = prompts;
      return;
    }
    cache_ = model.make_cache();
    std::vector<at::Tensor> rows;
    for (const std::vector<int64_t>& prompt : prompts) {
      Cache cache = model.make_cache();
      rows.push_back(model.next_logits(at::tensor(prompt, at::kLong).unsqueeze(0).to(device), cache));
      cache_.join(cache);
    }
    logits_ = at::cat(rows);
  }

  at::Tensor logits() {  // (prompts, vocab_size) on the CPU
    if (can_continue_) return logits_.to(at::kCPU);
    std::vector<at::Tensor> rows;
    for (const std::vector<int64_t>& text : texts_)
      rows.push_back(model_.logits(at::tensor(text, at::kLong).unsqueeze(0).to(device_))[0][-1]);
    return at::stack(rows).to(at::kCPU);
  }

  void push(const std::vector<int64_t>& tokens) {  // one for each text
    if (can_continue_)
      logits_ = model_.next_logits(at::tensor(tokens, at::kLong).unsqueeze(1).to(device_), cache_);
    else
      for (size_t i = 0; i < tokens.size(); ++i) texts_[i].push_back(tokens[i]);
  }

 private:
  LanguageModel& model_;
  at::Device device_;
  bool can_continue_;
  Cache cache_;
  at::Tensor logits_;
  std::vector<std::vector<int64_t>> texts_;  // of a model that cannot continue
};

}  // namespace

void generate(LanguageModel& model, const std::vector<std::vector<int64_t>>& prompts,
              const GenerateOptions& options, const at::Device& device,
              const std::function<void(size_t, int64_t)>& emit) {
  validate(options);
  for (const std::vector<int64_t>& prompt : prompts) TORCH_INTERNAL_ASSERT(!prompt.empty());
  const at::NoGradGuard no_grad;
  Texts texts(model, prompts, device);
  std::vector<int64_t> tokens(prompts.size());
  std::vector<bool> ended(prompts.size());
  for (int64_t i = 0; i < options.max_tokens; ++i) {
    at::Tensor logits = texts.logits();
    if (options.vocab_size > 0 && options.vocab_size < logits.size(1))
      logits = logits.narrow(1, 0, options.vocab_size);
    for (size_t p = 0; p < prompts.size(); ++p) {
      const common::RandomStream stream(options.seed + p, common::hash64("generate"));
      tokens[p] = choose_token(logits[static_cast<int64_t>(p)], options,
                               stream.uniforms(static_cast<uint64_t>(i))[0]);
      ended[p] = ended[p] || tokens[p] == options.stop_token;
      if (!ended[p]) emit(p, tokens[p]);
    }
    if (std::all_of(ended.begin(), ended.end(), [](bool e) { return e; })) return;
    if (i + 1 < options.max_tokens) texts.push(tokens);
  }
}

}  // namespace sisa::model
