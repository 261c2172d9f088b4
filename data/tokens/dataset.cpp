#include "data/tokens/dataset.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstddef>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "common/hash.h"
#include "data/tokens/formats/foreign.h"
#include "data/tokens/token_file.h"

namespace sisa::data {
namespace {

// Opens a file that the manifest beside it lists.
TokenArray open_shard(const std::filesystem::path& folder, const Manifest::Shard& shard) {
  const std::filesystem::path path = folder / shard.file;
  std::error_code unreachable;
  if (!std::filesystem::exists(path, unreachable))
    throw Error("{} is missing, but the manifest beside it lists it. Prepare the data again.", path.string());
  TokenFile file(path);
  if (file.info() != shard.info)
    throw Error(
        "{} is not the file that the manifest beside it lists: vocabulary, counts or checksum differ. "
        "Prepare the data again.",
        path.string());
  return std::move(file).ids();
}

// A hash for a file without a checksum: of its length and of 64 pages at equal distances, including the first
// and the last. A change elsewhere goes unnoticed, but reading everything would delay every start.
uint64_t sampled_hash(const TokenArray& file) {
  constexpr int64_t samples = 64, page = 4096;
  const int64_t size = file.num_bytes();
  common::Hasher hasher;
  hasher.update(std::to_string(size));
  std::vector<std::byte> bytes(static_cast<size_t>(std::min(size, samples * page)));
  const auto add = [&](int64_t begin, std::span<std::byte> part) {
    file.read_bytes(begin, part);
    hasher.update(std::span<const std::byte>(part));
  };
  if (size <= samples * page) {
    add(0, bytes);
  } else {
    const auto part = std::span(bytes).first(page);
    const int64_t step = (size - page) / (samples - 1);
    for (int64_t i = 0; i + 1 < samples; ++i) add(i * step, part);
    add(size - page, part);
  }
  return hasher.digest();
}

}  // namespace

TokenDataset TokenDataset::open(const std::filesystem::path& path, Split split,
                                const ForeignOptions& options) {
  TokenDataset dataset;
  dataset.path_ = path;
  dataset.split_ = split;
  if (is_dataset(path)) {
    const Manifest& manifest = dataset.manifest_.emplace(read_manifest(path));
    dataset.kind_ = "sisa data prepare";
    dataset.vocab_size_ = manifest.vocab_size;
    dataset.delimiter_ = manifest.end_of_document;
    for (const Manifest::Shard& shard : manifest.shards(split)) dataset.add(open_shard(path, shard));
  } else {
    ForeignTokens foreign = open_foreign(path, split, options.validation);
    dataset.kind_ = foreign.kind;
    dataset.remark_ = foreign.remark;
    dataset.vocab_size_ = options.vocab_size;
    dataset.delimiter_ = foreign.delimiter;
    dataset.documents_ = foreign.documents;
    for (TokenArray& file : foreign.files) dataset.add(std::move(file));
  }
  return dataset;
}

void TokenDataset::add(TokenArray file) {
  starts_.push_back(starts_.back() + file.size());
  files_.push_back(std::move(file));
}

int64_t TokenDataset::documents() const {
  if (!manifest_) return documents_;
  int64_t sum = 0;
  for (const auto& shard : manifest_->shards(split_)) sum += shard.info.documents;
  return sum;
}

int64_t TokenDataset::text_bytes() const {
  if (!manifest_) return 0;
  int64_t sum = 0;
  for (const auto& shard : manifest_->shards(split_)) sum += shard.info.text_bytes;
  return sum;
}

const Manifest& TokenDataset::manifest() const {
  TORCH_INTERNAL_ASSERT(manifest_);
  return *manifest_;
}

std::string TokenDataset::fingerprint() const {
  std::string identity = manifest_ ? manifest_->tokenizer : kind_;
  if (manifest_)
    for (const auto& shard : manifest_->shards(split_))
      identity.append(" ").append(common::hash_hex(shard.info.checksum));
  else
    for (const TokenArray& file : files_) identity.append(" ").append(common::hash_hex(sampled_hash(file)));
  return common::hash_hex(common::hash64(identity));
}

// Calls use(file, first token in the file, count) for each file's part of the tokens [first, first + count).
template <typename Use>
void TokenDataset::for_each_part(int64_t first, int64_t count, const Use& use) const {
  TORCH_INTERNAL_ASSERT(first >= 0 && count >= 0 && count <= tokens() - first);
  auto i = static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), first) - starts_.begin()) - 1;
  for (; count > 0; ++i) {
    const int64_t part = std::min(count, starts_[i + 1] - first);
    use(files_[i], first - starts_[i], part);
    first += part;
    count -= part;
  }
}

void TokenDataset::read(int64_t first, std::span<int64_t> out) const {
  for_each_part(first, static_cast<int64_t>(out.size()),
                [&](const TokenArray& file, int64_t begin, int64_t count) {
                  file.read(begin, out.first(static_cast<size_t>(count)), vocab_size_);
                  out = out.subspan(static_cast<size_t>(count));
                });
}

int64_t TokenDataset::largest_id(int64_t first, int64_t count) const {
  int64_t largest = -1;
  for_each_part(first, count, [&](const TokenArray& file, int64_t begin, int64_t part) {
    largest = std::max(largest, file.largest(begin, part, vocab_size_));
  });
  return largest;
}

void TokenDataset::verify() const {
  const auto& shards = manifest().shards(split_);
  for (size_t i = 0; i < files_.size(); ++i) data::verify(files_[i], shards[i].info);
}

int64_t TokenDataset::count(int64_t id) const {
  int64_t sum = 0;
  for (const TokenArray& file : files_) sum += file.count(id);
  return sum;
}

std::vector<int64_t> TokenDataset::tally(int64_t size) const {
  std::vector<int64_t> counts(static_cast<size_t>(size));
  for (const TokenArray& file : files_) file.tally(counts);
  return counts;
}

}  // namespace sisa::data
