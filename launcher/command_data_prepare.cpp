#include <fmt/format.h>
#include <unistd.h>

#include "common/quantity.h"
#include "data/prepare.h"
#include "data/tokenizer.h"
#include "launcher/commands.h"
#include "launcher/dataset_table.h"
#include "launcher/on_root.h"

namespace sisa::launcher {

using common::format_bytes;
using common::format_count;

namespace {

void show_progress(const data::PrepareProgress& progress) {
  if (isatty(STDERR_FILENO) == 0) return;
  fmt::print(stderr, "\r{} documents, {}, {} tokens ", format_count(progress.documents),
             format_bytes(static_cast<double>(progress.text_bytes)), format_count(progress.tokens));
}

}  // namespace

int run_data_prepare(const DataPrepareArguments& arguments, const parallel::World& world) {
  return on_root(world, [&] {
    const data::PrepareOptions options{
        .inputs = {arguments.inputs.begin(), arguments.inputs.end()},
        .output = arguments.output,
        .validation = arguments.validation,
        .on_error = arguments.skip_errors ? data::OnError::skip : data::OnError::stop};
    data::prepare(options, *data::make_tokenizer(arguments.tokenizer), show_progress);
    if (isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\n");
    fmt::print("{}", dataset_table(arguments.output));
  });
}

}  // namespace sisa::launcher
