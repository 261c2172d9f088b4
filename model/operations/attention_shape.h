// The geometry of an attention: what its mixer, its cache, its costs and its kernels agree upon.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sisa::model {

struct AttentionShape {
  int64_t num_heads = 1;
  // Divides num_heads: so many neighbouring query heads share a key head and a value head.
  int64_t num_kv_heads = 1;
  int64_t d_head = 0;    // content channels of a head's query and key
  int64_t d_value = 0;   // channels of a head's value
  double scale = 1;      // of scores
  int64_t window = 0;    // the query at position i sees keys j with i - window < j <= i; 0: all j <= i
  int64_t prefix = 0;    // keys j < prefix are seen whatever the window
  double rope_base = 0;  // of rotary positions; 0: none

  int64_t query_width() const { return num_heads * d_head; }
  int64_t key_width() const { return num_kv_heads * d_head; }
  int64_t value_width() const { return num_kv_heads * d_value; }
  int64_t output_width() const { return num_heads * d_value; }

  // Whether a query sees every key up to its own position.
  bool is_full() const { return window == 0; }
  // Keys that a sequence of `length` tokens leaves in a cache.
  int64_t num_kept(int64_t length) const {
    return is_full() ? length : std::min(length, std::min(length, prefix) + window);
  }
  // Keys that a query sees, on average over a sequence of `length` tokens.
  double mean_seen(int64_t length) const {
    const auto T = static_cast<double>(length);
    if (is_full() || length <= window) return (T + 1) / 2;
    double seen = 0;
    for (int64_t i = 0; i < length; ++i) {
      const int64_t first = std::max<int64_t>(0, i - window + 1);  // within the window
      seen += static_cast<double>(i - first + 1 + std::min(first, prefix));
    }
    return seen / T;
  }
};

}  // namespace sisa::model
