#include "data/prepare.h"

#include <fmt/format.h>

#include <cmath>
#include <optional>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "common/hash.h"
#include "common/quantity.h"
#include "data/utf8.h"

namespace sisa::data {
namespace {

constexpr size_t few_documents = 200;  // with fewer, hashing would hold out too uneven a share

// The token files of one split, each closed when it is full.
class SplitWriter {
 public:
  SplitWriter(const PrepareOptions& options, const Tokenizer& tokenizer, Split split)
      : options_(options), tokenizer_(tokenizer), split_(split) {}

  void add(std::string_view text, PrepareProgress& progress) {
    ids_.clear();
    tokenizer_.encode(text, ids_);
    ids_.push_back(tokenizer_.end_of_document());
    if (!writer_) {
      file_ = fmt::format("{}-{:05}.bin", split_name(split_), shards_.size());
      writer_.emplace(options_.output / file_, tokenizer_.vocab_size());
    }
    writer_->append(ids_);
    writer_->count(1, static_cast<int64_t>(text.size()));
    if (writer_->info().tokens >= options_.shard_tokens) close();
    progress.documents += 1;
    progress.text_bytes += static_cast<int64_t>(text.size());
    progress.tokens += static_cast<int64_t>(ids_.size());
  }

  bool empty() const { return shards_.empty() && !writer_; }
  std::vector<Manifest::Shard> finish() {
    close();
    return shards_;
  }

 private:
  void close() {
    if (!writer_) return;
    shards_.push_back({file_, writer_->finish()});
    writer_.reset();
  }
  const PrepareOptions& options_;
  const Tokenizer& tokenizer_;
  Split split_;
  std::string file_;
  std::optional<TokenFileWriter> writer_;
  std::vector<uint32_t> ids_;
  std::vector<Manifest::Shard> shards_;
};

bool held_out_by_hash(std::string_view text, double share) {
  return static_cast<double>(common::hash64(text)) < share * 0x1p64;
}

// The last `share` of the bytes of all documents together is held out; the document in which the cut falls is
// divided.
void split_by_position(const std::vector<std::string>& documents, double share, SplitWriter& train,
                       SplitWriter& validation, PrepareProgress& progress) {
  size_t total = 0;
  for (const std::string& text : documents) total += text.size();
  auto left =
      static_cast<size_t>(std::floor(static_cast<double>(total) * (1 - share)));  // bytes still to train on
  for (const std::string& text : documents) {
    const size_t cut = left >= text.size() ? text.size() : character_start(text, left);
    if (cut > 0) train.add(std::string_view(text).substr(0, cut), progress);
    if (cut < text.size()) validation.add(std::string_view(text).substr(cut), progress);
    left = cut < text.size() ? 0 : left - text.size();
  }
}

void check(const PrepareOptions& o) {
  if (!(o.validation >= 0 && o.validation <= 0.5))
    throw Error("The held-out share is {}; it must be from 0 to 0.5.", o.validation);
  if (o.shard_tokens < 1) throw Error("A token file must hold at least 1 token, not {}.", o.shard_tokens);
  if (is_dataset(o.output))
    throw Error("{} already holds a dataset. Choose another folder, or remove this one first.",
                o.output.string());
  for (const auto& input : o.inputs)
    if (std::error_code code; input != "-" && !std::filesystem::exists(input, code))
      throw Error("Cannot read {}: {}.", input.string(), code ? code.message() : "no such file");
}

void check_not_empty(const PrepareOptions& o, const PrepareProgress& progress, bool train, bool validation) {
  std::string names = o.inputs.empty()          ? "no file"
                      : o.inputs.front() == "-" ? "standard input"
                                                : o.inputs.front().string();
  if (o.inputs.size() > 1) names += fmt::format(" and {} more", o.inputs.size() - 1);
  if (progress.documents == 0)
    throw Error("There is no text in {}{}.", names,
                progress.skipped.documents == 0
                    ? ""
                    : fmt::format(": {} documents were skipped; the first: {}",
                                  common::format_count(progress.skipped.documents), progress.skipped.first));
  if (!train || (o.validation > 0 && !validation))
    throw Error(
        "Nothing of {} is left {}: {} bytes in {} documents are too few for a held-out share of {}. Bring "
        "more text or choose another share (--validation, or data.validation of a recipe).",
        names, train ? "to hold out" : "to train on", common::format_count(progress.text_bytes),
        common::format_count(progress.documents), o.validation);
}

}  // namespace

Manifest prepare(const PrepareOptions& options, const Tokenizer& tokenizer,
                 const std::function<void(const PrepareProgress&)>& report) {
  check(options);
  common::create_directories(options.output);
  SplitWriter train(options, tokenizer, Split::train), validation(options, tokenizer, Split::validation);
  PrepareProgress progress;
  std::vector<std::string> first;  // kept until it is clear whether there are few
  bool few = true;
  const auto add_by_hash = [&](std::string_view text) {
    (held_out_by_hash(text, options.validation) ? validation : train).add(text, progress);
    if (report) report(progress);
  };
  for (const auto& input : options.inputs)
    read_documents(input, options.on_error, progress.skipped, [&](std::string_view text) {
      if (!few) return add_by_hash(text);
      first.emplace_back(text);
      if (first.size() < few_documents) return;
      few = false;
      for (const std::string& early : std::exchange(first, {})) add_by_hash(early);
    });
  if (few) split_by_position(first, options.validation, train, validation, progress);
  if (report) report(progress);
  check_not_empty(options, progress, !train.empty(), !validation.empty());

  Manifest manifest;
  manifest.tokenizer = tokenizer.fingerprint();
  manifest.vocab_size = tokenizer.vocab_size();
  manifest.end_of_document = tokenizer.end_of_document();
  manifest.validation = options.validation;
  manifest.skipped_documents = progress.skipped.documents;
  for (const auto& input : options.inputs) manifest.sources.push_back(input.filename().string());
  manifest.train = train.finish();
  manifest.validation_shards = validation.finish();
  write_manifest(options.output, manifest);
  return manifest;
}

}  // namespace sisa::data
