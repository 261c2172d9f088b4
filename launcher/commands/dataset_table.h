// A dataset as the user sees it.
#pragma once

#include <filesystem>
#include <string>

#include "data/tokens/dataset.h"

namespace sisa::launcher {

// A box with what the files say: kind, tokenizer, sources, tokens and documents of each split. Throws Error
// as data::TokenDataset::open does.
std::string dataset_table(const std::filesystem::path& path);
std::string dataset_table(const data::TokenDataset& train, const data::TokenDataset& validation);

}  // namespace sisa::launcher
