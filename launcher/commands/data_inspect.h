// `sisa data inspect`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "data/tokens/manifest.h"
#include "launcher/commands/options.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct DataInspectArguments {
  static constexpr const char* name = "data inspect";
  std::filesystem::path path;        // whatever data::TokenDataset opens
  std::string tokenizer;             // a file, or "bytes"; "": the dataset's own, if it can be found
  std::optional<data::Split> split;  // absent: both
  int64_t first = 0, count = 64;     // the tokens of each split that are shown
  bool check = true;                 // read everything
  bool counts = false;               // show the most frequent ids
};
void add_options(Options& options, DataInspectArguments& arguments);
int run(const DataInspectArguments& arguments, const parallel::World& world);

}  // namespace sisa::launcher
