#include "model/mixers/attention_cache.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <c10/util/Exception.h>

#include <algorithm>

#include "model/operations/attention.h"

namespace sisa::model {
namespace {

at::Tensor with_capacity(const at::Tensor& x, int64_t capacity) {  // (B, ·, G, d)
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
  forgotten_.insert(forgotten_.end(), other.forgotten_.begin(), other.forgotten_.end());
  states.join(other.states);
}

std::vector<int64_t> AttentionCache::next_positions(int64_t num_sequences) const {
  std::vector<int64_t> positions;
  for (int64_t b = 0; b < num_sequences; ++b) positions.push_back(length(b));
  return positions;
}

void AttentionCache::append(const at::Tensor& key, const at::Tensor& value) {
  const int64_t T = key.size(1);
  if (lengths_.empty()) {
    lengths_.assign(static_cast<size_t>(key.size(0)), T);
    forgotten_.assign(lengths_.size(), 0);
    key_ = key.contiguous();
    value_ = value.contiguous();
    return;
  }
  TORCH_INTERNAL_ASSERT(lengths_.size() == static_cast<size_t>(key.size(0)));
  forget();
  int64_t most = 0;
  for (size_t b = 0; b < lengths_.size(); ++b) most = std::max(most, held(b));
  reserve(most + T);
  for (size_t b = 0; b < lengths_.size(); ++b) {
    const auto row = static_cast<int64_t>(b);
    key_[row].narrow(0, held(b), T).copy_(key[row]);
    value_[row].narrow(0, held(b), T).copy_(value[row]);
    lengths_[b] += T;
  }
}

// Growing token by token copies each token a bounded number of times.
void AttentionCache::reserve(int64_t num_tokens) {
  if (num_tokens <= key_.size(1)) return;
  const int64_t capacity = std::max(num_tokens, key_.size(1) + key_.size(1) / 2 + 16);
  key_ = with_capacity(key_, capacity);
  value_ = with_capacity(value_, capacity);
}

// Closes the gap between the prefix and the window. It may grow to the length of the window before, so that each
// token is moved about once.
void AttentionCache::forget() {
  if (shape_.is_full()) return;
  for (size_t b = 0; b < lengths_.size(); ++b) {
    const int64_t prefix = std::min(shape_.prefix, lengths_[b]);
    // The next query, at position lengths_[b], sees window - 1 tokens before itself.
    const int64_t out_of_sight = lengths_[b] - (shape_.window - 1) - prefix - forgotten_[b];
    if (out_of_sight < shape_.window) continue;
    const int64_t kept = held(b) - prefix - out_of_sight;
    for (at::Tensor* x : {&key_, &value_}) {
      const at::Tensor row = (*x)[static_cast<int64_t>(b)];
      row.narrow(0, prefix, kept).copy_(row.narrow(0, prefix + out_of_sight, kept).clone());
    }
    forgotten_[b] += out_of_sight;
  }
}

at::Tensor AttentionCache::attend(const at::Tensor& query) const {
  const auto num_sequences = static_cast<int64_t>(lengths_.size());
  const auto alike = [&](int64_t a, int64_t b) {
    const auto i = static_cast<size_t>(a), j = static_cast<size_t>(b);
    return lengths_[i] == lengths_[j] && forgotten_[i] == forgotten_[j];
  };
  std::vector<at::Tensor> outputs;  // of neighbours that hold the same positions, together
  for (int64_t first = 0, count = 0; first < num_sequences; first += count) {
    for (count = 1; first + count < num_sequences && alike(first, first + count);) ++count;
    const auto b = static_cast<size_t>(first);
    const auto of_these = [&](const at::Tensor& x) {
      return x.narrow(0, first, count).narrow(1, 0, held(b));
    };
    outputs.push_back(attention_to_past(query.narrow(0, first, count), of_these(key_), of_these(value_),
                                        shape_, forgotten_[b]));
  }
  return outputs.size() == 1 ? outputs.front() : at::cat(outputs);
}

at::Tensor AttentionCache::key_channels(int64_t channel) const {
  return key_.defined() ? key_.narrow(-1, channel, key_.size(-1) - channel) : at::Tensor();
}

void AttentionCache::scale_keys(int64_t channel, const at::Tensor& exponent) {
  at::Tensor channels = key_channels(channel);
  if (!channels.defined()) return;
  // In two steps: e^-160 alone is no fp32 number, though its product with a key is.
  const at::Tensor root = (exponent / 2).exp().unsqueeze(1).unsqueeze(-1).to(key_.scalar_type());
  channels.mul_(root).mul_(root);
}

}  // namespace sisa::model
