// Decides which documents of a source are held out.
#pragma once

#include <cstdint>
#include <vector>

#include "common/hash.h"

namespace sisa::data {

// The rule, for a share s of the text that is to be held out. Texts are put in the order of their hashes,
// which is a random one that depends on nothing but the texts, and held out as a whole until s of all tokens
// is reached. The text with which that is reached is held out or trained on as a whole, whichever comes
// nearer to the share, if it then misses the share by at most a tenth of the share. Otherwise, as where there
// are few documents or very long ones, this one text is divided: its last tokens are held out and the ones
// before are trained on.
//
// So held-out documents are as long as the others, each token is in one of the splits, and all copies of a
// text share its fate: if it is divided, all are, at the same place.
//
// The calls, in order: count() for every document; narrow(); examine() for every document again; settle().
// Then held_out_tokens() is final. `tokens` never include the end-of-document token. Memory does not grow
// with the number of documents but for one in 65,536.
class HoldOut {
 public:
  // `share` is from 0 to 0.5; with 0 nothing is held out.
  explicit HoldOut(double share) : share_(share) {}

  void count(const common::Hash128& hash, int64_t tokens);
  void narrow();
  void examine(const common::Hash128& hash, int64_t tokens);
  void settle();

  // How many of a document's tokens, its last ones, are held out: none, all or some.
  int64_t held_out_tokens(const common::Hash128& hash, int64_t tokens) const;

 private:
  struct Document {
    common::Hash128 hash;
    int64_t tokens;
  };
  double share_;
  std::vector<int64_t> bins_;        // tokens of the texts whose hashes begin with the same 16 bits
  size_t bin_ = 0;                   // texts in smaller bins are held out, texts in larger ones are not
  std::vector<Document> documents_;  // those in the bin
  int64_t target_ = 0;               // tokens to hold out
  int64_t held_out_ = 0;             // tokens of whole texts that are
  common::Hash128 last_;             // the text with which the share is reached
  int64_t last_tokens_ = 0;          // how many tokens of each copy of it are held out, at most
};

}  // namespace sisa::data
