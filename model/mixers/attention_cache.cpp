#include "model/mixers/attention_cache.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <c10/util/Exception.h>

#include <algorithm>

#include "model/operations/attention.h"

namespace sisa::model {
namespace {

at::Tensor with_capacity(const at::Tensor& x, int64_t capacity) {  // (B, ·, H, d)
  return capacity == x.size(1) ? x : at::constant_pad_nd(x, {0, 0, 0, 0, 0, capacity - x.size(1)});
}

}  // namespace

void AttentionCache::join(const MixerCache& other_cache) {
  const auto& other = dynamic_cast<const AttentionCache&>(other_cache);
  if (other.lengths_.empty()) return;
  if (lengths_.empty()) {
    *this = other;
    key_ = other.key_.clone();
    value_ = other.value_.clone();
    return;
  }
  const int64_t capacity = std::max(key_.size(1), other.key_.size(1));
  key_ = at::cat({with_capacity(key_, capacity), with_capacity(other.key_, capacity)});
  value_ = at::cat({with_capacity(value_, capacity), with_capacity(other.value_, capacity)});
  lengths_.insert(lengths_.end(), other.lengths_.begin(), other.lengths_.end());
  if (exponent.defined()) exponent = at::cat({exponent, other.exponent});
  if (phase.defined()) phase = at::cat({phase, other.phase});
}

void AttentionCache::append(const at::Tensor& key, const at::Tensor& value) {
  const int64_t T = key.size(1);
  if (lengths_.empty()) {
    lengths_.assign(static_cast<size_t>(key.size(0)), T);
    key_ = key.contiguous();
    value_ = value.contiguous();
    return;
  }
  TORCH_INTERNAL_ASSERT(lengths_.size() == static_cast<size_t>(key.size(0)));
  reserve(*std::max_element(lengths_.begin(), lengths_.end()) + T);
  for (int64_t b = 0; b < key.size(0); ++b) {
    int64_t& length = lengths_[static_cast<size_t>(b)];
    key_[b].narrow(0, length, T).copy_(key[b]);
    value_[b].narrow(0, length, T).copy_(value[b]);
    length += T;
  }
}

// Growing token by token copies each token a bounded number of times.
void AttentionCache::reserve(int64_t num_tokens) {
  if (num_tokens <= key_.size(1)) return;
  const int64_t capacity = std::max(num_tokens, key_.size(1) + key_.size(1) / 2 + 16);
  key_ = with_capacity(key_, capacity);
  value_ = with_capacity(value_, capacity);
}

at::Tensor AttentionCache::attend(const at::Tensor& query, double scale) const {
  const auto among = [&](int64_t first, int64_t count) {
    const int64_t length = lengths_[static_cast<size_t>(first)];
    return attention_to_past(query.narrow(0, first, count), key_.narrow(0, first, count).narrow(1, 0, length),
                             value_.narrow(0, first, count).narrow(1, 0, length), scale);
  };
  const auto num_sequences = static_cast<int64_t>(lengths_.size());
  std::vector<at::Tensor> outputs;  // neighbours of equal length together
  for (int64_t first = 0, count = 0; first < num_sequences; first += count) {
    for (count = 1; first + count < num_sequences && length(first + count) == length(first);) ++count;
    outputs.push_back(among(first, count));
  }
  return outputs.size() == 1 ? outputs.front() : at::cat(outputs);
}

void AttentionCache::scale_keys(int64_t channel, const at::Tensor& exponent_change) {
  if (lengths_.empty()) return;
  at::Tensor channels = key_.narrow(-1, channel, key_.size(-1) - channel);
  // In two steps: e^-160 alone is no fp32 number, though its product with a key is.
  const at::Tensor root = (exponent_change / 2).exp().unsqueeze(1).unsqueeze(-1).to(key_.scalar_type());
  channels.mul_(root).mul_(root);
}

}  // namespace sisa::model
