#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/disk.h"
#include "checkpoint/export.h"
#include "checkpoint/folders.h"
#include "checkpoint/master_file.h"
#include "checkpoint/store.h"
#include "common/error.h"
#include "common/file.h"
#include "common/quantity.h"
#include "launcher/commands/commands.h"
#include "launcher/commands/hugging_face.h"
#include "launcher/commands/on_root.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/run_folder.h"

namespace sisa::launcher {
namespace fs = std::filesystem;
namespace {

using checkpoint::Contents;

// Absolute, and without a slash at its end, which a folder that does not exist yet may have been given.
fs::path new_output(const fs::path& given) {
  fs::path output = (fs::current_path() / given).lexically_normal();
  if (!output.has_filename()) output = output.parent_path();
  if (fs::exists(fs::symlink_status(output)))
    throw Error("{} is there already. Remove it, or choose another --output.", output.string());
  common::create_directories(output.parent_path());
  return output;
}

// The folder appears under its name once it is complete. Returns a remark for the user.
std::string export_folder(const CheckpointExportArguments& arguments, const fs::path& checkpoint,
                          const Contents& contents, const fs::path& output) {
  const Recipe recipe = parse_recipe(contents.state.recipe, checkpoint.string());
  const std::string tokenizer = arguments.tokenizer.empty() ? recipe.data.tokenizer : arguments.tokenizer;
  const fs::path temporary = output.parent_path() / checkpoint::temporary_name(output.filename().string());
  try {
    common::create_directories(temporary);
    write_hugging_face_files(temporary, recipe, tokenizer, arguments.type);
    export_safetensors(checkpoint, contents, temporary / "model.safetensors", arguments.type);
    checkpoint::publish_folder(temporary, output);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
  return tokenizer.empty() ? "Without a tokenizer: the recipe names none. --tokenizer FILE adds one.\n" : "";
}

}  // namespace

int run_checkpoint_export(const CheckpointExportArguments& arguments, const parallel::World& world) {
  RunReference run;
  world.together([&] {
    run = parse_run_reference(arguments.run);
    if (!arguments.tokenizer.empty() && !arguments.hugging_face)
      throw Error("--tokenizer goes with --format hf; a safetensors file holds none.");
  });
  const checkpoint::Store store(run.folder.checkpoints(), world);
  const checkpoint::Entry entry = find_checkpoint(run, store, world);
  return on_root(world, [&] {
    const fs::path output = new_output(arguments.output);
    const Contents contents = checkpoint::read_master(entry.path);
    std::string remark;
    if (arguments.hugging_face)
      remark = export_folder(arguments, entry.path, contents, output);
    else
      export_safetensors(entry.path, contents, output, arguments.type);
    fmt::print("{}: step {}, {} arrays of {} elements, {}\n{}", arguments.output.string(),
               common::format_count(entry.step), contents.arrays.size(),
               common::format_count(contents.num_elements()),
               common::format_bytes(static_cast<double>(checkpoint::folder_bytes(output))), remark);
  });
}

}  // namespace sisa::launcher
