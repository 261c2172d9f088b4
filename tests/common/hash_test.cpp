#include "common/hash.h"

#include <gtest/gtest.h>

#include <span>
#include <string>

namespace sisa::common {
namespace {

TEST(HashTest, IsXxh3) {
  EXPECT_EQ(hash64(""), 0x2D06800538D394C2u);  // XXH3_64bits of no bytes with seed 0, from its specification
  EXPECT_EQ(hash_hex(hash64("")), "2d06800538d394c2");
  EXPECT_EQ(hash_hex(1), "0000000000000001");
}

TEST(HashTest, BytesAndTextAgree) {
  const std::string text = "layers.0.W_Q.weight";
  EXPECT_EQ(hash64(text), hash64(std::as_bytes(std::span(text))));
  EXPECT_NE(hash64(text), hash64("layers.1.W_Q.weight"));
}

TEST(HashTest, PartsDoNotMatter) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += static_cast<char>(i * 7);
  for (const size_t part : {size_t{1}, size_t{63}, size_t{256}, size_t{4999}}) {
    Hasher hasher;
    for (size_t begin = 0; begin < text.size(); begin += part) hasher.update(text.substr(begin, part));
    EXPECT_EQ(hasher.digest(), hash64(text)) << part;
    hasher.update(std::as_bytes(std::span(text)));  // a digest in between does not end it
    EXPECT_EQ(hasher.digest(), hash64(text + text)) << part;
  }
}

}  // namespace
}  // namespace sisa::common
