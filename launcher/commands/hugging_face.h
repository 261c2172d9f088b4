// What stands beside the weights in a folder that Hugging Face's `transformers` loads.
#pragma once

#include <c10/core/ScalarType.h>

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "launcher/recipe/recipe.h"
#include "model/config.h"

namespace sisa::launcher {

// scripts/hf/modeling_sisa.py, as it was when this program was built.
extern const char* const modeling_file;

// The keys of a recipe's `model:` section that decide what is computed.
nlohmann::ordered_json network_json(const model::ModelConfig& config);

// Writes config.json, generation_config.json, modeling_sisa.py and the tokenizer's files: tokenizer.json,
// which gives the ids that training saw, and tokenizer_config.json. `tokenizer` as in data.tokenizer; "":
// none is written. `type` is that of the weights. Throws Error if the tokenizer cannot be read or has more
// ids than the model.
void write_hugging_face_files(const std::filesystem::path& folder, const Recipe& recipe,
                              const std::string& tokenizer, c10::ScalarType type);

}  // namespace sisa::launcher
