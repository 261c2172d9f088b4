// XXH3 with 64 bits: checksums of files and seeds from names. Not for security.
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

// The same hash over bytes that arrive in parts.
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
