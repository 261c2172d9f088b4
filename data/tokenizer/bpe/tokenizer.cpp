#include "data/tokenizer/bpe/tokenizer.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "common/error.h"
#include "common/hash.h"
#include "data/tokenizer/bpe/added_tokens.h"
#include "data/tokenizer/bpe/encoder.h"
#include "data/tokenizer/bpe/tokenizer_file.h"
#include "data/tokenizer/utf8.h"

namespace sisa::data::bpe {
namespace {

class BpeTokenizer final : public Tokenizer {
 private:
  // The buffers of one thread.
  struct Memory {
    Encoder::Scratch scratch;
    Normalizer::Memory normalizer;
    PreTokenizer::Memory pre_tokenizer;
    std::string valid;
  };
  // Returns a Memory to the pool. The pool has as many as the largest number of threads that encoded at once.
  struct GiveBack {
    const BpeTokenizer* owner;
    void operator()(Memory* memory) const {
      const std::lock_guard lock(owner->mutex_);
      owner->free_.emplace_back(memory);
    }
  };
  std::unique_ptr<Memory, GiveBack> borrow() const {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) free_.push_back(std::make_unique<Memory>());
    std::unique_ptr<Memory, GiveBack> memory(free_.back().release(), GiveBack{this});
    free_.pop_back();
    return memory;
  }

 public:
  BpeTokenizer(TokenizerFile file, std::string name)
      : name_(std::move(name)),
        file_(std::move(file)),
        raw_(AddedTokens(those(file_.added, /*normalized=*/false))),
        normalized_(AddedTokens(those(file_.added, /*normalized=*/true))),
        bpe_(std::move(file_.alphabet), file_.merges, std::move(file_.whole)) {}

  void encode(std::string_view text, std::vector<uint32_t>& ids) const override {
    const auto memory = borrow();
    ids.reserve(ids.size() + text.size() / 4);
    const auto token = [&](uint32_t id) { ids.push_back(id); };
    const std::string_view all = with_valid_utf8(text, memory->valid);
    raw_.split(
        all,
        [&](std::string_view part) {
          bool at_start = part.data() == all.data();
          const std::string_view normal = file_.normalizer.apply(part, memory->normalizer, at_start);
          normalized_.split(
              normal,
              [&](std::string_view rest) {
                file_.pre_tokenizer.pieces(
                    rest, at_start && rest.data() == normal.data(), memory->pre_tokenizer,
                    [&](std::string_view piece) { bpe_.encode(piece, memory->scratch, ids); });
              },
              token);
        },
        token);
  }

  std::string decode(std::span<const uint32_t> ids) const override {
    return std::string(file_.decoder.stripped(decode_continuation(ids)));
  }
  std::string decode_continuation(std::span<const uint32_t> ids) const override {
    std::string text;
    for (const uint32_t id : ids) {
      if (id >= file_.tokens.size())
        throw Error("Token id {} is not in the vocabulary of the tokenizer {}, 0 to {}.", id, name_,
                    file_.tokens.size() - 1);
      if (id != file_.end_of_document) text += file_.texts[id];
    }
    return text;
  }
  int64_t vocab_size() const override { return static_cast<int64_t>(file_.tokens.size()); }
  uint32_t end_of_document() const override { return file_.end_of_document; }
  std::string fingerprint() const override { return "bpe-" + common::hash_hex(file_.hash); }

 private:
  static std::vector<AddedToken> those(std::vector<AddedToken> tokens, bool normalized) {
    std::erase_if(tokens, [&](const AddedToken& token) { return token.normalized != normalized; });
    return tokens;
  }

  std::string name_;
  TokenizerFile file_;
  AddedTokens raw_, normalized_;
  Encoder bpe_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Memory>> free_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const std::filesystem::path& file) {
  return std::make_unique<BpeTokenizer>(read_tokenizer_file(file), file.string());
}

}  // namespace sisa::data::bpe
