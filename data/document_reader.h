// Documents out of files of text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace sisa::data {

enum class OnError { stop, skip };

// Documents that could not be read.
struct Skipped {
  int64_t documents = 0;
  std::string first;  // what was wrong with the first: file, line and reason
};

// Hands each document of `path` to `each`, in order. By the ending of its name a file is
//   .jsonl  a document a line: an object whose field `text` is a string
//   other   one document
// after .gz or .zst is taken off and undone. "-" is standard input: lines of JSON if its first character that
// is no white space is '{', else one document. Lines of JSON are read one at a time; a file that is one
// document is held in memory. All text is valid UTF-8. Empty documents are passed over. Throws Error if a
// file is missing or cannot be decompressed, and on a document that is no such object or no UTF-8 unless
// `on_error` says to skip it.
void read_documents(const std::filesystem::path& path, OnError on_error, Skipped& skipped,
                    const std::function<void(std::string_view)>& each);

}  // namespace sisa::data
