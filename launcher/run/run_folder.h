// A run's folder: recipe.yaml, metrics.jsonl, checkpoints/, lock, tokenizer.json unless the tokenizer is
// built in, and, for text that the run prepared itself, data/.
#pragma once

#include <filesystem>

namespace sisa::launcher {

struct RunFolder {
  std::filesystem::path path;
  std::filesystem::path recipe() const { return path / "recipe.yaml"; }
  std::filesystem::path metrics() const { return path / "metrics.jsonl"; }
  std::filesystem::path checkpoints() const { return path / "checkpoints"; }
  std::filesystem::path data() const { return path / "data"; }
  std::filesystem::path tokenizer() const { return path / "tokenizer.json"; }  // a copy; see kept_tokenizer.h
  std::filesystem::path lock() const { return path / "lock"; }  // held by the process that trains
};

}  // namespace sisa::launcher
