// The tokenizer that a name stands for.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "data/tokenizer/tokenizer.h"

namespace sisa::data {

// `bytes`: ids 0 to 255 are bytes, 256 ends a document. Anything else names a tokenizer.json, see
// data/tokenizer/bpe/tokenizer_file.h, or a folder that holds one. Throws Error if it cannot be read.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name);
// The file that the name stands for; "" for `bytes`.
std::filesystem::path tokenizer_file(const std::string& name);

}  // namespace sisa::data
