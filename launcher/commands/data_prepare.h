// `sisa data prepare`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launcher/commands/options.h"
#include "launcher/recipe/sections.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct DataPrepareArguments {
  static constexpr const char* name = "data prepare";
  std::vector<std::string> inputs;  // files; "-": standard input
  std::string tokenizer;            // a file, or "bytes"
  std::filesystem::path output;
  HeldOutText validation;    // what is held out
  bool skip_errors = false;  // pass over documents that cannot be read
  bool deduplicate = false;  // drop documents whose text came before
  int threads = 0;           // of each rank; 0: the cores of a host are shared among its ranks
};
void add_options(Options& options, DataPrepareArguments& arguments);
int run(const DataPrepareArguments& arguments, const parallel::World& world);

}  // namespace sisa::launcher
