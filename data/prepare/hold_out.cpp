#include "data/prepare/hold_out.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace sisa::data {
namespace {

constexpr int bin_bits = 16;

size_t bin_of(const common::Hash128& hash) {
  return hash.high >> (64 - bin_bits);
}

bool less(const common::Hash128& a, const common::Hash128& b) {
  return std::tie(a.high, a.low) < std::tie(b.high, b.low);
}

}  // namespace

void HoldOut::count(const common::Hash128& hash, int64_t tokens) {
  bins_.resize(size_t{1} << bin_bits);
  bins_[bin_of(hash)] += tokens;
}

void HoldOut::narrow() {
  int64_t all = 0;
  for (const int64_t tokens : bins_) all += tokens;
  target_ = all - static_cast<int64_t>(std::floor(static_cast<double>(all) * (1 - share_)));
  while (bin_ < bins_.size() && held_out_ + bins_[bin_] <= target_) held_out_ += bins_[bin_++];
  if (target_ == 0) bin_ = 0;
}

void HoldOut::examine(const common::Hash128& hash, int64_t tokens) {
  if (target_ > 0 && bin_of(hash) == bin_) documents_.push_back({hash, tokens});
}

void HoldOut::settle() {
  std::sort(documents_.begin(), documents_.end(),
            [](const Document& a, const Document& b) { return less(a.hash, b.hash); });
  for (auto text = documents_.begin(); text != documents_.end();) {
    int64_t tokens = 0, copies = 0;
    for (last_ = text->hash; text != documents_.end() && text->hash == last_; ++text)
      tokens += text->tokens, ++copies;
    if (held_out_ + tokens <= target_) {
      held_out_ += tokens;
      last_tokens_ = tokens;
      continue;
    }
    const int64_t missing = target_ - held_out_, excess = tokens - missing;
    const bool near = std::min(missing, excess) * 10 <= target_;
    last_tokens_ = !near ? missing / copies : excess < missing ? tokens : 0;
    return;
  }
}

int64_t HoldOut::held_out_tokens(const common::Hash128& hash, int64_t tokens) const {
  if (target_ == 0 || bin_of(hash) > bin_) return 0;
  if (bin_of(hash) < bin_ || less(hash, last_)) return tokens;
  return hash == last_ ? std::min(tokens, last_tokens_) : 0;
}

}  // namespace sisa::data
