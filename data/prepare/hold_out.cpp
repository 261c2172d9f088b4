#include "data/prepare/hold_out.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sisa::data {

void HoldOut::count(const common::Hash128& hash, int64_t tokens) {
  ++documents_;
  tokens_ += tokens;
  smallest_.push_back(hash.high);
  std::push_heap(smallest_.begin(), smallest_.end());
  if (static_cast<int64_t>(smallest_.size()) > few_documents) {
    std::pop_heap(smallest_.begin(), smallest_.end());
    smallest_.pop_back();
  }
}

void HoldOut::settle() {
  limit_ = static_cast<uint64_t>(share_ * 0x1p64);
  const int64_t least = std::min(few_documents, documents_ / 5);
  if (few() || least == 0) return;
  std::sort(smallest_.begin(), smallest_.end());
  limit_ = std::max(limit_, smallest_[static_cast<size_t>(least - 1)]);
}

void HoldOut::settle_cap() {
  std::sort(lengths_.begin(), lengths_.end());
  auto room = static_cast<int64_t>(share_ * static_cast<double>(tokens_));
  cap_ = std::numeric_limits<int64_t>::max();
  for (size_t i = 0; i < lengths_.size(); ++i) {
    const auto left = static_cast<int64_t>(lengths_.size() - i);
    if (lengths_[i] > room / left) {
      cap_ = std::max<int64_t>(1, room / left);
      return;
    }
    room -= lengths_[i];
  }
}

int64_t HoldOut::trained_tokens() const {
  return static_cast<int64_t>(std::floor(static_cast<double>(tokens_) * (1 - share_)));
}

}  // namespace sisa::data
