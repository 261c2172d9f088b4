// What counting pairs of tokens achieves: the mark that a network must beat to have learned anything.
#pragma once

#include <vector>

#include "data/loader.h"
#include "data/tokens/dataset.h"

namespace sisa::data {

inline constexpr int64_t largest_bigram_vocabulary = 4096;  // the counts fill vocabulary^2 numbers of 8 bytes

// Mean cross entropy, in nats a token, of p(b | a) = (count(a, b) + 1) / (count(a) + V), counted on
// `training` and scored on the windows [0, windows) of `held_out`: the very predictions that a network is
// scored on.
double bigram_loss(const std::vector<TokenDataset>& training, const HeldOut& held_out, int64_t windows);

}  // namespace sisa::data
