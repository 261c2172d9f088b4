// The table of evaluations: adding one is a file under scorers/ and a row in registry.cpp.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "data/loader.h"
#include "data/tokens/dataset.h"
#include "evaluation/scorer.h"
#include "model/language_model.h"

namespace sisa::evaluation {

// What scorers are made from. The model and the held-out data must outlive them.
struct Inputs {
  model::LanguageModel& model;
  at::Device device;    // of the model
  int64_t micro_batch;  // samples that are scored at once, at most
  const data::HeldOut& held_out;
  int64_t num_windows;  // windows of held-out text that are scored, the first ones; <= held_out.num_windows()
  // Opens the training split of each source that is text. It may be called on any rank at any time.
  std::function<std::vector<data::TokenDataset>()> open_training_text;
};

using Scorers = std::vector<std::unique_ptr<Scorer>>;

// Every scorer that has items, in the order in which their scores are shown.
Scorers make_scorers(const Inputs& inputs);

}  // namespace sisa::evaluation
