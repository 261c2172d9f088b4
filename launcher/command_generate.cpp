#include <fmt/format.h>

#include <cstdio>

#include "common/error.h"
#include "common/file.h"
#include "data/tokenizer.h"
#include "launcher/commands.h"
#include "launcher/run_folder.h"

namespace sisa::launcher {

int run_generate(const GenerateArguments& arguments, const parallel::World& world) {
  RunReference run;
  std::string prompt;
  model::GenerateOptions options = arguments.options;
  world.together([&] {
    model::validate(options);
    run = parse_run_reference(arguments.run);
    prompt =
        arguments.prompt_file ? common::read_file(*arguments.prompt_file) : arguments.prompt.value_or("");
    if (prompt.empty())
      throw Error("The prompt is empty; give at least one character with --prompt or --prompt-file.");
  });
  const TrainedModel trained(run, arguments.overrides, world);
  if (!world.is_root()) return common::success;  // one rank's text is enough

  const auto tokenizer = data::make_tokenizer(trained.recipe.data.tokenizer);
  std::vector<uint32_t> ids;
  tokenizer->encode(prompt, ids);
  options.context_length = trained.recipe.data.sequence_length;
  options.stop_token = tokenizer->end_of_document();
  const auto print = [](const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);  // each token as it comes
  };
  print(prompt);
  model::generate(*trained.model, std::vector<int64_t>(ids.begin(), ids.end()), options, trained.device,
                  [&](int64_t token) {
                    const auto id = static_cast<uint32_t>(token);
                    print(tokenizer->decode({&id, 1}));
                  });
  print("\n");
  return common::success;
}

}  // namespace sisa::launcher
