// Reads a golden file: float64 vectors made from the defining equations (see docs/systems.md for what they
// hold).
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "model/config.h"

namespace sisa::tests {

class GoldenFile {
 public:
  explicit GoldenFile(const std::filesystem::path& path);
  GoldenFile(const GoldenFile&) = delete;
  GoldenFile& operator=(const GoldenFile&) = delete;
  ~GoldenFile();

  std::string system() const;
  model::ModelConfig config() const;  // of a system that the model knows
  bool has(const std::string& name) const;
  at::Tensor tensor(const std::string& name) const;                // float64; integers as int64
  std::vector<std::string> names(const std::string& group) const;  // of the datasets in a group
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  int64_t file_;
  std::string config_;  // JSON
};

// All golden files: of $SISA_GOLDEN_DIR, else those in the checkout.
std::vector<std::filesystem::path> golden_files();

}  // namespace sisa::tests
