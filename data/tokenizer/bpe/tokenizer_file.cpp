#include "data/tokenizer/bpe/tokenizer_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "common/error.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/json.h"
#include "data/tokenizer/normalize.h"
#include "data/tokenizer/unicode.h"
#include "data/tokenizer/utf8.h"

namespace sisa::data::bpe {
namespace {

using nlohmann::json;
using Part = common::JsonPart;

// Far more than any vocabulary has: a bound on the memory that a malicious file can make us allocate.
constexpr int64_t most_ids = int64_t{1} << 24;

// The byte for which a character of a token stands, or -1.
int byte_of(char32_t c) {
  static const auto bytes = [] {
    std::array<int, 0x200> table;
    table.fill(-1);
    const auto characters = byte_characters();
    for (size_t byte = 0; byte < characters.size(); ++byte) table[characters[byte]] = static_cast<int>(byte);
    return table;
  }();
  return c < bytes.size() ? bytes[c] : -1;
}

// The bytes of a token; nothing if one of its characters does not stand for a byte.
std::optional<std::string> bytes_of(const std::string& token) {
  std::string bytes;
  for (size_t i = 0; i < token.size();) {
    const auto [code, end] = character_at(token, i);
    const int byte = byte_of(code);
    if (byte < 0) return {};
    bytes.push_back(static_cast<char>(byte));
    i = end;
  }
  return bytes;
}

uint32_t number_of(const Part& part) {
  return static_cast<uint32_t>(part.integer(0, most_ids - 1));
}

// Refuses an option that only other kinds of tokenizers have, unless it has no effect.
void expect_unused(const Part& part) {
  if (!part.is_null() && part.value() != false && part.value() != "" && part.value() != 0)
    part.refuse("is {}, which cannot be used", part.shown());
}

std::string type_of(const Part& part) {
  return part.at("type").text();
}

void read_vocabulary(const Part& model, TokenizerFile& file, std::unordered_map<std::string, uint32_t>& ids) {
  const Part vocab = model.at("vocab");
  if (!vocab.value().is_object()) vocab.refuse("is no object of tokens and their numbers");
  for (const auto& [token, number] : vocab.value().items()) {
    const uint32_t id = number_of(vocab.at(token));
    if (file.tokens.size() <= id) file.tokens.resize(id + 1);
    if (!file.tokens[id].empty()) vocab.refuse("has two tokens of the number {}", id);
    if (token.empty()) vocab.refuse("has a token without text");
    file.tokens[id] = token;
    ids[token] = id;
  }
  for (char32_t c = 0; c < 0x200; ++c) {
    const int byte = byte_of(c);
    if (byte < 0) continue;
    std::string token;
    append_utf8(c, token);
    const auto found = ids.find(token);
    if (found == ids.end()) {
      if (byte == 0xc0 || byte == 0xc1 || byte >= 0xf5) continue;  // never in UTF-8
      vocab.refuse(
          "lacks {} for the byte 0x{:02x}; only byte-level vocabularies, which have all of UTF-8's bytes, "
          "can be used",
          token, byte);
    }
    file.byte_ids[static_cast<size_t>(byte)] = found->second;
  }
}

void read_merges(const Part& model, const std::unordered_map<std::string, uint32_t>& ids,
                 TokenizerFile& file) {
  const auto id_of = [&](const Part& merge, const std::string& token) {
    const auto found = ids.find(token);
    if (found == ids.end()) merge.refuse("speaks of '{}', which is not in the vocabulary", token);
    return found->second;
  };
  for (const Part& merge : model.at("merges").items()) {
    std::pair<std::string, std::string> parts;
    if (merge.value().is_array()) {
      const auto pair = merge.items();
      if (pair.size() != 2) merge.refuse("has {} parts, not 2", pair.size());
      parts = {pair[0].text(), pair[1].text()};
    } else {
      const std::string text = merge.text();
      const size_t space = text.find(' ');
      if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
        merge.refuse("is '{}', not two tokens with a space between", text);
      parts = {text.substr(0, space), text.substr(space + 1)};
    }
    file.merges.push_back(
        {id_of(merge, parts.first), id_of(merge, parts.second), id_of(merge, parts.first + parts.second)});
  }
}

void read_model(const Part& model, TokenizerFile& file) {
  const json& type = model.at("type").value();
  if (!type.is_null() && type != "BPE")
    model.at("type").refuse("is {}; only BPE can be used", model.at("type").shown());
  for (const char* key :
       {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"})
    expect_unused(model.at(key));
  std::unordered_map<std::string, uint32_t> ids;
  read_vocabulary(model, file, ids);
  read_merges(model, ids, file);
  if (model.at("ignore_merges").flag(false))
    for (const auto& [token, id] : ids)
      if (const auto bytes = bytes_of(token)) file.whole[*bytes] = id;
}

void read_normalizer(const Part& part, TokenizerFile& file) {
  if (part.is_null()) return;
  const std::string type = type_of(part);
  if (type == "NFC")
    file.normalizes = true;
  else if (type == "Sequence")
    for (const Part& item : part.at("normalizers").items()) read_normalizer(item, file);
  else
    part.at("type").refuse("is {}; NFC and a Sequence of it can be used", type);
}

// A ByteLevel must come last, because it turns the bytes of the pieces into the characters of the vocabulary.
void read_pre_tokenizer(const Part& part, TokenizerFile& file, bool& byte_level) {
  if (part.is_null()) part.refuse("is missing; a byte-level tokenizer has a ByteLevel there");
  const std::string type = type_of(part);
  if (byte_level) part.refuse("comes after ByteLevel, where nothing can be used");
  if (type == "Sequence") {
    for (const Part& item : part.at("pretokenizers").items()) read_pre_tokenizer(item, file, byte_level);
  } else if (type == "ByteLevel") {
    byte_level = true;
    file.prefix_space = part.at("add_prefix_space").flag(true);
    if (file.prefix_space && !file.cuts.empty())
      part.at("add_prefix_space").refuse("is true after other cuts, which cannot be used");
    if (part.at("use_regex").flag(true)) file.cuts.push_back(Pretokenizer::gpt2());
  } else if (type == "Split") {
    const json& behavior = part.at("behavior").value();
    if (behavior != "Isolated")
      part.at("behavior").refuse("is {}; only Isolated can be used", part.at("behavior").shown());
    if (part.at("invert").flag(false)) part.at("invert").refuse("is true, which cannot be used");
    const Part pattern = part.at("pattern").at("Regex");
    const std::string text = pattern.text();
    try {
      file.cuts.push_back(Pretokenizer::from_pattern(text));
    } catch (const Error& error) {
      pattern.refuse("{}", error.what());
    }
  } else {
    part.at("type").refuse("is {}; ByteLevel, Split and a Sequence of them can be used", type);
  }
}

void read_added_tokens(const Part& part, TokenizerFile& file) {
  if (part.is_null()) return;
  std::string buffer;
  for (const Part& item : part.items()) {
    AddedToken token{number_of(item.at("id")), item.at("content").text()};
    token.single_word = item.at("single_word").flag(false);
    token.left_strip = item.at("lstrip").flag(false);
    token.right_strip = item.at("rstrip").flag(false);
    token.normalized = item.at("normalized").flag(true);
    if (token.content.empty()) item.at("content").refuse("is empty");
    if (file.tokens.size() <= token.id) file.tokens.resize(token.id + 1);
    std::string& known = file.tokens[token.id];
    if (!known.empty() && known != token.content)
      item.refuse("has the number {}, which is '{}' in the vocabulary", token.id, known);
    known = token.content;
    if (token.normalized && file.normalizes) token.content = nfc(token.content, buffer);
    file.added.push_back(std::move(token));
  }
}

std::optional<uint32_t> end_of_document(const TokenizerFile& file) {
  for (const char* name : {"<|endoftext|>", "<|end_of_text|>", "<|end▁of▁sentence|>", "</s>", "<eos>"})
    for (size_t id = 0; id < file.tokens.size(); ++id)
      if (file.tokens[id] == name) return static_cast<uint32_t>(id);
  return {};
}

TokenizerFile read(const json& content, const std::string& name) {
  const Part root(content, name + ": ");
  TokenizerFile file;
  read_model(root.at("model"), file);
  read_normalizer(root.at("normalizer"), file);
  bool byte_level = false;
  read_pre_tokenizer(root.at("pre_tokenizer"), file, byte_level);
  if (!byte_level)
    root.at("pre_tokenizer").refuse("has no ByteLevel; only byte-level tokenizers can be used");
  if (const Part decoder = root.at("decoder"); !decoder.is_null() && type_of(decoder) != "ByteLevel")
    decoder.at("type").refuse("is {}; only ByteLevel can be used", type_of(decoder));
  read_added_tokens(root.at("added_tokens"), file);
  const auto end = end_of_document(file);
  if (!end)
    root.refuse(
        "has no token for the end of a document: <|endoftext|>, <|end_of_text|>, <|end▁of▁sentence|>, </s> "
        "or <eos>");
  file.end_of_document = *end;
  for (std::string& token : file.tokens) token = bytes_of(token).value_or(token);
  const json deciding = {content.value("model", json()), content.value("normalizer", json()),
                         content.value("pre_tokenizer", json()), content.value("added_tokens", json())};
  file.hash = common::hash64(deciding.dump());
  return file;
}

}  // namespace

std::array<char32_t, 256> byte_characters() {
  std::array<char32_t, 256> characters;
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < characters.size(); ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    characters[byte] = printable ? byte : next++;
  }
  return characters;
}

TokenizerFile read_tokenizer_file(const std::filesystem::path& path) {
  try {
    return read(common::parse_json<json>(common::read_file(path), path.string()), path.string());
  } catch (const common::JsonError& error) {
    throw Error("{}. A tokenizer file is the `tokenizer.json` of Hugging Face's tokenizers.", error.what());
  }
}

}  // namespace sisa::data::bpe
