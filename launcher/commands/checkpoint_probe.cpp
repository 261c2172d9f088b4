#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/master_file.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/store.h"
#include "common/hash.h"
#include "common/quantity.h"
#include "common/random.h"
#include "launcher/commands/commands.h"
#include "launcher/commands/hugging_face.h"
#include "launcher/commands/on_root.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/device.h"
#include "launcher/run/run_folder.h"
#include "model/language_model.h"
#include "parallel/communicator.h"
#include "parallel/parameter_space.h"

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

int run_checkpoint_probe(const CheckpointProbeArguments& arguments, const parallel::World& world) {
  RunReference run;
  world.together([&] { run = parse_run_reference(arguments.run); });
  const checkpoint::Store store(run.folder.checkpoints(), world);
  const checkpoint::Entry entry = find_checkpoint(run, store, world);
  Recipe recipe;
  world.together([&] {
    recipe = parse_recipe(checkpoint::read_master(entry.path).state.recipe, entry.path.string());
    recipe.run.device = "cpu";
    open_device(recipe.run, world);
  });
  constexpr auto precision = common::Precision::fp64;
  model::LanguageModel model(recipe.model, precision, /*pad_to=*/1);
  parallel::ParameterSpace space(model.parameters(),
                                 {precision, at::kCPU, /*training=*/true, /*sharded=*/false}, world.rank(),
                                 world.size());
  store.load(entry, space, *parallel::make_communicator(world, at::kCPU), {.moments = false});

  return on_root(world, [&] {
    const at::Tensor tokens = draw_tokens(arguments, recipe.model.vocab_size);
    const at::Tensor inputs = tokens.narrow(1, 0, arguments.length),
                     targets = tokens.narrow(1, 1, arguments.length);
    const at::Tensor loss = model.loss_sum(inputs, targets) / static_cast<double>(targets.numel());
    loss.backward();
    std::vector<std::pair<std::string, at::Tensor>> results = {
        {"tokens", tokens}, {"logits", model.logits(inputs)}, {"loss", loss.detach()}};
    for (const common::Parameter* parameter : space.parameters())
      for (const common::Block& block : parameter->blocks)
        results.emplace_back("gradients/" + block.name, parameter->view(parameter->gradient, block));

    std::vector<SafetensorsWriter::Tensor> tensors;
    for (const auto& [name, tensor] : results) tensors.push_back({name, tensor.sizes().vec()});
    SafetensorsWriter writer(arguments.output, tensors, at::kDouble,
                             {{"config", network_json(recipe.model).dump()}});
    for (const auto& [name, tensor] : results) writer.write(tensor.to(at::kDouble));
    writer.finish();
    fmt::print("{}: step {}, loss {:.6f} nats a token over {} tokens\n", arguments.output.string(),
               common::format_count(entry.step), loss.item<double>(), common::format_count(targets.numel()));
    // The limit of `minimax` is part of its definition.
    const at::Tensor limited = model.take_num_limited();
    if (recipe.model.offset == "causal" && limited.defined() && limited.item<int64_t>() > 0)
      fmt::print(
          "{} (token, head) pairs decay beyond what the training form resolves: there the gradients are not "
          "those of the definition, with which the logits agree (docs/numerics.md).\n",
          common::format_count(limited.item<int64_t>()));
  });
}

}  // namespace sisa::launcher
