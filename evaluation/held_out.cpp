#include "evaluation/held_out.h"

#include <algorithm>

namespace sisa::evaluation {

HeldOutScore score_held_out(model::LanguageModel& model, const data::HeldOut& held_out, int64_t begin,
                            int64_t end, int64_t micro_batch, const at::Device& device) {
  HeldOutScore score;
  for (int64_t first = begin; first < end; first += micro_batch) {
    const data::Batch batch = held_out.read(first, std::min(micro_batch, end - first));
    at::Tensor correct;
    const at::Tensor losses = model.token_losses(batch.inputs.to(device), batch.targets, &correct);
    score.nats += losses.sum(at::kDouble).item<double>();
    score.tokens += batch.targets.ge(0).sum().item<int64_t>();
    score.correct += correct.sum().item<int64_t>();
  }
  return score;
}

}  // namespace sisa::evaluation
