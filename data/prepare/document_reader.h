// Reads documents from files of text.
//
// What an input is, a file or a pipe, its content decides, and its name cannot contradict it:
//   compressed     by gzip or zstd, if it begins so (byte_stream.h)
//   lines of JSON  if the text begins, after white space and a UTF-8 byte order mark, with '{' and then a name
//                  in quotes, '}' or the end of the line; or if all whole lines but the first are objects, as
//                  where a file was cut in two; or if the name says so (.jsonl, .ndjson, .jsonlines, .json,
//                  also before .gz or .zst). Each line is a document: an object with a string named `text`
//   refused        if it begins as a JSON array does or if all of its lines are strings of JSON, and if it
//                  begins as a file of another kind does (refuse_foreign)
//   one document   otherwise
// All text must be valid UTF-8, and a text that is one document has no NUL bytes. Empty documents, and texts
// of white space alone, are skipped. A line `{"text": "", "sisa_stream": "begin"}` says that a line with
// "end" will come: of a pipe whose writer fails that one is missing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "data/prepare/byte_stream.h"

namespace sisa::data {

// The bytes that one document may have, and a line of JSON that holds one. A document is in memory as a
// whole, and a small compressed file may unpack to any number of bytes.
inline constexpr int64_t largest_document = int64_t{1} << 30;

enum class OnError { stop, skip };

struct DocumentVisitor {
  std::function<void(std::string_view text)> document;
  // Called for a document that cannot be read: with the number of the line, from 1, what is wrong there, such
  // as "column 12: NaN is no value of JSON", and sentences of advice.
  std::function<void(int64_t line, const std::string& reason, std::string_view advice)> bad;
  // Called for a mark of a stream: with 1 where it begins and -1 where it ends. May be empty.
  std::function<void(int64_t mark)> mark = {};
};

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
  // Whether the text, of which nothing was taken yet, is lines of JSON; otherwise it is one document. `path`
  // is its name. Throws Error if it is neither. Reads ahead.
  bool holds_lines(const std::filesystem::path& path);
  int64_t consumed() const { return stream_->consumed(); }  // see ByteStream
  bool packed() const { return stream_->packed(); }

 private:
  bool fill();
  std::unique_ptr<ByteStream> stream_;
  std::string buffer_;
  int64_t offset_;  // of the buffer's first byte in the decompressed file
  int64_t most_bytes_;
};

}  // namespace sisa::data
