// Compresses text for tests.
#pragma once

#include <zlib.h>
#include <zstd.h>

#include <string>

namespace sisa::data {

inline std::string zstd(const std::string& text, int level = 3) {
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), level));
  return packed;
}

inline std::string zstd_checked(const std::string& text) {  // with a checksum, as the program zstd makes it
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress2(context, packed.data(), packed.size(), text.data(), text.size()));
  ZSTD_freeCCtx(context);
  return packed;
}

// A frame that declares a window of 2^window_log bytes and no size, as a writer does who does not know the
// length of its text. Written by hand (RFC 8878): a compressor would take that much memory. `text` stands in
// one raw block.
inline std::string zstd_long(const std::string& text, int window_log) {
  const auto size = static_cast<unsigned>(text.size());
  const unsigned block = size << 3 | 1;  // the last one
  std::string packed = "\x28\xB5\x2F\xFD";
  for (const unsigned byte :
       {0U, static_cast<unsigned>(window_log - 10) << 3, block & 255, block >> 8 & 255, block >> 16})
    packed += static_cast<char>(byte);
  return packed + text;
}

inline std::string gzip(const std::string& text) {
  z_stream stream{};
  constexpr int gzip_header = 16;
  deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + gzip_header, 8, Z_DEFAULT_STRATEGY);
  std::string packed(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

}  // namespace sisa::data
