#include "launcher/commands/generate.h"

#include <fmt/format.h>

#include <cstdio>

#include "common/error.h"
#include "common/file.h"
#include "data/tokenizer/make_tokenizer.h"
#include "launcher/run/kept_tokenizer.h"
#include "launcher/run/opened_run.h"

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

void add_options(Options& options, GenerateArguments& arguments) {
  model::GenerateOptions& sampling = arguments.options;
  options.describe("Continue a prompt with a trained model");
  add_run(options, arguments.run);
  add_overrides(options, arguments.overrides);
  Options prompt = options.group("Prompt", 1, 2);
  prompt.add("--prompt", arguments.prompts, "TEXT", "text to continue; several continue at once")
      .may_be_empty();
  prompt.add("--prompt-file", arguments.prompt_files, "FILE", "file that holds one");
  options.whole("--max-tokens", sampling.max_tokens, "N", "tokens to generate, at most", 1, any_count)
      .show_default();
  options
      .number("--temperature", sampling.temperature, "X", "divides the logits", common::above(0),
              common::without_end())
      .show_default();
  options.whole("--top-k", sampling.top_k, "K", "draw among the K likeliest tokens; 0: all", 0, any_count)
      .show_default();
  options
      .number("--top-p", sampling.top_p, "P", "draw among the fewest tokens with probability P together",
              common::above(0), common::to(1))
      .show_default();
  options.flag("--greedy", sampling.greedy, "always the likeliest token");
  options
      .whole("--seed", sampling.seed, "N", "decides the draws; prompt p, from 0, draws with N + p", 0,
             any_seed)
      .show_default();
}

const char* out_of_memory_advice(const GenerateArguments&) {
  return "Give fewer or shorter prompts, or lower --max-tokens.";
}

int run(const GenerateArguments& arguments, const parallel::World& world) {
  RunReference reference;
  std::vector<std::string> prompts = arguments.prompts;
  model::GenerateOptions options = arguments.options;
  world.together([&] {
    model::validate(options);
    reference = parse_run_reference(arguments.run);
    for (const std::filesystem::path& file : arguments.prompt_files)
      prompts.push_back(common::read_file(file));
    for (const std::string& prompt : prompts)
      if (prompt.empty())
        throw Error("A prompt is empty; give at least one character with --prompt or --prompt-file.");
  });
  const TrainedModel trained = OpenedRun(reference, world).load_model(arguments.overrides);
  world.together([&] {
    if (trained.recipe.data.tokenizer.empty())
      throw Error(
          "The run {} was trained on synthetic tasks alone, without a tokenizer: it knows no text to go on "
          "from. See what it answers right with `sisa evaluate`.",
          reference.folder.path.string());
  });
  if (!world.is_root()) return common::success;  // one rank's text is enough

  const auto tokenizer = data::make_tokenizer(tokenizer_of(trained.recipe, reference.folder));
  std::vector<std::vector<int64_t>> ids;
  for (const std::string& prompt : prompts) {
    std::vector<uint32_t> tokens;
    tokenizer->encode(prompt, tokens);
    ids.emplace_back(tokens.begin(), tokens.end());
  }
  options.vocab_size = tokenizer->vocab_size();
  options.stop_token = tokenizer->end_of_document();
  Page page(prompts);
  model::generate(*trained.model, ids, options, trained.device, [&](size_t prompt, int64_t token) {
    const auto id = static_cast<uint32_t>(token);
    page.add(prompt, tokenizer->decode_continuation({&id, 1}));
  });
  page.finish();
  return common::success;
}

}  // namespace sisa::launcher
