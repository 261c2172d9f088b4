// `sisa data encode` and its reverse, `sisa data decode`, from standard input to standard output.
#pragma once

#include <string>

#include "launcher/commands/options.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct DataEncodeArguments {
  static constexpr const char* name = "data encode";
  std::string tokenizer;  // a file, or "bytes"
};
void add_options(Options& options, DataEncodeArguments& arguments);
int run(const DataEncodeArguments& arguments, const parallel::World& world);

struct DataDecodeArguments {
  static constexpr const char* name = "data decode";
  std::string tokenizer;  // a file, or "bytes"
};
void add_options(Options& options, DataDecodeArguments& arguments);
int run(const DataDecodeArguments& arguments, const parallel::World& world);

}  // namespace sisa::launcher
