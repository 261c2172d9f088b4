#include "data/prepare/document_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "common/error.h"
#include "common/quantity.h"
#include "data/prepare/json_line.h"
#include "data/tokenizer/utf8.h"

namespace sisa::data {
namespace {

constexpr std::string_view white_space = " \t\r\n";
constexpr size_t read_size = size_t{1} << 18;  // bytes of one read
constexpr int64_t everything = std::numeric_limits<int64_t>::max();

}  // namespace

bool holds_lines(const std::filesystem::path& path) {
  return (is_packed(path) ? path.stem() : path).extension() == ".jsonl";
}

int64_t read_lines(std::string_view lines, const DocumentVisitor& visitor, int64_t first_line) {
  std::string text;
  int64_t number = first_line;
  for (; !lines.empty(); ++number) {
    const size_t end = std::min(lines.find('\n'), lines.size());
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(std::min(end + 1, lines.size()));
    if (line.find_first_not_of(white_space) == std::string_view::npos) continue;
    if (const std::string wrong = read_text_field(line, text); !wrong.empty())
      visitor.bad(
          number, wrong,
          R"(Each line must be an object such as {"text": "..."}; --on-error skip passes over bad lines.)");
    else if (!text.empty())
      visitor.document(text);
  }
  return number - first_line;
}

void read_text(std::string_view text, const DocumentVisitor& visitor) {
  if (const size_t wrong = find_invalid_utf8(text); wrong != std::string_view::npos)
    visitor.bad(1 + std::count(text.begin(), text.begin() + static_cast<int64_t>(wrong), '\n'),
                fmt::format("is no UTF-8: the byte 0x{:02x} at offset {}",
                            static_cast<unsigned char>(text[wrong]), wrong),
                "Convert it, for example with iconv; --on-error skip passes over such a file.");
  else if (!text.empty())
    visitor.document(text);
}

void read_file(const std::filesystem::path& path, const DocumentVisitor& visitor) {
  LineStream stream(open_stream(path));
  std::string part;
  if (!holds_lines(path)) {
    stream.take(everything, part);
    return read_text(part, visitor);
  }
  int64_t line = 1;
  for (int64_t end = read_size; !stream.at_end(); end += read_size) {
    part.clear();
    stream.take(end, part);
    line += read_lines(part, visitor, line);
  }
}

LineStream::LineStream(std::unique_ptr<ByteStream> stream, int64_t offset, int64_t most_bytes)
    : stream_(std::move(stream)), offset_(offset), most_bytes_(most_bytes) {}

void LineStream::take(int64_t end, std::string& lines) {
  if (end <= offset_) return;  // the last line that was taken reaches beyond `end`
  size_t searched = 0;
  while (true) {
    // The search starts at the byte before `end`, the earliest one that can end the line.
    searched = std::max(searched, static_cast<size_t>(std::min<int64_t>(
                                      end - 1 - offset_, static_cast<int64_t>(buffer_.size()))));
    const size_t found = buffer_.find('\n', searched);
    const bool last = found == std::string::npos;
    searched = buffer_.size();
    if (last && fill()) continue;
    const size_t count = last ? buffer_.size() : found + 1;
    offset_ += static_cast<int64_t>(count);
    if (last && lines.empty()) return lines.swap(buffer_);  // so that a long text is in memory only once
    lines.append(buffer_, 0, count);
    buffer_.erase(0, count);
    return;
  }
}

bool LineStream::at_end() {
  return buffer_.empty() && !fill();
}

char LineStream::first_character() {
  size_t at = 0;
  while ((at = buffer_.find_first_not_of(white_space, at)) == std::string::npos) {
    at = buffer_.size();
    if (!fill()) return 0;
  }
  return buffer_[at];
}

bool LineStream::fill() {
  const size_t size = buffer_.size();
  if (static_cast<int64_t>(size) > most_bytes_)
    throw Error(
        "{} holds a document of more than {} bytes, from byte {} of its text on. Cut it into several, each a "
        "line "
        "of JSON or a file.",
        stream_->name(), common::format_count(most_bytes_), common::format_count(offset_));
  buffer_.resize(size + read_size);
  buffer_.resize(size + stream_->read(buffer_.data() + size, read_size));
  return buffer_.size() > size;
}

}  // namespace sisa::data
