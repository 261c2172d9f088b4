// Documents out of files of text.
//
// By the ending of its name a file is
//   .jsonl  a document a line: an object whose field `text` is a string
//   other   one document
// after .gz or .zst is taken off and undone. Standard input and pipes are lines of JSON if their first
// character that is no white space is '{', else one document. All text is valid UTF-8; empty documents are
// passed over.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "data/prepare/byte_stream.h"

namespace sisa::data {

enum class OnError { stop, skip };

struct DocumentVisitor {
  std::function<void(std::string_view text)> document;
  // A document that cannot be read: the number of the line, from 1, what is wrong with it, such as "is no
  // JSON object", and advice, a sentence.
  std::function<void(int64_t line, const std::string& reason, std::string_view advice)> bad;
};

bool holds_lines(const std::filesystem::path& path);  // by the name

// Hands each document of whole lines of JSON to the visitor, in order. Returns the number of lines.
int64_t read_lines(std::string_view lines, const DocumentVisitor& visitor, int64_t first_line = 1);
// The same for a text that is one document.
void read_text(std::string_view text, const DocumentVisitor& visitor);
// The same for a file; one of lines is not held in memory as a whole.
void read_file(const std::filesystem::path& path, const DocumentVisitor& visitor);

// A stream, handed out up to ends of lines.
class LineStream {
 public:
  // `offset`: where in the file the stream begins.
  explicit LineStream(std::unique_ptr<ByteStream> stream, int64_t offset = 0);
  // Appends to `lines` what is left up to the end of the line that holds the byte before `end`, an offset in
  // the unpacked file: so whole lines, namely those that begin before `end`.
  void take(int64_t end, std::string& lines);
  bool at_end();
  // Without white space; 0 if there is nothing else. Reads ahead.
  char first_character();
  int64_t consumed() const { return stream_->consumed(); }  // as of ByteStream

 private:
  bool fill();
  std::unique_ptr<ByteStream> stream_;
  std::string buffer_;
  int64_t offset_;  // of the buffer's first byte
};

}  // namespace sisa::data
