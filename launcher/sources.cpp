#include "launcher/sources.h"

#include <fmt/format.h>

#include <utility>

#include "common/error.h"
#include "common/hash.h"
#include "common/quantity.h"
#include "data/bigram.h"
#include "data/prepare.h"

namespace sisa::launcher {
namespace {

namespace fs = std::filesystem;
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
  const data::Manifest manifest =
      data::prepare({.inputs = {text}, .output = output, .validation = recipe.data.validation}, *tokenizer);
  int64_t tokens = 0;
  for (const Split split : {Split::train, Split::validation})
    for (const auto& shard : manifest.shards(split)) tokens += shard.info.tokens;
  reporter.say(fmt::format("Prepared {} tokens.", common::format_count(tokens)));
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
        folder.string(), common::format_count(manifest.vocab_size),
        common::format_count(recipe.model.vocab_size), manifest.vocab_size);
}

// Folders of the prepared datasets that a recipe names; raw text is prepared by the root. Collective.
std::vector<fs::path> prepared_folders(const Recipe& recipe, const RunFolder& folder,
                                       const Reporter& reporter, const parallel::World& world) {
  std::vector<fs::path> folders;
  world.together([&] {
    for (const Source& source : recipe.data.sources) {
      if (!fs::exists(source.path))
        throw Error(
            "The source {} does not exist (data.sources, seen from {}). Name a text, or a folder that `sisa "
            "data prepare` made.",
            source.path.string(), fs::current_path().string());
      const bool prepared = fs::is_directory(source.path);
      folders.push_back(prepared ? source.path : prepared_folder(source.path, recipe, folder));
      if (!prepared && world.is_root() && !data::is_dataset(folders.back()))
        prepare_text(source.path, folders.back(), recipe, reporter);
    }
  });
  return folders;
}

}  // namespace

Sources::Sources(const Recipe& recipe, const RunFolder& folder, const Reporter& reporter,
                 const parallel::World& world)
    : folders_(prepared_folders(recipe, folder, reporter, world)) {
  world.together([&] {
    std::vector<data::Loader::Source> training;
    std::vector<data::TokenDataset> held_out;
    std::string fingerprints;
    for (size_t i = 0; i < folders_.size(); ++i) {
      training.push_back(
          {data::TokenDataset::open(folders_[i], Split::train), recipe.data.sources[i].weight});
      held_out.push_back(data::TokenDataset::open(folders_[i], Split::validation));
      check_fits(training.back().dataset.manifest(), folders_[i], recipe);
      training_tokens_ += training.back().dataset.tokens();
      fingerprints += training.back().dataset.fingerprint();
    }
    fingerprint_ = common::hash_hex(common::hash64(fingerprints));
    training_ =
        std::make_unique<data::Loader>(std::move(training), recipe.data.sequence_length, recipe.run.seed);
    held_out_ = std::make_unique<data::HeldOut>(std::move(held_out), recipe.data.sequence_length);
  });
}

double Sources::bigram_loss(int64_t windows) const {
  std::vector<data::TokenDataset> training;
  for (const fs::path& folder : folders_) training.push_back(data::TokenDataset::open(folder, Split::train));
  return data::bigram_loss(training, *held_out_, windows);
}

}  // namespace sisa::launcher
