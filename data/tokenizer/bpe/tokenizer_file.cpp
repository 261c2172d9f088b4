#include "data/tokenizer/bpe/tokenizer_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "common/error.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/json.h"
#include "data/tokenizer/bpe/file_part.h"
#include "data/tokenizer/utf8.h"

namespace sisa::data::bpe {
namespace {

using nlohmann::json;
using Part = common::JsonPart;

// Far more than any vocabulary has: a bound on the memory that a malicious file can make us allocate.
constexpr int64_t most_ids = int64_t{1} << 24;

// How families spell the token that ends a document, the likeliest first. DeepSeek's bars are U+FF5C FULLWIDTH
// VERTICAL LINE.
constexpr std::array end_names = {"<|endoftext|>",
                                  "<|end_of_text|>",
                                  "<\uff5cend\u2581of\u2581sentence\uff5c>",
                                  "<|end\u2581of\u2581sentence|>",
                                  "</s>",
                                  "<eos>",
                                  "<EOS>",
                                  "[EOS]",
                                  "<EOS_TOKEN>",
                                  "<|eos|>",
                                  "<|EOS|>",
                                  "<|end_of_document|>",
                                  "<|eod|>",
                                  "<eod>",
                                  "<EOD>",
                                  "<seed:eos>",
                                  "|ENDOFTEXT|",
                                  "<end_of_text>",
                                  "<|END_OF_TEXT|>",
                                  "<|end|>",
                                  "<end>",
                                  "<END>",
                                  "[END]"};

uint32_t number_of(const Part& part) {
  return static_cast<uint32_t>(part.integer(0, most_ids - 1));
}

using Vocabulary = std::unordered_map<std::string, uint32_t>;

Vocabulary read_vocabulary(const Part& model, TokenizerFile& file) {
  const Part vocab = model.at("vocab");
  if (!vocab.value().is_object()) vocab.refuse("is no object of tokens and their numbers");
  Vocabulary ids;
  for (const auto& [token, number] : vocab.value().items()) {
    const uint32_t id = number_of(vocab.at(token));
    if (file.tokens.size() <= id) file.tokens.resize(id + 1);
    if (!file.tokens[id].empty()) vocab.refuse("has two tokens of the number {}", id);
    if (token.empty()) vocab.refuse("has a token without text");
    file.tokens[id] = token;
    ids[token] = id;
  }
  return ids;
}

// The token of each byte, if the vocabulary has all bytes of UTF-8 in a byte-level one's way of writing.
// Otherwise `missing` is the first that it lacks.
std::optional<std::array<uint32_t, 256>> byte_alphabet(const Vocabulary& ids, std::string& missing) {
  std::array<uint32_t, 256> alphabet = {};
  const auto characters = byte_characters();
  for (size_t byte = 0; byte < alphabet.size(); ++byte) {
    std::string token;
    append_utf8(characters[byte], token);
    const auto found = ids.find(token);
    const bool never_in_utf8 = byte == 0xc0 || byte == 0xc1 || byte >= 0xf5;
    if (found != ids.end()) {
      alphabet[byte] = found->second;
    } else if (!never_in_utf8) {
      missing = fmt::format("{} for the byte 0x{:02x}", token, byte);
      return {};
    }
  }
  return alphabet;
}

void read_merges(const Part& model, const Vocabulary& ids, const std::string& prefix, TokenizerFile& file) {
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
    const auto& [left, right] = parts;
    if (!right.starts_with(prefix))
      merge.refuse("joins '{}', which does not begin with model.continuing_subword_prefix, '{}'", right,
                   prefix);
    file.merges.push_back(
        {id_of(merge, left), id_of(merge, right), id_of(merge, left + right.substr(prefix.size()))});
  }
}

// Where no merge joins other text to a ▁ behind it, text may be cut before each run of them: the ids are the same, and
// a piece is a word instead of a whole document (Llama 2, Mistral, Gemma).
void cut_at_spaces(const Vocabulary& ids, TokenizerFile& file) {
  constexpr std::string_view space = "\u2581";
  if (!ids.contains(std::string(space))) return;  // it might be one unknown token with what is before it
  for (const auto& [left, right, merged] : file.merges)
    if (file.tokens[right].starts_with(space) && !file.tokens[left].ends_with(space)) return;
  file.pre_tokenizer.steps.push_back(Split(Pattern("\u2581+"), Split::Behavior::merged_with_next, false));
}

std::string affix(const Part& part) {
  return part.is_null() ? "" : part.text();
}

// byte_level: pieces are byte characters when they come to the model. Reads alphabet, merges and `whole`.
void read_model(const Part& model, bool byte_level, const Vocabulary& ids, TokenizerFile& file) {
  if (const Part dropout = model.at("dropout"); !dropout.is_null() && dropout.number() != 0)
    dropout.refuse("is {}, which draws other ids for a text each time. Set it to null", dropout.shown());
  const std::string prefix = affix(model.at("continuing_subword_prefix"));
  CharacterRules rules{.prefix = prefix,
                       .suffix = affix(model.at("end_of_word_suffix")),
                       .byte_fallback = model.at("byte_fallback").flag(false),
                       .fuse_unknown = model.at("fuse_unk").flag(false)};
  const Part unknown = model.at("unk_token");
  if (!unknown.is_null())
    if (const auto found = ids.find(unknown.text()); found != ids.end()) rules.unknown = found->second;
  const bool plain = rules.prefix.empty() && rules.suffix.empty();

  std::string missing;
  const auto bytes = byte_alphabet(ids, missing);
  auto& steps = file.pre_tokenizer.steps;
  const bool ends_in_bytes =
      !steps.empty() && std::holds_alternative<PreTokenizer::ByteCharacters>(steps.back());
  if (bytes && plain && ends_in_bytes) {
    steps.pop_back();  // the encoder reads bytes themselves
    file.alphabet = *bytes;
  } else {
    CharacterAlphabet characters(ids, rules);
    // With all bytes in the vocabulary and no affixes, no character is unknown.
    if (!(bytes && plain && byte_level) && !characters.complete()) {
      if (!unknown.is_null())
        unknown.refuse("is {}, which is not in model.vocab, where it is needed for {}. Add it there",
                       unknown.shown(),
                       byte_level ? "the bytes that are not there" : "characters that are not there");
      if (byte_level && plain)
        model.at("vocab").refuse(
            "lacks {}, and there is no model.unk_token: text with that byte would be dropped. Add all 256 "
            "bytes "
            "or an unk_token",
            missing);
      model.refuse(
          "has no token for characters that are not in its vocabulary, which would be dropped: neither an "
          "unk_token nor byte_fallback with the tokens <0x00> to <0xFF>. Train the tokenizer with one of "
          "them");
    }
    file.alphabet = std::move(characters);
  }
  read_merges(model, ids, prefix, file);
  const bool ignore_merges = model.at("ignore_merges").flag(false);
  if (plain && !ignore_merges && std::holds_alternative<CharacterAlphabet>(file.alphabet))
    cut_at_spaces(ids, file);
  if (ignore_merges) {
    const bool of_bytes = std::holds_alternative<std::array<uint32_t, 256>>(file.alphabet);
    for (const auto& [token, id] : ids)
      if (const std::optional<std::string> text = of_bytes ? bytes_of_token(token) : token)
        file.whole[*text] = id;
  }
}

bool writes_byte_characters(const TokenizerFile& file) {
  const auto& before = file.normalizer.steps;
  const auto& behind = file.pre_tokenizer.steps;
  return std::any_of(
             before.begin(), before.end(),
             [](const auto& step) { return std::holds_alternative<Normalizer::ByteCharacters>(step); }) ||
         std::any_of(behind.begin(), behind.end(), [](const auto& step) {
           return std::holds_alternative<PreTokenizer::ByteCharacters>(step);
         });
}

// Special tokens come before other added ones, and those before the rest: Gemma's `</s>` is a tag of HTML.
std::optional<uint32_t> end_of_document(const TokenizerFile& file) {
  const auto special =
      std::find_if(file.added.begin(), file.added.end(), [](const AddedToken& t) { return !t.special; });
  for (const auto& [begin, end] :
       {std::pair(file.added.begin(), special), std::pair(special, file.added.end())})
    for (const char* name : end_names)
      for (auto token = begin; token != end; ++token)
        if (file.tokens[token->id] == name) return token->id;
  for (const char* name : end_names)
    for (size_t id = 0; id < file.tokens.size(); ++id)
      if (file.tokens[id] == name) return static_cast<uint32_t>(id);
  return {};
}

TokenizerFile read(const json& content, const std::string& name) {
  const Part root(content, name + ": ");
  TokenizerFile file;
  const Part model = root.at("model");
  if (const Part type = model.at("type"); !type.is_null() && type.value() != "BPE")
    type.refuse("is {}; only BPE can be used. Bring a tokenizer of that kind, or train on `bytes`",
                type.shown());
  expect_keys(root, {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                     "post_processor", "decoder", "model"});
  expect_keys(model, {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                      "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  file.normalizer = read_normalizer(root.at("normalizer"));
  file.pre_tokenizer = read_pre_tokenizer(root.at("pre_tokenizer"));
  const bool byte_level = writes_byte_characters(file);
  const Vocabulary ids = read_vocabulary(model, file);
  read_model(model, byte_level, ids, file);
  file.decoder = read_decoder(root.at("decoder"), byte_level);
  file.added = read_added_tokens(root.at("added_tokens"), ids);
  Normalizer::Memory memory;
  for (AddedToken& token : file.added) {
    if (file.tokens.size() <= token.id) file.tokens.resize(token.id + 1);
    file.tokens[token.id] = token.content;
    bool at_start = true;
    if (token.normalized) token.content = std::string(file.normalizer.apply(token.content, memory, at_start));
    if (token.content.empty())
      root.at("added_tokens")
          .refuse("has '{}', of which the normalizer leaves nothing", file.tokens[token.id]);
  }
  const auto end = end_of_document(file);
  if (!end)
    root.refuse("has no token for the end of a document: {}. Add one of them to added_tokens",
                fmt::join(end_names, ", "));
  file.end_of_document = *end;
  for (const std::string& token : file.tokens) file.texts.push_back(file.decoder.token_text(token));
  json added = content.value("added_tokens", json());
  std::unordered_map<std::string, uint32_t> numbers;  // those that count
  for (const AddedToken& token : file.added) numbers[file.tokens[token.id]] = token.id;
  for (json& token : added)
    if (const auto found = numbers.find(token["content"]); found != numbers.end())
      token["id"] = found->second;
    else
      token.erase("id");
  const json deciding = {content.value("model", json()), content.value("normalizer", json()),
                         content.value("pre_tokenizer", json()), std::move(added)};
  file.hash = common::hash64(deciding.dump());
  return file;
}

}  // namespace

TokenizerFile read_tokenizer_file(const std::filesystem::path& path) {
  try {
    return read(common::parse_json<json>(common::read_file(path), path.string()), path.string());
  } catch (const common::JsonError& error) {
    throw Error("{}. A tokenizer file is the `tokenizer.json` of Hugging Face's tokenizers.", error.what());
  }
}

}  // namespace sisa::data::bpe
