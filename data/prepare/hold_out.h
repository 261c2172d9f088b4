// Which documents of a source are held out.
#pragma once

#include <cstdint>
#include <vector>

#include "common/hash.h"

namespace sisa::data {

// The rule. A document's place is the hash of its text.
//
// From 200 documents on: those are held out whose hash falls under the share, so that a document's split
// hardly depends on the others, and at least 200, those with the smallest hashes, but not more than a fifth
// of all documents only to reach that number. Together they give at most the share of all tokens, for which
// those longer than a cap, the largest that keeps to it, are cut to the cap. So long documents make the held-
// out text no less varied. What is cut is dropped: no part of a held-out document is ever trained on.
//
// Under 200 documents, which hashing would share out too unevenly: the last share of all tokens is held out,
// and the document in which it begins is divided.
class HoldOut {
 public:
  static constexpr int64_t few_documents = 200;

  // `share` of 0 to 0.5; 0: nothing is held out.
  explicit HoldOut(double share) : share_(share) {}

  // First, for every document. `tokens` without the end of the document.
  void count(const common::Hash128& hash, int64_t tokens);
  // Then, for every document that is held out, unless there are few of them.
  void settle();
  void measure(int64_t tokens) { lengths_.push_back(tokens); }
  // Then the rest.
  void settle_cap();

  bool few() const { return documents_ < few_documents; }
  bool held_out(const common::Hash128& hash) const { return share_ > 0 && hash.high <= limit_; }
  int64_t cap() const { return cap_; }  // tokens of a held-out document that remain, at most
  int64_t trained_tokens() const;       // of few documents: as many first ones are trained on

 private:
  double share_;
  int64_t documents_ = 0, tokens_ = 0;
  std::vector<uint64_t> smallest_;  // hashes, as a heap with the largest on top
  std::vector<int64_t> lengths_;    // of the documents held out, in tokens
  uint64_t limit_ = 0;              // the largest hash that is held out
  int64_t cap_ = 0;
};

}  // namespace sisa::data
