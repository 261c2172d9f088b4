// Text into a dataset.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/document_reader.h"
#include "data/tokenizer.h"

namespace sisa::data {

struct PrepareOptions {
  std::vector<std::filesystem::path> inputs;  // see read_documents; together they are one source
  std::filesystem::path output;               // a folder that holds no dataset yet
  double validation = 0.01;                   // share held out, 0 to 0.5; 0: none
  OnError on_error = OnError::stop;
  int64_t shard_tokens = 500'000'000;  // a token file is closed once it holds as many
};

struct PrepareProgress {
  int64_t documents = 0, text_bytes = 0, tokens = 0;  // written
  Skipped skipped;
};

// Held-out text is never trained on: a document goes to the validation split if the hash of its text falls
// under the share, so that its split depends on nothing else. A source of under 200 documents instead holds
// out its last share, by bytes, cut between characters. Each document ends with the end-of-document token.
// Equal input gives equal files. The manifest is written last. `report` is called as documents are written
// and at the end. Throws Error if there is no text, if a split comes out empty, or if `output` already holds
// a dataset or cannot be written.
Manifest prepare(const PrepareOptions& options, const Tokenizer& tokenizer,
                 const std::function<void(const PrepareProgress&)>& report = {});

}  // namespace sisa::data
