#include "launcher/commands/hugging_face.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/file.h"
#include "common/json.h"
#include "common/quantity.h"
#include "data/tokenizer/bpe/pre_tokenizer.h"
#include "data/tokenizer/bpe/tokenizer_file.h"
#include "data/tokenizer/make_tokenizer.h"
#include "data/tokenizer/utf8.h"
#include "model/mixers/registry.h"

namespace sisa::launcher {
namespace fs = std::filesystem;
namespace {

using nlohmann::ordered_json;

struct EndOfDocument {
  uint32_t id;
  std::string text;
};

std::string_view type_name(c10::ScalarType type) {
  return type == c10::kDouble     ? "float64"
         : type == c10::kHalf     ? "float16"
         : type == c10::kBFloat16 ? "bfloat16"
                                  : "float32";
}

void write_json(const fs::path& path, const ordered_json& content) {
  common::write_file_atomically(path, content.dump(2) + "\n");
}

ordered_json config_json(const Recipe& recipe, c10::ScalarType type) {
  ordered_json config = {
      {"architectures", {"SisaForCausalLM"}},
      {"model_type", "sisa"},
      {"auto_map",
       {{"AutoConfig", "modeling_sisa.SisaConfig"},
        {"AutoModelForCausalLM", "modeling_sisa.SisaForCausalLM"}}},
      {"dtype", type_name(type)},
      {"max_position_embeddings", recipe.data.sequence_length},
      {"tie_word_embeddings", true},
      {"use_cache", false},
  };
  config.update(network_json(recipe.model));
  return config;
}

// A byte-level BPE without merges, each of whose tokens is a byte under its own number.
ordered_json bytes_tokenizer(const EndOfDocument& end) {
  ordered_json vocabulary;
  int id = 0;
  for (const char32_t character : data::bpe::byte_characters()) {
    std::string name;
    data::append_utf8(character, name);
    vocabulary[name] = id++;
  }
  const ordered_json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens",
           {{{"id", end.id},
             {"content", end.text},
             {"single_word", false},
             {"lstrip", false},
             {"rstrip", false},
             {"normalized", false},
             {"special", true}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"vocab", vocabulary},
            {"merges", ordered_json::array()}}}};
}

// The added tokens with the ids that training used, whatever numbers the file has, and with every key, which some
// readers insist on.
ordered_json added_tokens(const data::bpe::TokenizerFile& file) {
  ordered_json all = ordered_json::array();
  for (const data::bpe::AddedToken& token : file.added)
    all.push_back({{"id", token.id},
                   {"content", file.tokens.at(token.id)},
                   {"single_word", token.single_word},
                   {"lstrip", token.left_strip},
                   {"rstrip", token.right_strip},
                   {"normalized", token.normalized},
                   {"special", token.special}});
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return a["id"].template get<uint32_t>() < b["id"].template get<uint32_t>();
  });
  return all;
}

EndOfDocument write_tokenizer(const fs::path& folder, const std::string& name, const Recipe& recipe) {
  const auto tokenizer = data::make_tokenizer(name);
  if (tokenizer->vocab_size() > recipe.model.vocab_size)
    throw Error(
        "The tokenizer {} has {} tokens, and the model has {}. Name the one that the run was trained with "
        "(--tokenizer).",
        name, common::format_count(tokenizer->vocab_size()), common::format_count(recipe.model.vocab_size));
  EndOfDocument end{tokenizer->end_of_document(), "<|endoftext|>"};
  ordered_json content;
  if (const fs::path file = data::tokenizer_file(name); file.empty()) {
    content = bytes_tokenizer(end);
  } else {
    const data::bpe::TokenizerFile read = data::bpe::read_tokenizer_file(file);
    end.text = read.tokens.at(end.id);
    content = common::parse_json<ordered_json>(common::read_file(file), file.string());
    content["added_tokens"] = added_tokens(read);
    // What adds to a text's own ids or cuts them had no part in training.
    for (const char* part : {"post_processor", "truncation", "padding"}) content[part] = nullptr;
  }
  write_json(folder / "tokenizer.json", content);
  write_json(folder / "tokenizer_config.json", {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                                {"eos_token", end.text},
                                                {"model_max_length", recipe.data.sequence_length},
                                                {"clean_up_tokenization_spaces", false}});
  return end;
}

}  // namespace

ordered_json network_json(const model::ModelConfig& config) {
  const model::ModelConfig c = model::completed(config);
  ordered_json network = {{"system", c.system},
                          {"vocab_size", c.vocab_size},
                          {"d_model", c.d_model},
                          {"num_layers", c.num_layers},
                          {"d_ff", c.d_ff}};
  for (const model::Key& key : model::find_system(c.system).keys)
    if (key.exported)
      std::visit([&](const auto& value) { network[key.name] = value; }, c.settings.at(key.name));
  return network;
}

void write_hugging_face_files(const fs::path& folder, const Recipe& recipe, const std::string& tokenizer,
                              c10::ScalarType type) {
  ordered_json config = config_json(recipe, type);
  ordered_json generation = {{"use_cache", false}};
  if (!tokenizer.empty())
    config["eos_token_id"] = generation["eos_token_id"] = write_tokenizer(folder, tokenizer, recipe).id;
  write_json(folder / "config.json", config);
  write_json(folder / "generation_config.json", generation);
  common::write_file_atomically(folder / "modeling_sisa.py", modeling_file);
}

}  // namespace sisa::launcher
