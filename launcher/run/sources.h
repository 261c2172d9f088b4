// The data that a recipe names, opened.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/loader.h"
#include "data/tokenizer/make_tokenizer.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/reporter.h"
#include "launcher/run/run_folder.h"
#include "parallel/world.h"

namespace sisa::launcher {

class Sources {
 public:
  // Collective. A source that is raw text, and held-out text of data.validation, is prepared first, by rank
  // 0, into the run's folder, once for each content: with data.tokenizer and data.validation. Every id of
  // every source is read once, by the ranks together. Throws Error if a source is missing, is damaged, was
  // made with another tokenizer, has ids that the model lacks or is shorter than a sequence, and if two ranks
  // read files that differ (their fingerprints are compared).
  Sources(const Recipe& recipe, const RunFolder& folder, const Reporter& reporter,
          const parallel::World& world);

  const data::Loader& training() const { return *training_; }
  const data::HeldOut& held_out() const { return *held_out_; }
  // What a run of so many samples reads: a row for all text, one for each task.
  Rows rows(int64_t num_samples) const;
  // Opens the training split of each source that is text anew. Not collective.
  std::vector<data::TokenDataset> open_training_text() const;
  // Stands for what all sources train on: a resumed run compares it.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  data::TokenDataset open(const std::filesystem::path& path, data::Split split) const;

  std::vector<Source> sources_;               // as the recipe has them
  std::vector<std::filesystem::path> paths_;  // of the tokens of each; "": a task
  data::ForeignOptions options_;
  std::unique_ptr<data::Loader> training_;
  std::unique_ptr<data::HeldOut> held_out_;
  int64_t training_tokens_ = 0;
  std::string fingerprint_;
};

}  // namespace sisa::launcher
