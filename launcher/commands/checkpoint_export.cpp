#include "launcher/commands/checkpoint_export.h"

#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <string>
#include <system_error>

#include "checkpoint/contents.h"
#include "checkpoint/export.h"
#include "checkpoint/folders.h"
#include "common/error.h"
#include "common/file.h"
#include "common/quantity.h"
#include "launcher/commands/hugging_face.h"
#include "launcher/commands/on_root.h"
#include "launcher/recipe/recipe.h"
#include "launcher/run/kept_tokenizer.h"
#include "launcher/run/opened_run.h"

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
std::string export_folder(const CheckpointExportArguments& arguments, const OpenedRun& opened,
                          const Contents& contents, const fs::path& output) {
  const Recipe recipe = opened.recipe();
  const std::string tokenizer =
      arguments.tokenizer.empty() ? tokenizer_of(recipe, opened.folder) : arguments.tokenizer;
  const fs::path temporary = output.parent_path() / checkpoint::temporary_name(output.filename().string());
  try {
    common::create_directories(temporary);
    write_hugging_face_files(temporary, recipe, tokenizer, arguments.type);
    export_safetensors(opened.checkpoint.path, contents, temporary / "model.safetensors", arguments.type);
    checkpoint::publish_folder(temporary, output);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
  return tokenizer.empty() ? "Without a tokenizer: the recipe names none. --tokenizer FILE adds one.\n" : "";
}

}  // namespace

void add_options(Options& options, CheckpointExportArguments& arguments) {
  options.describe(
      "A checkpoint's weights for other programs: a safetensors file, or a folder for transformers");
  add_run(options, arguments.run);
  options.add("--output", arguments.output, "PATH", "file or folder to write").required();
  options.read("--format", "safetensors|hf",
               "safetensors, or hf: a folder that Hugging Face's transformers loads [safetensors]",
               [&arguments](const std::string& text) {
                 if (text != "safetensors" && text != "hf")
                   throw Error("'{}' is neither safetensors nor hf.", text);
                 arguments.hugging_face = text == "hf";
               });
  options.read(
      "--dtype", "fp64|fp32|bf16|fp16", "round all numbers to fp64, fp32, bf16 or fp16 [fp32]",
      [&arguments](const std::string& text) {
        const std::map<std::string, c10::ScalarType> types = {
            {"fp64", c10::kDouble}, {"fp32", c10::kFloat}, {"bf16", c10::kBFloat16}, {"fp16", c10::kHalf}};
        if (!types.contains(text)) throw Error("'{}' is none of fp64, fp32, bf16 and fp16.", text);
        arguments.type = types.at(text);
      });
  options.add("--tokenizer", arguments.tokenizer, "FILE|bytes",
              "of --format hf: bytes, or a tokenizer's file [the recipe's]");
}

int run(const CheckpointExportArguments& arguments, const parallel::World& world) {
  RunReference reference;
  world.together([&] {
    reference = parse_run_reference(arguments.run);
    if (!arguments.tokenizer.empty() && !arguments.hugging_face)
      throw Error("--tokenizer goes with --format hf; a safetensors file holds none.");
  });
  const OpenedRun opened(reference, world);
  return on_root(world, [&] {
    const fs::path output = new_output(arguments.output);
    const Contents contents = opened.contents();
    std::string remark;
    if (arguments.hugging_face)
      remark = export_folder(arguments, opened, contents, output);
    else
      export_safetensors(opened.checkpoint.path, contents, output, arguments.type);
    fmt::print("{}: step {}, {} arrays of {} elements, {}\n{}", arguments.output.string(),
               common::format_count(opened.checkpoint.step), contents.arrays.size(),
               common::format_count(contents.num_elements()),
               common::format_bytes(static_cast<double>(checkpoint::folder_bytes(output))), remark);
  });
}

}  // namespace sisa::launcher
