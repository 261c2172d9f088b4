#include "data/prepare/document_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/error.h"
#include "common/quantity.h"
#include "data/prepare/json_line.h"
#include "data/tokenizer/utf8.h"

namespace sisa::data {
namespace {

constexpr std::string_view white_space = " \t\r\n";
constexpr size_t read_size = size_t{1} << 18;  // bytes of one read
constexpr size_t head_size = read_size;        // bytes at the beginning that decide what a text is
constexpr int64_t everything = std::numeric_limits<int64_t>::max();

std::string_view without_mark(std::string_view text) {
  if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
  return text;
}

bool is_blank(std::string_view text) {
  text = without_mark(text);
  return text.find_first_not_of(white_space) == std::string_view::npos;
}

// Whether the name says that lines of JSON, or one value of it, are in the file.
bool says_json(const std::filesystem::path& path) {
  const auto extension = (says_packed(path) ? path.stem() : path).extension();
  return extension == ".jsonl" || extension == ".ndjson" || extension == ".jsonlines" || extension == ".json";
}

// Whether `text` has lines that are not blank, and `is` holds for all of them. The last one need only be the
// beginning of such a line if no end of a line follows it, and does not count if `text` is not the `whole`
// text.
bool all_lines(std::string_view text, bool whole, bool (*is)(std::string_view)) {
  bool any = false;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const bool unfinished = end == std::string_view::npos;
    if (unfinished && !whole) break;
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (is_blank(line) || (any && unfinished && may_begin_json(line))) continue;
    if (!is(line)) return false;
    any = true;
  }
  return any;
}

// Whether a JSON object stands at the beginning, or what is meant to be one: a brace, and then a name in
// quotes, the other brace or the end of the line. A template of a wiki, "{{", is none.
bool begins_object(std::string_view text) {
  if (text.front() != '{') return false;
  const size_t next = text.find_first_not_of(" \t\r", 1);
  return next == std::string_view::npos ||
         std::string_view("\"'}\n").find(text[next]) != std::string_view::npos;
}

std::string plain_text_advice(std::string_view name) {
  return fmt::format(
      " If it is one plain text all the same: `jq -Rsc '{{text: .}}' {} | sisa data prepare - …`.", name);
}

// What a line with an empty text says of the stream: 1 if one begins, -1 if one ends, otherwise 0.
int64_t stream_mark(std::string_view line) {
  constexpr std::string_view key = "sisa_stream";
  if (line.find(key) == std::string_view::npos) return 0;
  const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  const auto mark = object.find(key);
  if (mark == object.end()) return 0;
  return *mark == "begin" ? 1 : *mark == "end" ? -1 : 0;
}

void report(int64_t number, LineProblem problem, bool ends_input, const DocumentVisitor& visitor) {
  std::string advice =
      R"(Each line must be an object such as {"text": "..."}; --on-error skip passes over bad lines.)";
  if (problem.kind == LineProblem::Kind::unfinished && ends_input)
    problem.cause = "the input ends within an object: it is cut off, or still being written";
  else if (problem.kind == LineProblem::Kind::unfinished || problem.kind == LineProblem::Kind::more)
    advice += " `jq -c . FILE | sisa data prepare - …` writes each object on a line of its own.";
  else if (problem.kind == LineProblem::Kind::no_text)
    advice += " `jq -c '{text: .NAME}' FILE | sisa data prepare - …` renames the field with the text.";
  visitor.bad(number, problem.place_and_cause(), advice);
}

}  // namespace

int64_t read_lines(std::string_view lines, const DocumentVisitor& visitor, int64_t first_line) {
  std::string text;
  int64_t number = first_line;
  for (; !lines.empty(); ++number) {
    const size_t end = std::min(lines.find('\n'), lines.size());
    const std::string_view line = lines.substr(0, end);
    const bool ends_input = end == lines.size();
    lines.remove_prefix(std::min(end + 1, lines.size()));
    if (is_blank(line)) continue;
    if (const auto problem = read_text_field(line, text))
      report(number, *problem, ends_input, visitor);
    else if (!text.empty())
      visitor.document(text);
    else if (visitor.mark)
      visitor.mark(stream_mark(line));
  }
  return number - first_line;
}

void read_text(std::string_view whole, const DocumentVisitor& visitor) {
  if (is_blank(whole)) return;
  const size_t wrong = std::min(find_invalid_utf8(whole), whole.find('\0'));
  if (wrong == std::string_view::npos) return visitor.document(without_mark(whole));
  const auto before = whole.substr(0, wrong);
  const size_t line_start = before.rfind('\n') + 1;  // 0 if there is none
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const auto column =
      1 + std::count_if(before.begin() + static_cast<int64_t>(line_start), before.end(),
                        [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
  const bool nul = whole[wrong] == 0;
  const bool utf16 = whole.starts_with("\xFF\xFE") || whole.starts_with("\xFE\xFF");
  visitor.bad(line,
              fmt::format("column {}: the byte 0x{:02x} at offset {} is no {}", column,
                          static_cast<unsigned char>(whole[wrong]), wrong, nul ? "text" : "UTF-8"),
              nul ? "The file is damaged, or not a text; --on-error skip passes over such a file."
              : utf16
                  ? "The file is UTF-16, as its beginning says: convert it with `iconv -f UTF-16 -t UTF-8`; "
                    "--on-error skip passes over such a file."
                  : "Convert it, for example with iconv; --on-error skip passes over such a file.");
}

void read_file(const std::filesystem::path& path, const DocumentVisitor& visitor) {
  LineStream stream(open_stream(path));
  std::string part;
  if (!stream.holds_lines(path)) {
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

bool LineStream::holds_lines(const std::filesystem::path& path) {
  bool whole = false;
  while (!whole && buffer_.size() < head_size) whole = !fill();
  refuse_foreign(buffer_, path);
  const bool named = says_json(path);
  std::string_view head = without_mark(buffer_);
  head.remove_prefix(std::min(head.find_first_not_of(white_space), head.size()));
  if (head.empty() || begins_object(head)) return named || !head.empty();
  const std::string_view first = head.substr(0, head.find('\n'));
  const std::string name = name_in_command(path);
  if (head.front() == '[' && may_begin_json(first)) {
    const size_t item = head.find_first_not_of(" \t\r\n[");
    const bool strings = item != std::string_view::npos && head[item] == '"';
    throw Error(
        "{}, line 1, column 1: a JSON array begins, where lines of objects such as {{\"text\": \"...\"}} are "
        "expected. Take it apart: `jq -c '{}' {} | sisa data prepare - …`.{}",
        stream_name(path), strings ? ".[] | {text: .}" : ".[]", name, plain_text_advice(name));
  }
  if (named) return true;
  if (head.front() == '"' && all_lines(head, whole, is_json_string))
    throw Error(
        "{}, line 1, column 1: a string of JSON stands on the line, where an object such as {{\"text\": "
        "\"...\"}} is expected. Make objects of the strings: `jq -c '{{text: .}}' {} | sisa data prepare - "
        "…`.{}",
        stream_name(path), name, plain_text_advice(name));
  head.remove_prefix(std::min(first.size() + 1, head.size()));
  return all_lines(head, whole, is_json_object);
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
