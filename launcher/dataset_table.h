// A prepared dataset as the user sees it.
#pragma once

#include <filesystem>
#include <string>

namespace sisa::launcher {

// A box with what the manifest says: tokenizer, sources, tokens and documents of each split. Throws Error as
// data::TokenDataset::open does.
std::string dataset_table(const std::filesystem::path& folder);

}  // namespace sisa::launcher
