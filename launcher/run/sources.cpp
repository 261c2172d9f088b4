#include "launcher/run/sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/quantity.h"
#include "common/text.h"
#include "data/prepare/prepare.h"
#include "data/tokens/formats/foreign.h"
#include "launcher/run/agreement.h"
#include "launcher/run/kept_tokenizer.h"

namespace sisa::launcher {
namespace {

namespace fs = std::filesystem;
using common::format_count;
using data::Split;

// What the run reads tokens of: one file of a source, or the texts that are held out.
struct RawText {
  fs::path name;
  std::vector<fs::path> files;
  double held_out = 0;  // share
};

// A hash of every byte: the size and the time of a file may stay what they were when its content changes
// (rsync -t, tar, cp -p). XXH3 takes no longer than reading the file does, which is nothing beside tokenising
// it, and less than twice what a start takes to read all ids anyway.
uint64_t content_hash(const std::vector<fs::path>& files) {
  common::Hasher hasher;
  for (const fs::path& path : files) {
    const common::InputFile file(path);
    hasher.update(std::to_string(file.size()) + " ");
    file.for_each_part(0, file.size(), 1 << 20,
                       [&](std::span<const std::byte> part) { hasher.update(part); });
  }
  return hasher.digest();
}

fs::path folder_of(const RawText& text, const std::string& identity, const RunFolder& folder) {
  return folder.data() /
         fmt::format("{}-{}", text.name.stem().string(), common::hash_hex(common::hash64(identity)));
}

// Where the dataset of a run goes that began before contents were hashed; runs go on with it.
fs::path former_folder(const RawText& text, const Recipe& recipe, const RunFolder& folder) {
  const fs::path& file = text.files.front();
  return folder_of(
      text,
      fmt::format("{} {} {} {} {}", fs::absolute(file).string(), fs::file_size(file),
                  fs::last_write_time(file).time_since_epoch().count(), recipe.data.tokenizer, text.held_out),
      folder);
}

// The dataset of a raw text, which is prepared if it is not there. Its name changes with all that its tokens
// depend on, so that an edited text is prepared anew. By the root.
fs::path prepared(const RawText& text, const Recipe& recipe, const RunFolder& folder,
                  const Reporter& reporter) {
  if (const fs::path former = former_folder(text, recipe, folder); data::is_dataset(former)) return former;
  const fs::path output = folder_of(text,
                                    fmt::format("{} {} {}", common::hash_hex(content_hash(text.files)),
                                                recipe.data.tokenizer, text.held_out),
                                    folder);
  if (data::is_dataset(output)) return output;
  reporter.say(fmt::format("Preparing {} as {} …", text.name.string(), output.string()));
  const std::string name = tokenizer_of(recipe, folder);
  const auto tokenizer = data::make_tokenizer(name);
  const data::Manifest manifest = data::prepare(
      {.inputs = text.files, .output = output, .validation = text.held_out, .tokenizer_name = name},
      *tokenizer);
  int64_t tokens = 0;
  for (const Split split : {Split::train, Split::validation})
    for (const auto& shard : manifest.shards(split)) tokens += shard.info.tokens;
  reporter.say(fmt::format("Prepared {} tokens.", format_count(tokens)));
  return output;
}

void check_fits(const data::Manifest& manifest, const fs::path& folder, const Recipe& recipe,
                const RunFolder& run) {
  const auto tokenizer = data::make_tokenizer(tokenizer_of(recipe, run));
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

// Former versions cut held-out documents off.
void say_what_is_lost(const data::TokenDataset& train, const Reporter& reporter) {
  const int64_t lost = train.manifest().cut_tokens;
  if (static_cast<double>(lost) > 0.02 * static_cast<double>(train.tokens() + lost))
    reporter.say(
        fmt::format("Note: {} tokens of {}, beside {} to train on, are in neither split: a former version "
                    "cut them off from "
                    "held-out documents. Prepared anew, none are lost.",
                    format_count(lost), train.path().string(), format_count(train.tokens())));
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

// Refuses a path of which nothing can be read now and in a later run. `key`: what names it.
void check_path(const fs::path& path, const std::string& key) {
  if (!fs::exists(path))
    throw Error(
        "The source {} does not exist ({}, seen from {}). Name a text, a folder that `sisa data prepare` "
        "made, "
        "or token files of another program.",
        path.string(), key, fs::current_path().string());
  const auto kind = common::special_kind(path);
  if (!kind.empty() && !fs::is_directory(path))
    throw Error(
        "The source {} is {} ({}), which cannot be read again in a later run. Name a file, or make a dataset "
        "of "
        "it with `sisa data prepare {} --output FOLDER`.",
        path.string(), kind, key, path.string());
}

bool is_folder_of_texts(const fs::path& path) {
  if (!fs::is_directory(path) || data::is_dataset(path)) return false;
  std::error_code unreadable;  // which is said when it is opened
  return std::none_of(fs::directory_iterator(path, unreadable), fs::directory_iterator(),
                      [](const auto& entry) {
                        return entry.path().extension() == ".bin" || entry.path().extension() == ".idx";
                      });
}

// Where the tokens lie of each of a recipe's sources, and then of the held-out text or tokens of its own; ""
// for a task, and where there are none. Raw text is prepared by the root, which alone reads it. Collective.
std::vector<fs::path> token_paths(const Recipe& recipe, const RunFolder& folder, const Reporter& reporter,
                                  const parallel::World& world) {
  std::string found;  // the root's, each with a NUL behind it
  world.together([&] {
    if (recipe.data.sources.empty())  // as in a run that was imported without any
      throw Error(
          "The recipe has no data.sources. Say what to read, such as --set 'data.sources=[{path: DATA}]' "
          "with a "
          "text or a folder that `sisa data prepare` made.");
    const auto add = [&](const fs::path& path, const std::string& key, bool folder_of_texts,
                         double held_out) {
      const bool tokens = !folder_of_texts && data::names_tokens(path);
      if (!tokens) check_path(path, key);
      if (!world.is_root()) return;
      found += tokens ? path.string()
                      : prepared({path, data::texts_in(path), held_out}, recipe, folder, reporter).string();
      found += '\0';
    };
    const HeldOutText& held_out = recipe.data.validation;
    for (const Source& source : recipe.data.sources)
      if (source.is_task())
        found += '\0';
      else
        add(source.path, "data.sources", false, held_out.share);
    if (!held_out.path.empty())
      add(held_out.path, "data.validation", is_folder_of_texts(held_out.path), 0);
    else
      found += '\0';
  });
  world.broadcast(found);
  std::vector<fs::path> paths;
  for (const std::string& path : common::split(found, '\0')) paths.emplace_back(path);
  paths.resize(recipe.data.sources.size() + 1);
  return paths;
}

}  // namespace

Sources::Sources(const Recipe& recipe, const RunFolder& folder, const Reporter& reporter,
                 const parallel::World& world)
    : sources_(recipe.data.sources),
      paths_(token_paths(recipe, folder, reporter, world)),
      options_{.vocab_size = recipe.model.vocab_size, .validation = recipe.data.validation.share} {
  const fs::path own_held_out = paths_.back();
  paths_.pop_back();
  Facts facts;  // what all ranks must have read alike
  world.together([&] {
    std::vector<data::Loader::Source> training;
    std::vector<data::TokenDataset> held_out;
    std::vector<data::TaskSamples> held_out_tasks;
    std::string fingerprints;
    const auto open_checked = [&](const fs::path& path, Split split) {
      data::TokenDataset dataset = open(path, split);
      if (dataset.has_manifest() && split == Split::train) {  // the manifest is that of both splits
        check_fits(dataset.manifest(), path, recipe, folder);
        say_what_is_lost(dataset, reporter);
      }
      check_ids(dataset, world);
      facts.push_back({fmt::format("the fingerprint of {}, {} tokens,", path.string(),
                                   split == Split::train ? "training" : "held-out"),
                       dataset.fingerprint()});
      return dataset;
    };
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
      data::TokenDataset dataset = open_checked(paths_[i], Split::train);
      training_tokens_ += dataset.tokens();
      fingerprints += dataset.fingerprint();
      training.push_back({std::move(dataset), source.weight});
      if (own_held_out.empty()) held_out.push_back(open_checked(paths_[i], Split::validation));
    }
    if (!own_held_out.empty())
      for (const Split split : {Split::train, Split::validation})
        held_out.push_back(open_checked(own_held_out, split));
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
