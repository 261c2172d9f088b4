// Reads documents from files of text.
//
// The end of a file's name, after .gz or .zst is removed, says what the decompressed file holds:
//   .jsonl  one document per line: a JSON object whose field `text` is a string
//   other   one document
// Standard input and pipes hold lines of JSON if their first character that is not white space is '{',
// otherwise one document. All text must be valid UTF-8. Empty documents are skipped.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "data/prepare/byte_stream.h"

namespace sisa::data {

// The bytes that one document may have, and a line of JSON that holds one. A document is in memory as a whole,
// and a small compressed file may unpack to any number of bytes.
inline constexpr int64_t largest_document = int64_t{1} << 30;

enum class OnError { stop, skip };

struct DocumentVisitor {
  std::function<void(std::string_view text)> document;
  // Called for a document that cannot be read: with the number of the line, from 1, what is wrong with it,
  // such as "is no JSON object", and a sentence of advice.
  std::function<void(int64_t line, const std::string& reason, std::string_view advice)> bad;
};

bool holds_lines(const std::filesystem::path& path);  // whether the name ends in .jsonl, compression aside

// Passes each document of whole lines of JSON to the visitor, in order. Returns the number of lines.
int64_t read_lines(std::string_view lines, const DocumentVisitor& visitor, int64_t first_line = 1);
// Passes a text that is one document to the visitor.
void read_text(std::string_view text, const DocumentVisitor& visitor);
// Passes the documents of a file to the visitor. A file of lines is never in memory as a whole.
void read_file(const std::filesystem::path& path, const DocumentVisitor& visitor);

// A stream that is read up to ends of lines.
class LineStream {
 public:
  // `offset`: the place in the file at which the stream begins. Members that read throw Error once a line, or
  // a text that is taken as a whole, has more than about `most_bytes`.
  explicit LineStream(std::unique_ptr<ByteStream> stream, int64_t offset = 0,
                      int64_t most_bytes = largest_document);
  // Appends to `lines` the lines that begin before `end`, an offset in the decompressed file, and were not
  // taken yet: everything up to the end of the line that contains the byte before `end`.
  void take(int64_t end, std::string& lines);
  bool at_end();
  // The first character that is not white space, or 0 if there is none. Reads ahead.
  char first_character();
  int64_t consumed() const { return stream_->consumed(); }  // see ByteStream

 private:
  bool fill();
  std::unique_ptr<ByteStream> stream_;
  std::string buffer_;
  int64_t offset_;  // of the buffer's first byte in the decompressed file
  int64_t most_bytes_;
};

}  // namespace sisa::data
