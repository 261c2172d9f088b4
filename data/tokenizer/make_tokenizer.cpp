#include "data/tokenizer/make_tokenizer.h"

#include <system_error>

#include "common/error.h"
#include "data/tokenizer/bpe/tokenizer.h"

namespace sisa::data {
namespace {

class ByteTokenizer final : public Tokenizer {
 public:
  void encode(std::string_view text, std::vector<uint32_t>& ids) const override {
    ids.reserve(ids.size() + text.size());
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  }
  std::string decode(std::span<const uint32_t> ids) const override {
    std::string text;
    for (const uint32_t id : ids) {
      if (id >= vocab_size())
        throw Error("Token id {} is not in the vocabulary of the tokenizer bytes, 0 to 256.", id);
      if (id != end_of_document()) text += static_cast<char>(id);
    }
    return text;
  }
  int64_t vocab_size() const override { return 257; }
  uint32_t end_of_document() const override { return 256; }
  std::string fingerprint() const override { return "bytes"; }
};

}  // namespace

std::filesystem::path tokenizer_file(const std::string& name) {
  if (name == "bytes") return "";
  const std::filesystem::path path = name;
  std::error_code unreachable;
  if (!std::filesystem::exists(path, unreachable))
    throw Error("There is no tokenizer '{}': neither the built-in 'bytes' nor a file of that name.", name);
  if (!std::filesystem::is_directory(path, unreachable)) return path;
  if (!std::filesystem::exists(path / "tokenizer.json", unreachable))
    throw Error("The folder {} holds no tokenizer.json. Name a tokenizer's file, or 'bytes'.", name);
  return path / "tokenizer.json";
}

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name) {
  if (name == "bytes") return std::make_unique<ByteTokenizer>();
  return bpe::make_tokenizer(tokenizer_file(name));
}

}  // namespace sisa::data
