#include "model/generate.h"

#include <ATen/core/grad_mode.h>
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

void generate(LanguageModel& model, std::vector<int64_t> prompt, const GenerateOptions& options,
              const at::Device& device, const std::function<void(int64_t)>& emit) {
  validate(options);
  TORCH_INTERNAL_ASSERT(!prompt.empty() && options.context_length > 0);
  const at::NoGradGuard no_grad;
  const common::RandomStream stream(options.seed, common::hash64("generate"));
  for (int64_t i = 0; i < options.max_tokens; ++i) {
    const auto length = std::min(static_cast<int64_t>(prompt.size()), options.context_length);
    const at::ArrayRef<int64_t> last(prompt.data() + prompt.size() - static_cast<size_t>(length),
                                     static_cast<size_t>(length));
    const at::Tensor context = at::tensor(last, at::kLong).unsqueeze(0).to(device);
    const at::Tensor logits = model.logits(context)[0][-1].to(at::kCPU);
    const int64_t token = choose_token(logits, options, stream.uniforms(static_cast<uint64_t>(i))[0]);
    if (token == options.stop_token) return;
    prompt.push_back(token);
    emit(token);
  }
}

}  // namespace sisa::model
