#include "data/tokens/bigram.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

namespace sisa::data {

double bigram_loss(const std::vector<TokenDataset>& training, const HeldOut& held_out, int64_t windows) {
  TORCH_INTERNAL_ASSERT(!training.empty() && windows > 0);
  int64_t vocabulary = 0;
  for (const TokenDataset& dataset : training) vocabulary = std::max(vocabulary, dataset.vocab_size());
  TORCH_INTERNAL_ASSERT(vocabulary <= largest_bigram_vocabulary);
  std::vector<int64_t> pairs(static_cast<size_t>(vocabulary * vocabulary));
  std::vector<int64_t> firsts(static_cast<size_t>(vocabulary));
  constexpr int64_t block = 1 << 16;
  std::vector<int64_t> ids;
  for (const TokenDataset& dataset : training)
    for (int64_t begin = 0; begin + 1 < dataset.tokens(); begin += block) {
      ids.resize(static_cast<size_t>(
          std::min(block + 1, dataset.tokens() - begin)));  // one token shared with the next block
      dataset.read(begin, ids);
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        ++pairs[static_cast<size_t>(ids[i] * vocabulary + ids[i + 1])];
        ++firsts[static_cast<size_t>(ids[i])];
      }
    }
  double nats = 0;
  for (int64_t window = 0; window < windows; ++window) {
    const Batch batch = held_out.read(window, 1);
    const int64_t* a = batch.inputs.const_data_ptr<int64_t>();
    const int64_t* b = batch.targets.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < held_out.sequence_length(); ++i)
      nats += std::log(static_cast<double>(firsts[static_cast<size_t>(a[i])] + vocabulary)) -
              std::log(static_cast<double>(pairs[static_cast<size_t>(a[i] * vocabulary + b[i])]) + 1);
  }
  return nats / static_cast<double>(windows * held_out.sequence_length());
}

}  // namespace sisa::data
