#include <fmt/format.h>

#include <cstdio>

#include "common/error.h"
#include "common/file.h"
#include "data/tokenizer/make_tokenizer.h"
#include "launcher/commands/commands.h"
#include "launcher/run/run_folder.h"

namespace sisa::launcher {

namespace {

// Texts come token by token, all at once; on the screen they stand one below the other. So the first is shown
// as it grows, and the others when all have come to their end.
class Page {
 public:
  explicit Page(const std::vector<std::string>& prompts) : texts_(prompts) { show(0); }

  void add(size_t text, const std::string& more) {
    texts_[text] += more;
    if (text == shown_) print(more);
  }
  void finish() {
    while (shown_ + 1 < texts_.size()) {
      print("\n");
      show(shown_ + 1);
    }
    print("\n");
  }

 private:
  void show(size_t text) {
    shown_ = text;
    if (texts_.size() > 1) print(fmt::format("--- {} of {}\n", text + 1, texts_.size()));
    print(texts_[text]);
  }
  static void print(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

  std::vector<std::string> texts_;  // each so far
  size_t shown_ = 0;
};

}  // namespace

int run_generate(const GenerateArguments& arguments, const parallel::World& world) {
  RunReference run;
  std::vector<std::string> prompts = arguments.prompts;
  model::GenerateOptions options = arguments.options;
  world.together([&] {
    model::validate(options);
    run = parse_run_reference(arguments.run);
    for (const std::filesystem::path& file : arguments.prompt_files)
      prompts.push_back(common::read_file(file));
    for (const std::string& prompt : prompts)
      if (prompt.empty())
        throw Error("A prompt is empty; give at least one character with --prompt or --prompt-file.");
  });
  const TrainedModel trained(run, arguments.overrides, world);
  world.together([&] {
    if (trained.recipe.data.tokenizer.empty())
      throw Error(
          "The run {} was trained on synthetic tasks alone, without a tokenizer: it knows no text to go on "
          "from. See what it answers right with `sisa evaluate`.",
          run.folder.path.string());
  });
  if (!world.is_root()) return common::success;  // one rank's text is enough

  const auto tokenizer = data::make_tokenizer(trained.recipe.data.tokenizer);
  std::vector<std::vector<int64_t>> ids;
  for (const std::string& prompt : prompts) {
    std::vector<uint32_t> tokens;
    tokenizer->encode(prompt, tokens);
    ids.emplace_back(tokens.begin(), tokens.end());
  }
  options.stop_token = tokenizer->end_of_document();
  Page page(prompts);
  model::generate(*trained.model, ids, options, trained.device, [&](size_t prompt, int64_t token) {
    const auto id = static_cast<uint32_t>(token);
    page.add(prompt, tokenizer->decode({&id, 1}));
  });
  page.finish();
  return common::success;
}

}  // namespace sisa::launcher
