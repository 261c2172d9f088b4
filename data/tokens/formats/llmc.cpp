#include "data/tokens/formats/llmc.h"

#include <algorithm>
#include <array>
#include <utility>

#include "common/error.h"
#include "common/quantity.h"

namespace sisa::data {
namespace {

constexpr int64_t header_bytes = 1024;

struct Kind {
  int32_t magic, version;
  IdType type;
  const char* tokenizer;
  int64_t end_of_text;
};
constexpr std::array<Kind, 2> kinds = {
    {{20240520, 1, IdType::uint16, "GPT-2", 50256}, {20240801, 7, IdType::uint32, "Llama-3", 128000}}};

}  // namespace

LlmcFile open_llmc(const std::filesystem::path& path) {
  common::InputFile file(path);
  const std::string name = path.string();
  const auto bytes = file.size();
  if (bytes < header_bytes)
    throw Error(
        "{} has {} bytes, fewer than the header of an llm.c token file ({}): it was cut off or is of "
        "another kind. Megatron-LM's .bin needs its .idx beside it; raw uint16 shards need a folder with "
        "meta.txt.",
        name, bytes, header_bytes);
  const auto header = file.at<std::array<int32_t, 3>>(0);
  const auto [magic, version, tokens] = header;
  const auto* kind =
      std::find_if(kinds.begin(), kinds.end(), [&](const Kind& k) { return k.magic == header[0]; });
  if (kind == kinds.end())
    throw Error(
        "{} is no token file of llm.c: it starts with {} (offset 0), not with {} or {}. Megatron-LM's .bin "
        "needs its .idx beside it; raw uint16 shards need a folder with meta.txt.",
        name, magic, kinds[0].magic, kinds[1].magic);
  if (version != kind->version)
    throw Error("{} has version {} (offset 4), but this program reads version {} of llm.c's {} files.", name,
                version, kind->version, kind->tokenizer);
  const int64_t size = id_size(kind->type);
  if (bytes != header_bytes + tokens * size)
    throw Error(
        "{} has {} bytes, but its header promises {} tokens (offset 8) of {} bytes, {} in all: it was cut "
        "off or added to.",
        name, common::format_count(bytes), common::format_count(tokens), size,
        common::format_count(header_bytes + tokens * size));
  return {TokenArray(path, std::move(file), kind->type, header_bytes), kind->tokenizer, kind->end_of_text};
}

}  // namespace sisa::data
