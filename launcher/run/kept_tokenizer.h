// A run's tokenizer, which the run needs as long as it is used, although its file may be moved or removed.
#pragma once

#include <string>

#include "launcher/recipe/recipe.h"
#include "launcher/run/run_folder.h"

namespace sisa::launcher {

// What data::make_tokenizer is to be given: data.tokenizer of the recipe. If that file is gone, a copy of it:
// the run's own, or else that of a dataset which was prepared for the run or which it reads. "" if the recipe
// names no tokenizer. Throws Error if there is neither the file nor a copy.
std::string tokenizer_of(const Recipe& recipe, const RunFolder& folder);

// Copies the tokenizer's file into the run's folder, unless the same is there.
void keep_tokenizer(const Recipe& recipe, const RunFolder& folder);

}  // namespace sisa::launcher
