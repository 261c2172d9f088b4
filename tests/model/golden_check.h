// One golden file against the model: shared by the CPU and the GPU tests.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "common/precision.h"
#include "tests/model/bound_model.h"
#include "tests/model/golden_file.h"

namespace sisa::tests {

// Whether the model has this system; $SISA_GOLDEN_DIR may hold files of others.
bool known(const std::string& system);

// A golden file as a case: inputs, parameters and what must come out, fp64 on the CPU.
struct GoldenCase {
  explicit GoldenCase(const GoldenFile& file);
  std::string name;
  model::ModelConfig config;
  at::Tensor tokens, targets;  // (B, T)
  at::Tensor logits, loss;
  std::vector<at::Tensor> hidden;
  std::map<std::string, at::Tensor> parameters, gradients;
};

// Logits, loss, hidden states and gradients through the code that trains: within 1e-9 of a tensor's largest
// value in fp64, 2e-5 in fp32, 2e-2 in bf16. But in bf16 a gradient is compared with that of PlainModel in
// bf16 and may have 1.5 times its error.
void check_golden(const GoldenCase& golden, common::Precision precision, int64_t pad_to,
                  const at::Device& device);

}  // namespace sisa::tests
