// Byte-pair encoding of a piece of text.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "data/tokenizer/bpe/character_alphabet.h"

namespace sisa::data::bpe {

// Starts with the bytes or characters of a piece as tokens and merges neighbouring tokens: always the pair that was learned
// first, the leftmost one if there are several, until there is no learned pair left. Immutable. Any number of
// threads may encode at once, each with a Scratch of its own.
class Encoder {
 public:
  struct Merge {
    uint32_t left, right, merged;
  };
  // What a piece consists of before the first merge: the token of each byte, or characters.
  using Alphabet = std::variant<std::array<uint32_t, 256>, CharacterAlphabet>;
  // merges: in the order in which they were learned. whole: pieces, by their text, that are one token regardless
  // of the merges (`ignore_merges`).
  Encoder(Alphabet alphabet, const std::vector<Merge>& merges,
          std::unordered_map<std::string, uint32_t> whole);

  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  class Scratch;
  // Appends the ids of a piece of n bytes, which is valid UTF-8 if it consists of characters. A short piece that was encoded recently takes one look-up, another
  // short piece n^2 and a long piece n log n steps.
  void encode(std::string_view piece, Scratch& scratch, std::vector<uint32_t>& ids) const;

 private:
  struct Slot {
    uint64_t pair;
    uint32_t rank, merged;
  };
  static constexpr uint64_t no_pair = ~uint64_t{0};
  const Slot* find(uint32_t left, uint32_t right) const;  // nullptr if the pair is never merged
  void merge_short(Scratch& scratch) const;
  void merge_long(Scratch& scratch) const;

  Alphabet alphabet_;
  const std::array<uint32_t, 256>* byte_ids_;  // in alphabet_, if it is of bytes
  std::vector<Slot> slots_;  // a hash table with open addressing; its size is a power of two
  std::unordered_map<std::string, uint32_t> whole_;
};

// The working memory of a thread, with a cache of the pieces that it encoded recently.
class Encoder::Scratch {
 public:
  Scratch() : entries_(num_entries) {}

 private:
  friend class Encoder;
  static constexpr size_t longest = 31, most_ids = 6;  // of a piece in the cache: bytes, ids
  static constexpr size_t num_entries = size_t{1} << 16;
  // One cache line. A new piece replaces the one whose hash has the same low bits.
  struct alignas(64) Entry {
    std::array<uint64_t, 4> key = {};  // the piece's bytes, filled up with zeros; its length in the last byte
    uint32_t count = 0;                // of the ids; 0 for an empty entry
    std::array<uint32_t, most_ids> ids = {};
  };
  static_assert(sizeof(Entry) == 64);
  struct Candidate {  // a pair that merge_long may merge
    uint32_t rank, position, merged;
  };
  std::vector<Entry> entries_;
  std::vector<uint32_t> ids_, ranks_, next_, previous_;
  std::vector<Candidate> heap_;
};

}  // namespace sisa::data::bpe
