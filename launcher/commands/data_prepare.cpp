#include "launcher/commands/data_prepare.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "common/error.h"
#include "common/quantity.h"
#include "data/prepare/prepare.h"
#include "data/tokenizer/make_tokenizer.h"
#include "data/tokenizer/tokenizer.h"
#include "launcher/commands/dataset_table.h"
#include "launcher/commands/on_root.h"
#include "launcher/recipe/values.h"
#include "launcher/run/progress_line.h"

namespace sisa::launcher {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto interval = std::chrono::milliseconds(200);  // between looks at the work

data::PrepareProgress sum_over_ranks(const data::PrepareProgress& p, const parallel::World& world) {
  std::array sums = {p.documents,   p.text_bytes,       p.tokens,           p.bad,
                     p.input_bytes, p.found_text_bytes, p.found_input_bytes};
  world.all_reduce(sums, parallel::World::Reduction::sum);
  return {.documents = sums[0],
          .text_bytes = sums[1],
          .tokens = sums[2],
          .bad = sums[3],
          .input_bytes = sums[4],
          .found_text_bytes = sums[5],
          .found_input_bytes = sums[6]};
}

// Collective. The work is done by threads beside this one, which alone talks to the other ranks: a rank that
// fails stops all of them.
void tokenize(data::Preparation& preparation, const parallel::World& world) {
  std::future<void> work =
      std::async(std::launch::async, [&] { preparation.tokenize(world.rank(), world.size()); });
  ProgressLine line(world.is_root());
  const auto begin = Clock::now();
  std::exception_ptr error;
  bool working = true;
  while (true) {
    if (working && work.wait_for(interval) == std::future_status::ready) {
      working = false;
      try {
        work.get();
      } catch (...) {
        error = std::current_exception();
      }
    } else if (!working) {
      std::this_thread::sleep_for(interval);
    }
    std::array<int64_t, 2> state = {working, error != nullptr};
    world.all_reduce(state, parallel::World::Reduction::sum);
    if (state[1] > 0) preparation.stop();
    if (state[0] == 0) break;
    const data::PrepareProgress progress = sum_over_ranks(preparation.progress(), world);
    line.show(describe_progress(progress, preparation.input_bytes(),
                                std::chrono::duration<double>(Clock::now() - begin).count()));
  }
  world.together([&] {
    if (error) std::rethrow_exception(error);
  });
}

// By the root.
void join(data::Preparation& preparation, int64_t tokens) {
  std::future<data::Manifest> work = std::async(std::launch::async, [&] { return preparation.finish(); });
  ProgressLine line(true);
  while (work.wait_for(interval) != std::future_status::ready)
    line.show(fmt::format("Writing token files: {:.0f}%",
                          100 * static_cast<double>(preparation.progress().joined_tokens) /
                              static_cast<double>(std::max<int64_t>(1, tokens))));
  work.get();
}

}  // namespace

void add_options(Options& options, DataPrepareArguments& arguments) {
  options.describe(
      "Turn texts and lines of JSON, also packed by gzip or zstd, into tokens; quicker with mpirun");
  options.add("INPUT", arguments.inputs, "FILE", "texts, told apart by content; -: standard input")
      .required();
  add_tokenizer(options, arguments.tokenizer);
  options.add("--output", arguments.output, "DIR", "folder for the tokens").required();
  options.read("--validation", "SHARE|PATH",
               "share to hold out, 0 to 0.5, such as 1%; or a text, or a folder of texts, to hold out [1%]",
               [&arguments](const std::string& text) { arguments.validation = parse_hold_out(text); });
  options.read("--on-error", "stop|skip",
               "what to do with documents that cannot be read: stop or skip [stop]",
               [&arguments](const std::string& text) {
                 if (text != "stop" && text != "skip") throw Error("'{}' is neither stop nor skip.", text);
                 arguments.skip_errors = text == "skip";
               });
  options.flag("--deduplicate", arguments.deduplicate,
               "drop documents whose text came before; takes 24 bytes of memory a document");
  options.whole("--threads", arguments.threads, "N", "threads of each rank [its share of the host's cores]",
                1, 1 << 12);
  options.footer("Killed on the way, it goes on when the same command is run again.");
}

int run(const DataPrepareArguments& arguments, const parallel::World& world) {
  std::unique_ptr<data::Tokenizer> tokenizer;
  std::optional<data::Preparation> preparation;
  world.together([&] {
    tokenizer = data::make_tokenizer(arguments.tokenizer);
    std::vector<std::filesystem::path> held_out;
    if (!arguments.validation.path.empty()) held_out = data::texts_in(arguments.validation.path);
    preparation.emplace(
        data::PrepareOptions{.inputs = {arguments.inputs.begin(), arguments.inputs.end()},
                             .output = arguments.output,
                             .validation = arguments.validation.share,
                             .held_out = held_out,
                             .on_error = arguments.skip_errors ? data::OnError::skip : data::OnError::stop,
                             .deduplicate = arguments.deduplicate,
                             .tokenizer_name = arguments.tokenizer,
                             .threads = arguments.threads > 0 ? arguments.threads : world.core_share()},
        *tokenizer);
  });
  std::string job = preparation->job();
  world.broadcast(job);
  world.together([&] {
    if (job != preparation->job())
      throw Error(
          "This rank sees other inputs than rank 0: sizes or times of the files differ. All ranks must see "
          "the same files.");
  });
  std::array<int64_t, 1> complete = {};
  on_root(world, [&] {
    const auto start = preparation->begin();
    if (!start.remark.empty()) fmt::print(stderr, "{}\n", start.remark);
    complete[0] = start.complete;
  });
  world.all_reduce(complete, parallel::World::Reduction::max);
  if (complete[0] == 0) {
    tokenize(*preparation, world);
    const int64_t tokens = sum_over_ranks(preparation->progress(), world).tokens;
    on_root(world, [&] { join(*preparation, tokens); });
  }
  return on_root(world, [&] { fmt::print("{}", dataset_table(arguments.output)); });
}

}  // namespace sisa::launcher
