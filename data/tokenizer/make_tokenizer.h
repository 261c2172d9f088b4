// Makes the tokenizer that a recipe or a command names.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "data/tokenizer/tokenizer.h"

namespace sisa::data {

// The name `bytes` stands for the tokenizer whose ids 0 to 255 are bytes and whose id 256 ends a document.
// Any other name is the path of a tokenizer.json (see data/tokenizer/bpe/tokenizer_file.h) or of a folder
// that contains one. Throws Error if it cannot be read.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name);
// The tokenizer.json that a name stands for; "" for `bytes`. Throws Error if there is no such file.
std::filesystem::path tokenizer_file(const std::string& name);

}  // namespace sisa::data
