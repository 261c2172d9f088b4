// Turns text into token ids and back.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sisa::data {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // Appends the ids of `text`, which may be any bytes, to `ids`. Several threads may encode at once.
  virtual void encode(std::string_view text, std::vector<uint32_t>& ids) const = 0;
  // The text of `ids`. The end-of-document token has no text. Throws Error naming an id >= vocab_size().
  virtual std::string decode(std::span<const uint32_t> ids) const = 0;
  // What `ids` add to a text that has begun. Some tokenizers put a space before every text; decode() takes it away.
  virtual std::string decode_continuation(std::span<const uint32_t> ids) const { return decode(ids); }
  virtual int64_t vocab_size() const = 0;
  virtual uint32_t end_of_document() const = 0;
  // Equal for tokenizers that give equal ids: "bytes", or the kind and the hash of a tokenizer file.
  virtual std::string fingerprint() const = 0;
};

}  // namespace sisa::data
