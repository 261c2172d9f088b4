// `sisa checkpoint probe`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "launcher/commands/options.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct CheckpointProbeArguments {
  static constexpr const char* name = "checkpoint probe";
  std::string run;               // RUN or RUN@STEP
  std::filesystem::path output;  // safetensors file; replaced if it is there
  int64_t sequences = 2;         // B
  int64_t length = 64;           // T, tokens of each
  uint64_t seed = 1;             // of the tokens
};
void add_options(Options& options, CheckpointProbeArguments& arguments);
// Writes what the network computes in fp64 on random tokens (B, T + 1): `tokens`, `logits` (B, T, vocab_size)
// by the form that evaluates, `loss`, the mean cross entropy, and its `gradients/NAME` by the form that
// trains.
int run(const CheckpointProbeArguments& arguments, const parallel::World& world);

}  // namespace sisa::launcher
