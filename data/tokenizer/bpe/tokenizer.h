// A tokenizer that is described by a tokenizer.json.
#pragma once

#include <filesystem>
#include <memory>

#include "data/tokenizer/tokenizer.h"

namespace sisa::data::bpe {

// Gives the ids that the Python package `tokenizers` gives with add_special_tokens=False. Throws Error if the
// file is not of a kind that read_tokenizer_file reads. Bytes that are not UTF-8 are encoded as U+FFFD.
// Decoding gives the text back, normalised if the file says so.
std::unique_ptr<Tokenizer> make_tokenizer(const std::filesystem::path& file);

}  // namespace sisa::data::bpe
