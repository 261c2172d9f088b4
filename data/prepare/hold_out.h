// Decides which documents of a source are held out.
#pragma once

#include <cstdint>
#include <vector>

#include "common/hash.h"

namespace sisa::data {

// The rule, for a share s of the text that is to be held out.
//
// A source of 200 documents or more: documents are chosen by the hash of their text, so that the split of a
// document hardly depends on the other documents. Those are held out whose hash is below s of the hashes'
// range, but at least the 200 documents with the smallest hashes, unless 200 are more than a fifth of all
// documents; then it is a fifth. Held-out documents are cut to a cap, the largest one with which they have at
// most s of all tokens together, so that a few long documents do not take the place of many others. What is
// cut off is dropped: no part of a held-out document is ever trained on.
//
// A source of fewer documents, which hashing would divide too unevenly: the last s of all tokens is held out,
// and the document in which that part begins is divided.
//
// The calls, in order: count() for every document; settle(); unless few(), measure() for every document that
// held_out() names, and settle_cap(). Then the answers below are final.
class HoldOut {
 public:
  static constexpr int64_t few_documents = 200;

  // `share` is from 0 to 0.5; with 0 nothing is held out.
  explicit HoldOut(double share) : share_(share) {}

  // `tokens` does not include the end-of-document token, here and in measure().
  void count(const common::Hash128& hash, int64_t tokens);
  void settle();
  void measure(int64_t tokens) { lengths_.push_back(tokens); }
  void settle_cap();

  bool few() const { return documents_ < few_documents; }
  bool held_out(const common::Hash128& hash) const { return share_ > 0 && hash.high <= limit_; }
  int64_t cap() const { return cap_; }  // the largest number of tokens of a held-out document that remain
  int64_t trained_tokens() const;       // if few(): how many tokens, from the first on, are trained on

 private:
  double share_;
  int64_t documents_ = 0, tokens_ = 0;
  std::vector<uint64_t> smallest_;  // the smallest hashes, up to 200, as a heap with the largest on top
  std::vector<int64_t> lengths_;    // of the held-out documents, in tokens
  uint64_t limit_ = 0;              // the largest hash that is held out
  int64_t cap_ = 0;
};

}  // namespace sisa::data
