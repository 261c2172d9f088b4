#include "checkpoint/export.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/rank_file.h"
#include "common/error.h"

namespace sisa::checkpoint {
namespace {

constexpr std::array<std::pair<const char*, int64_t RunState::*>, 4> counters{
    {{"step", &RunState::step},
     {"updates", &RunState::updates},
     {"samples", &RunState::samples},
     {"tokens", &RunState::tokens}}};

std::map<std::string, std::string> to_metadata(const RunState& state) {
  // `transformers` refuses a file without "format"; "pt" stands for tensors as PyTorch has them.
  std::map<std::string, std::string> metadata = {
      {"format", "pt"}, {"recipe", state.recipe}, {"code_version", state.code_version}};
  for (const auto& [name, counter] : counters) metadata[name] = fmt::format("{}", state.*counter);
  return metadata;
}

}  // namespace

void export_safetensors(const std::filesystem::path& folder, const Contents& contents,
                        const std::filesystem::path& output, c10::ScalarType type, const Disk& disk) {
  std::vector<SafetensorsWriter::Tensor> tensors;
  for (const Array& array : contents.arrays) tensors.push_back({array.name, array.shape});
  SafetensorsWriter writer(output, tensors, type, to_metadata(contents.state), disk);
  const Reader reader(folder, contents);
  for (const Array& array : contents.arrays) {
    const at::Tensor stored = reader.read(parallel::StateArray::weights, array.name, 0, array.numel());
    const at::Tensor elements = stored.to(type);
    if (const auto first = first_not_finite(elements))
      throw Error(
          "{} holds {} at element {} of {}, which is no finite number in the type that was asked for. Choose "
          "another with --dtype, or export another checkpoint.",
          folder.string(), stored[*first].item<double>(), *first, array.name);
    writer.write(elements);
  }
  writer.finish();
}

RunState state_from_metadata(const SafetensorsFile& file) {
  const std::map<std::string, std::string>& metadata = file.metadata();
  RunState state;
  for (const auto& [name, counter] : counters) {
    const auto found = metadata.find(name);
    if (found == metadata.end()) continue;
    const std::string& text = found->second;
    int64_t& value = state.*counter;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 0)
      throw Error(
          "{} has in its metadata the {} '{}'; a whole number from 0 on was expected. Export it again, or "
          "take "
          "that entry out.",
          file.path(), name, text);
  }
  if (const auto recipe = metadata.find("recipe"); recipe != metadata.end()) state.recipe = recipe->second;
  return state;
}

}  // namespace sisa::checkpoint
