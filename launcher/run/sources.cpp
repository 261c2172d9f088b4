#include "launcher/run/sources.h"

#include <fmt/format.h>

#include <utility>

#include "common/error.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/quantity.h"
#include "data/prepare/prepare.h"
#include "data/tokens/formats/foreign.h"
#include "launcher/run/agreement.h"

namespace sisa::launcher {
namespace {

namespace fs = std::filesystem;
using common::format_count;
using data::Split;

// Where a raw text's dataset goes: the name changes with all that its tokens depend on, so that an edited
// text is prepared anew.
fs::path prepared_folder(const fs::path& text, const Recipe& recipe, const RunFolder& folder) {
  const std::string identity = fmt::format("{} {} {} {} {}", fs::absolute(text).string(), fs::file_size(text),
                                           fs::last_write_time(text).time_since_epoch().count(),
                                           recipe.data.tokenizer, recipe.data.validation);
  return folder.data() /
         fmt::format("{}-{}", text.stem().string(), common::hash_hex(common::hash64(identity)));
}

void prepare_text(const fs::path& text, const fs::path& output, const Recipe& recipe,
                  const Reporter& reporter) {
  reporter.say(fmt::format("Preparing {} as {} …", text.string(), output.string()));
  const auto tokenizer = data::make_tokenizer(recipe.data.tokenizer);
  const data::Manifest manifest = data::prepare({.inputs = {text},
                                                 .output = output,
                                                 .validation = recipe.data.validation,
                                                 .tokenizer_name = recipe.data.tokenizer},
                                                *tokenizer);
  int64_t tokens = 0;
  for (const Split split : {Split::train, Split::validation})
    for (const auto& shard : manifest.shards(split)) tokens += shard.info.tokens;
  reporter.say(fmt::format("Prepared {} tokens.", format_count(tokens)));
}

void check_fits(const data::Manifest& manifest, const fs::path& folder, const Recipe& recipe) {
  const auto tokenizer = data::make_tokenizer(recipe.data.tokenizer);
  if (manifest.tokenizer != tokenizer->fingerprint())
    throw Error(
        "The dataset {} was made with the tokenizer {}, but the recipe says data.tokenizer: {}. Name that "
        "tokenizer, or prepare "
        "the text again.",
        folder.string(), manifest.tokenizer, recipe.data.tokenizer);
  if (manifest.vocab_size > recipe.model.vocab_size)
    throw Error(
        "The dataset {} has a vocabulary of {} tokens, but model.vocab_size is {}. Set it to at least {}.",
        folder.string(), format_count(manifest.vocab_size), format_count(recipe.model.vocab_size),
        manifest.vocab_size);
}

// Reads this rank's share of a dataset's ids, so that a wrong one is found before training starts and not in
// the middle of it.
void check_ids(const data::TokenDataset& dataset, const parallel::World& world) {
  const auto [begin, end] = world.share(dataset.tokens());
  try {
    dataset.largest_id(begin, end - begin);
  } catch (const Error& error) {
    if (dataset.has_manifest()) throw;
    throw Error("{} The bound is model.vocab_size: raise it if the ids are right.", error.what());
  }
}

// Where the tokens of a recipe's sources lie, "" for a task; raw text is prepared by the root. Collective.
std::vector<fs::path> token_paths(const Recipe& recipe, const RunFolder& folder, const Reporter& reporter,
                                  const parallel::World& world) {
  std::vector<fs::path> paths;
  world.together([&] {
    if (recipe.data.sources.empty())  // as in a run that was imported without any
      throw Error(
          "The recipe has no data.sources. Say what to read, such as --set 'data.sources=[{path: DATA}]' "
          "with a "
          "text or a folder that `sisa data prepare` made.");
    for (const Source& source : recipe.data.sources) {
      if (source.is_task()) {
        paths.emplace_back();
        continue;
      }
      const bool tokens = data::names_tokens(source.path);
      if (!tokens && !fs::exists(source.path))
        throw Error(
            "The source {} does not exist (data.sources, seen from {}). Name a text, a folder that `sisa "
            "data prepare` made, or token files of another program.",
            source.path.string(), fs::current_path().string());
      if (const auto kind = common::special_kind(source.path); !tokens && !kind.empty())
        throw Error(
            "The source {} is {} (data.sources), which cannot be read again in a later run. Name a file, or "
            "make "
            "a dataset of it with `sisa data prepare {} --output FOLDER`.",
            source.path.string(), kind, source.path.string());
      paths.push_back(tokens ? source.path : prepared_folder(source.path, recipe, folder));
      if (!tokens && world.is_root() && !data::is_dataset(paths.back()))
        prepare_text(source.path, paths.back(), recipe, reporter);
    }
  });
  return paths;
}

}  // namespace

Sources::Sources(const Recipe& recipe, const RunFolder& folder, const Reporter& reporter,
                 const parallel::World& world)
    : sources_(recipe.data.sources),
      paths_(token_paths(recipe, folder, reporter, world)),
      options_{.vocab_size = recipe.model.vocab_size, .validation = recipe.data.validation} {
  Facts facts;  // what all ranks must have read alike
  world.together([&] {
    std::vector<data::Loader::Source> training;
    std::vector<data::TokenDataset> held_out;
    std::vector<data::TaskSamples> held_out_tasks;
    std::string fingerprints;
    for (size_t i = 0; i < sources_.size(); ++i) {
      const Source& source = sources_[i];
      if (source.is_task()) {
        const auto samples = [&](Split split) {
          return data::TaskSamples(source.task, recipe.task_shape(), recipe.run.seed, split);
        };
        training.push_back({samples(Split::train), source.weight});
        held_out_tasks.push_back(samples(Split::validation));
        fingerprints += held_out_tasks.back().description();
        continue;
      }
      data::TokenDataset dataset = open(paths_[i], Split::train);
      if (dataset.has_manifest()) check_fits(dataset.manifest(), paths_[i], recipe);
      held_out.push_back(open(paths_[i], Split::validation));
      check_ids(dataset, world);
      check_ids(held_out.back(), world);
      training_tokens_ += dataset.tokens();
      fingerprints += dataset.fingerprint();
      const std::string name = "the fingerprint of " + paths_[i].string();
      facts.push_back({name + ", training tokens,", dataset.fingerprint()});
      facts.push_back({name + ", held-out tokens,", held_out.back().fingerprint()});
      training.push_back({std::move(dataset), source.weight});
    }
    fingerprint_ = common::hash_hex(common::hash64(fingerprints));
    training_ =
        std::make_unique<data::Loader>(std::move(training), recipe.data.sequence_length, recipe.run.seed);
    held_out_ = std::make_unique<data::HeldOut>(std::move(held_out), recipe.data.sequence_length,
                                                std::move(held_out_tasks));
  });
  require_agreement(world, facts, "All ranks read the same data: copy the same files to every host.");
}

data::TokenDataset Sources::open(const fs::path& path, Split split) const {
  return data::TokenDataset::open(path, split, options_);
}

Rows Sources::rows(int64_t num_samples) const {
  double all = 0, text = 0;  // weights
  for (const Source& source : sources_) {
    all += source.weight;
    if (!source.is_task()) text += source.weight;
  }
  const auto epochs = [&](double weight, int64_t samples) {
    return fmt::format("{:.2f} epochs",
                       static_cast<double>(num_samples) * weight / all / static_cast<double>(samples));
  };
  Rows rows;
  if (text > 0)
    rows.emplace_back(
        "data",
        fmt::format("{} training tokens, {}; {} held-out windows", format_count(training_tokens_),
                    epochs(text, training_->samples_per_epoch()), format_count(held_out_->num_windows())));
  for (const Source& source : sources_) {
    if (!source.is_task()) continue;
    const auto& task = source.task;
    const std::string samples = task.samples == 0 ? "no sample twice"
                                                  : fmt::format("{} samples, {}", format_count(task.samples),
                                                                epochs(source.weight, task.samples));
    rows.emplace_back(
        "task", fmt::format("{}, {}; {} held-out samples", task.name, samples, format_count(task.held_out)));
  }
  return rows;
}

std::vector<data::TokenDataset> Sources::open_training_text() const {
  std::vector<data::TokenDataset> datasets;
  for (const fs::path& path : paths_)
    if (!path.empty()) datasets.push_back(open(path, Split::train));
  return datasets;
}

}  // namespace sisa::launcher
