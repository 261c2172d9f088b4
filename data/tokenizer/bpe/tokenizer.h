// The tokenizer that a tokenizer.json describes.
#pragma once

#include <filesystem>
#include <memory>

#include "data/tokenizer/tokenizer.h"

namespace sisa::data::bpe {

// Gives the ids that the Python package `tokenizers` gives for add_special_tokens=False, where the file is of
// a kind that read_tokenizer_file reads; else throws Error. What is no UTF-8 is encoded as U+FFFD. Decoding
// gives the text back, normalised if the file says so.
std::unique_ptr<Tokenizer> make_tokenizer(const std::filesystem::path& file);

}  // namespace sisa::data::bpe
