// Byte-pair encoding of one piece of text.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sisa::data::bpe {

// The tokens of a piece: its bytes, of which the pair that was learned first is merged, the leftmost one of
// equals, until no pair is left that was learned. Immutable; any number of threads may encode, each with a
// Scratch of its own.
class Encoder {
 public:
  struct Merge {
    uint32_t left, right, merged;
  };
  // byte_ids: the token of each byte. merges: the first learned first. whole: pieces that are one token
  // whatever merges say (`ignore_merges`), by their bytes.
  Encoder(const std::array<uint32_t, 256>& byte_ids, const std::vector<Merge>& merges,
          std::unordered_map<std::string, uint32_t> whole);

  class Scratch;
  // Appends the piece's ids. Time: that of a look-up for short pieces seen lately, n^2 for short new ones, n
  // log n for long ones.
  void encode(std::string_view piece, Scratch& scratch, std::vector<uint32_t>& ids) const;

 private:
  struct Slot {
    uint64_t pair;
    uint32_t rank, merged;
  };
  static constexpr uint64_t no_pair = ~uint64_t{0};
  const Slot* find(uint32_t left, uint32_t right) const;  // nullptr: never merged
  void merge_short(Scratch& scratch) const;
  void merge_long(Scratch& scratch) const;

  std::array<uint32_t, 256> byte_ids_;
  std::vector<Slot> slots_;  // open addressing, a power of two
  std::unordered_map<std::string, uint32_t> whole_;
};

// A thread's memory: pieces encoded lately, and room to work in.
class Encoder::Scratch {
 public:
  Scratch() : entries_(num_entries) {}

 private:
  friend class Encoder;
  static constexpr size_t longest = 31, most_ids = 6;  // of what is remembered
  static constexpr size_t num_entries = size_t{1} << 16;
  // One cache line. A new piece takes the place of the one with the same low bits of its hash.
  struct alignas(64) Entry {
    std::array<uint64_t, 4> key = {};  // the piece's bytes, zeros, and its length in the last byte
    uint32_t count = 0;                // 0: empty
    std::array<uint32_t, most_ids> ids = {};
  };
  static_assert(sizeof(Entry) == 64);
  struct Candidate {  // for merge_long
    uint32_t rank, position, merged;
  };
  std::vector<Entry> entries_;
  std::vector<uint32_t> ids_, ranks_, next_, previous_;
  std::vector<Candidate> heap_;
};

}  // namespace sisa::data::bpe
