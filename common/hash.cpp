#include "common/hash.h"

#define XXH_INLINE_ALL  // header-only, so that there is no library to link
#include <fmt/format.h>
#include <xxhash.h>

namespace sisa::common {

struct Hasher::State {
  XXH3_state_t xxh3;
};

uint64_t hash64(std::string_view bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}
uint64_t hash64(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}
Hash128 hash128(std::string_view bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.low64, hash.high64};
}
std::string hash_hex(uint64_t hash) {
  return fmt::format("{:016x}", hash);
}

Hasher::Hasher() : state_(std::make_unique<State>()) {
  XXH3_64bits_reset(&state_->xxh3);
}
Hasher::~Hasher() = default;
void Hasher::update(std::string_view bytes) {
  XXH3_64bits_update(&state_->xxh3, bytes.data(), bytes.size());
}
void Hasher::update(std::span<const std::byte> bytes) {
  XXH3_64bits_update(&state_->xxh3, bytes.data(), bytes.size());
}
uint64_t Hasher::digest() const {
  return XXH3_64bits_digest(&state_->xxh3);
}

}  // namespace sisa::common
