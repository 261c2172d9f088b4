#include "data/tokenizer/bpe/encoder.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

namespace sisa::data::bpe {
namespace {

constexpr uint32_t none = std::numeric_limits<uint32_t>::max();
constexpr size_t short_piece = 64;  // bytes

uint64_t mix(uint64_t x) {  // the finaliser of splitmix64
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

uint64_t pair_of(uint32_t left, uint32_t right) {
  return uint64_t{left} << 32 | right;
}

}  // namespace

Encoder::Encoder(Alphabet alphabet, const std::vector<Merge>& merges,
                 std::unordered_map<std::string, uint32_t> whole)
    : alphabet_(std::move(alphabet)),
      byte_ids_(std::get_if<std::array<uint32_t, 256>>(&alphabet_)),
      slots_(std::bit_ceil(2 * merges.size() + 2), Slot{no_pair, none, none}),
      whole_(std::move(whole)) {
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto [left, right, merged] = merges[rank];
    size_t i = mix(pair_of(left, right)) & (slots_.size() - 1);
    while (slots_[i].pair != no_pair && slots_[i].pair != pair_of(left, right))
      i = (i + 1) & (slots_.size() - 1);
    slots_[i] = {pair_of(left, right), static_cast<uint32_t>(rank),
                 merged};  // the last of equal pairs counts
  }
}

const Encoder::Slot* Encoder::find(uint32_t left, uint32_t right) const {
  const uint64_t pair = pair_of(left, right);
  for (size_t i = mix(pair) & (slots_.size() - 1);; i = (i + 1) & (slots_.size() - 1)) {
    if (slots_[i].pair == pair) return &slots_[i];
    if (slots_[i].pair == no_pair) return nullptr;
  }
}

void Encoder::encode(std::string_view piece, Scratch& s, std::vector<uint32_t>& ids) const {
  if (piece.size() == 1 && byte_ids_) {
    ids.push_back((*byte_ids_)[static_cast<unsigned char>(piece[0])]);
    return;
  }
  Scratch::Entry* entry = nullptr;
  std::array<uint64_t, 4> key = {};
  if (piece.size() <= Scratch::longest) {
    std::memcpy(key.data(), piece.data(), piece.size());
    key[3] |= uint64_t{piece.size()} << 56;
    entry = &s.entries_[mix(key[0] + mix(key[1] + mix(key[2] + mix(key[3])))) & (Scratch::num_entries - 1)];
    if (entry->count > 0 && entry->key == key) {
      ids.insert(ids.end(), entry->ids.begin(), entry->ids.begin() + entry->count);
      return;
    }
  }
  s.ids_.clear();
  const auto found = whole_.empty() ? whole_.end() : whole_.find(std::string(piece));
  if (found != whole_.end()) {
    s.ids_.push_back(found->second);
  } else {
    if (byte_ids_)
      for (const char byte : piece) s.ids_.push_back((*byte_ids_)[static_cast<unsigned char>(byte)]);
    else
      std::get<CharacterAlphabet>(alphabet_).append(piece, s.ids_);
    piece.size() <= short_piece ? merge_short(s) : merge_long(s);
  }
  ids.insert(ids.end(), s.ids_.begin(), s.ids_.end());
  if (entry && s.ids_.size() <= Scratch::most_ids) {
    entry->key = key;
    entry->count = static_cast<uint32_t>(s.ids_.size());
    std::copy(s.ids_.begin(), s.ids_.end(), entry->ids.begin());
  }
}

// Repeatedly searches all pairs for the best one.
void Encoder::merge_short(Scratch& s) const {
  std::vector<uint32_t>&ids = s.ids_, &ranks = s.ranks_;  // ranks[i] is that of the pair (i, i + 1)
  const auto rank_at = [&](size_t i) {
    const Slot* slot = i + 1 < ids.size() ? find(ids[i], ids[i + 1]) : nullptr;
    return slot ? slot->rank : none;
  };
  ranks.resize(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) ranks[i] = rank_at(i);
  while (true) {
    const auto best = std::min_element(ranks.begin(), ranks.end());
    if (best == ranks.end() || *best == none) return;
    const auto i = static_cast<size_t>(best - ranks.begin());
    ids[i] = find(ids[i], ids[i + 1])->merged;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    ranks.erase(ranks.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    ranks[i] = rank_at(i);
    if (i > 0) ranks[i - 1] = rank_at(i - 1);
  }
}

// The same with a heap of pairs and a linked list of tokens. Pairs in the heap may be outdated. One is still
// used if the tokens at its position now merge to the same token.
void Encoder::merge_long(Scratch& s) const {
  std::vector<uint32_t>&ids = s.ids_, &next = s.next_, &previous = s.previous_;
  const auto size = static_cast<uint32_t>(ids.size());
  next.resize(size);
  previous.resize(size);
  const auto later = [](const Scratch::Candidate& a, const Scratch::Candidate& b) {
    return std::pair(a.rank, a.position) > std::pair(b.rank, b.position);
  };
  s.heap_.clear();
  const auto candidate = [&](uint32_t i) {
    if (const Slot* slot = find(ids[i], ids[next[i]])) s.heap_.push_back({slot->rank, i, slot->merged});
  };
  for (uint32_t i = 0; i < size; ++i) {
    next[i] = i + 1 < size ? i + 1 : none;
    previous[i] = i > 0 ? i - 1 : none;
    if (i + 1 < size) candidate(i);
  }
  std::make_heap(s.heap_.begin(), s.heap_.end(), later);
  constexpr uint32_t gone = none;
  while (!s.heap_.empty()) {
    std::pop_heap(s.heap_.begin(), s.heap_.end(), later);
    const auto [rank, i, merged] = s.heap_.back();
    s.heap_.pop_back();
    if (ids[i] == gone || next[i] == none) continue;
    const uint32_t right = next[i];
    const Slot* slot = find(ids[i], ids[right]);
    if (!slot || slot->merged != merged) continue;
    ids[i] = merged;
    ids[right] = gone;
    next[i] = next[right];
    if (next[i] != none) previous[next[i]] = i;
    for (const uint32_t left : {previous[i], i}) {
      if (left == none || next[left] == none) continue;
      const size_t before = s.heap_.size();
      candidate(left);
      if (s.heap_.size() > before) std::push_heap(s.heap_.begin(), s.heap_.end(), later);
    }
  }
  std::erase(ids, gone);
}

}  // namespace sisa::data::bpe
