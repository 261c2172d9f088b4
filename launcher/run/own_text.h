// A text of the user's own to score (`sisa evaluate RUN --file`), read into memory.
#pragma once

#include <filesystem>

#include "evaluation/scorers/own_text.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/run_folder.h"

namespace sisa::launcher {

// Of text, in any form that `sisa data prepare` reads, each document is encoded with data.tokenizer and
// followed by the end-of-document token, which comes before the first one, too. Token files, and folders of
// `sisa data prepare` with both of their splits, are taken as they are. Writes nothing. Not collective.
// Throws Error if the file cannot be read, holds nothing, has ids that the model lacks, or is text where the
// recipe has no tokenizer.
evaluation::OwnText read_own_text(const std::filesystem::path& path, const Recipe& recipe,
                                  const RunFolder& folder);

}  // namespace sisa::launcher
