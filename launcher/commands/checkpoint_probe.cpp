#include "launcher/commands/checkpoint_probe.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/safetensors.h"
#include "common/hash.h"
#include "common/parameter.h"
#include "common/quantity.h"
#include "common/random.h"
#include "launcher/commands/hugging_face.h"
#include "launcher/commands/on_root.h"
#include "launcher/run/opened_run.h"
#include "model/config.h"
#include "model/language_model.h"
#include "model/mixers/mixer.h"

namespace sisa::launcher {
namespace {

using checkpoint::SafetensorsWriter;

// (B, T + 1) int64, each id equally likely.
at::Tensor draw_tokens(const CheckpointProbeArguments& arguments, int64_t vocab_size) {
  const common::RandomStream stream(arguments.seed, common::hash64("probe"));
  at::Tensor tokens = at::empty({arguments.sequences, arguments.length + 1}, at::kLong);
  for (int64_t i = 0; i < tokens.numel(); ++i)
    tokens.data_ptr<int64_t>()[i] =
        static_cast<int64_t>(stream.below(static_cast<uint64_t>(vocab_size), static_cast<uint64_t>(i)));
  return tokens;
}

}  // namespace

void add_options(Options& options, CheckpointProbeArguments& arguments) {
  options.describe(
      "A checkpoint's logits, loss and gradients on random tokens, in fp64: see scripts/parity.py");
  add_run(options, arguments.run);
  options.add("--output", arguments.output, "FILE", "safetensors file to write or replace").required();
  options.whole("--sequences", arguments.sequences, "N", "how many", 1, 1 << 20).show_default();
  options.whole("--length", arguments.length, "N", "tokens of each", 1, 1 << 20).show_default();
  options.whole("--seed", arguments.seed, "N", "decides the tokens", 0, any_seed).show_default();
}

int run(const CheckpointProbeArguments& arguments, const parallel::World& world) {
  const TrainedModel trained = OpenedRun(arguments.run, world).load_model_with_gradients();
  return on_root(world, [&] {
    model::LanguageModel& model = *trained.model;
    const model::ModelConfig& config = model.config();
    const at::Tensor tokens = draw_tokens(arguments, config.vocab_size);
    const at::Tensor inputs = tokens.narrow(1, 0, arguments.length),
                     targets = tokens.narrow(1, 1, arguments.length);
    const at::Tensor loss = model.loss_sum(inputs, targets) / static_cast<double>(targets.numel());
    loss.backward();
    std::vector<std::pair<std::string, at::Tensor>> results = {
        {"tokens", tokens}, {"logits", model.logits(inputs)}, {"loss", loss.detach()}};
    for (const common::Parameter* parameter : trained.space->parameters())
      for (const common::Block& block : parameter->blocks)
        results.emplace_back("gradients/" + block.name, parameter->view(parameter->gradient, block));

    std::vector<SafetensorsWriter::Tensor> tensors;
    for (const auto& [name, tensor] : results) tensors.push_back({name, tensor.sizes().vec()});
    SafetensorsWriter writer(arguments.output, tensors, at::kDouble,
                             {{"config", network_json(config).dump()}});
    for (const auto& [name, tensor] : results) writer.write(tensor.to(at::kDouble));
    writer.finish();
    fmt::print("{}: step {}, loss {:.6f} nats a token over {} tokens\n", arguments.output.string(),
               common::format_count(trained.step), loss.item<double>(),
               common::format_count(targets.numel()));
    for (const model::Counter& counter : model.take_counters())
      if (!counter.departure.empty() && counter.count.item<int64_t>() > 0)
        fmt::print(
            "{} {}: there the gradients are not those of the definition, with which the logits agree "
            "(docs/numerics.md).\n",
            common::format_count(counter.count.item<int64_t>()), counter.departure);
  });
}

}  // namespace sisa::launcher
