#include "launcher/run/initial_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "checkpoint/contents.h"
#include "checkpoint/safetensors.h"
#include "common/error.h"
#include "common/parameter.h"
#include "launcher/run/opened_run.h"

namespace sisa::launcher {
namespace fs = std::filesystem;
namespace {

using checkpoint::Array;
using checkpoint::SafetensorsFile;

constexpr const char* embedding = "embed.weight";
constexpr const char* head = "lm_head.weight";

// Throws Error unless `text` names something that can be looked into.
void check_exists(const std::string& text) {
  if (!fs::exists(text) && !fs::exists(text.substr(0, text.rfind('@'))))
    throw Error(
        "run.init_from is {}, and there is no such file or folder. Name a safetensors file, or a run's "
        "folder as RUN or RUN@STEP.",
        text);
}

// Elements [begin, end) of a tensor of the file, in `type`.
at::Tensor read_finite(const SafetensorsFile& file, const std::string& name, int64_t begin, int64_t end,
                       c10::ScalarType type) {
  const at::Tensor stored = file.read(name, begin, end);
  at::Tensor elements = stored.to(type);
  if (const auto first = checkpoint::first_not_finite(elements))
    throw Error(
        "{} holds {} at element {} of {}; a finite number, in this precision as {}, was expected. Name a "
        "file of sound weights.",
        file.path(), stored[*first].item<double>(), begin + *first, name, checkpoint::type_name(type));
  return elements;
}

// Whether the file holds a head of the embedding's shape beside it, where the model has but the embedding.
bool has_spare_head(const SafetensorsFile& file, const parallel::ParameterSpace& space) {
  const auto& tensors = file.tensors();
  const auto first = tensors.find(embedding), second = tensors.find(head);
  const std::vector<Array> model = checkpoint::arrays_of(space);
  return first != tensors.end() && second != tensors.end() && first->second.shape == second->second.shape &&
         std::none_of(model.begin(), model.end(), [](const Array& a) { return a.name == head; });
}

// Fills what this rank owns. Returns what was read.
std::string read_into(const SafetensorsFile& file, parallel::ParameterSpace& space) {
  const bool spare_head = has_spare_head(file, space);
  std::vector<Array> stored;
  for (const auto& [name, tensor] : file.tensors())
    if (!spare_head || name != head) stored.push_back({name, tensor.shape});
  const std::string differences = checkpoint::differences(stored, space);
  if (!differences.empty())
    throw Error(
        "{} is of another model than this recipe's: {}. Write the file's model into the recipe, or name "
        "another file.",
        file.path(), differences);

  for (const parallel::BlockSlice& piece : space.owned_pieces()) {
    const std::string& name = piece.block->name;
    const auto type = common::state_type(space.options().precision, piece.range->traits);
    const at::Tensor elements = read_finite(file, name, piece.begin, piece.end, type);
    if (spare_head && name == embedding &&
        !elements.equal(read_finite(file, head, piece.begin, piece.end, type)))
      throw Error(
          "{} holds {} and another {}, but this model's head is its embedding. Name a file of such a model.",
          file.path(), embedding, head);
    space.write(piece, parallel::StateArray::weights, elements);
  }
  return file.path() +
         (spare_head ? fmt::format(" (its {} equals {} and is not needed)", head, embedding) : "");
}

}  // namespace

std::string load_initial_weights(const std::string& reference, parallel::ParameterSpace& space,
                                 parallel::Communicator& communicator, const parallel::World& world) {
  std::string source;
  RunReference run;
  world.together([&] {
    check_exists(reference);
    if (fs::is_regular_file(reference))
      source = read_into(SafetensorsFile(reference), space);
    else
      run = parse_run_reference(reference);
  });
  if (source.empty()) {
    const OpenedRun opened(run, world);
    opened.store.load(opened.checkpoint, space, communicator, {.moments = false});
    return opened.checkpoint.path.string();
  }
  space.round_masters();
  space.gather_values(communicator);
  return source;
}

}  // namespace sisa::launcher
