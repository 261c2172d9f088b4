#include "data/dataset.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <system_error>

#include "common/error.h"
#include "common/hash.h"

namespace sisa::data {

TokenDataset TokenDataset::open(const std::filesystem::path& folder, Split split) {
  TokenDataset dataset;
  dataset.folder_ = folder;
  dataset.split_ = split;
  dataset.manifest_ = read_manifest(folder);
  for (const Manifest::Shard& shard : dataset.manifest_.shards(split)) {
    const std::filesystem::path path = folder / shard.file;
    std::error_code unreachable;
    if (!std::filesystem::exists(path, unreachable))
      throw Error("{} is missing, but the manifest beside it lists it. Prepare the data again.",
                  path.string());
    const TokenFile& file = dataset.files_.emplace_back(path);
    if (file.info() != shard.info)
      throw Error(
          "{} is not the file that the manifest beside it lists: vocabulary, counts or checksum differ. "
          "Prepare the data again.",
          path.string());
    dataset.starts_.push_back(dataset.starts_.back() + shard.info.tokens);
  }
  return dataset;
}

int64_t TokenDataset::documents() const {
  int64_t sum = 0;
  for (const auto& shard : manifest_.shards(split_)) sum += shard.info.documents;
  return sum;
}

int64_t TokenDataset::text_bytes() const {
  int64_t sum = 0;
  for (const auto& shard : manifest_.shards(split_)) sum += shard.info.text_bytes;
  return sum;
}

std::string TokenDataset::fingerprint() const {
  std::string checksums = manifest_.tokenizer;
  for (const auto& shard : manifest_.shards(split_))
    checksums.append(" ").append(common::hash_hex(shard.info.checksum));
  return common::hash_hex(common::hash64(checksums));
}

void TokenDataset::read(int64_t first, std::span<int64_t> out) const {
  TORCH_INTERNAL_ASSERT(first >= 0 && static_cast<int64_t>(out.size()) <= tokens() - first);
  auto i = static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), first) - starts_.begin()) - 1;
  for (; !out.empty(); ++i) {
    const auto part = out.first(std::min(out.size(), static_cast<size_t>(starts_[i + 1] - first)));
    files_[i].read(first - starts_[i], part);
    first += static_cast<int64_t>(part.size());
    out = out.subspan(part.size());
  }
}

void TokenDataset::verify() const {
  for (const TokenFile& file : files_) file.verify();
}

}  // namespace sisa::data
