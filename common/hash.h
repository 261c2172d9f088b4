// XXH3 hashes, for checksums of files, seeds from names and the comparison of texts. Not cryptographic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sisa::common {

uint64_t hash64(std::string_view bytes);
uint64_t hash64(std::span<const std::byte> bytes);
std::string hash_hex(uint64_t hash);  // 16 hexadecimal digits

// A 128-bit hash. The probability that any two of 10^12 different texts have the same one is 10^-15.
struct Hash128 {
  uint64_t low = 0, high = 0;
  bool operator==(const Hash128&) const = default;
};
Hash128 hash128(std::string_view bytes);

// hash64 of bytes that arrive in parts.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  void update(std::string_view bytes);
  void update(std::span<const std::byte> bytes);
  uint64_t digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sisa::common
