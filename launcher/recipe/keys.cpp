#include "launcher/recipe/keys.h"

#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join

#include <algorithm>
#include <string_view>
#include <utility>

#include "common/error.h"
#include "common/precision_names.h"
#include "common/text.h"
#include "launcher/recipe/sources.h"
#include "launcher/recipe/system_keys.h"
#include "launcher/recipe/values.h"
#include "model/costs.h"
#include "model/mixers/registry.h"

namespace sisa::launcher {

using common::above;
using common::below;
using common::from;
using common::Precision;
using common::to;
using common::Unit;
using parallel::WeightDecayOn;

namespace {

// Adds rows of one section: `add("d_ff", &ModelConfig::d_ff, count(0), Change::refused, "…")`.
template <typename Section>
class SectionRows {
 public:
  SectionRows(std::vector<RecipeKey>& rows, std::string name, Section Recipe::*section)
      : rows_(rows), name_(std::move(name)), section_(section) {}

  // Base: Section itself, or the struct that it inherits the member from.
  template <typename Base, typename T>
  SectionRows& add(const std::string& name, T Base::*member, const ValueKind<T>& kind, OnResume on_resume,
                   const std::string& doc) {
    const auto field = [ section = section_, member ](auto& recipe) -> auto& {
      return (recipe.*section).*member;
    };
    const Recipe defaults;
    rows_.push_back({.section = name_,
                     .name = name,
                     .expected = kind.expected,
                     .default_text = kind.print(field(defaults)),
                     .doc = doc,
                     .belongs_to = "",
                     .on_resume = on_resume,
                     .read = [=](const Yaml& value, Recipe& recipe) { field(recipe) = kind.read(value); },
                     .print = [=](const Recipe& recipe) { return kind.print(field(recipe)); },
                     .set_default = [=](Recipe& recipe) { field(recipe) = field(defaults); },
                     .has_meaning = [](const Recipe&) { return true; }});
    return *this;
  }

  // Gives the row just added a default that other keys decide, in words and as a rule.
  SectionRows& with_default(const std::string& words, const std::function<void(Recipe&)>& rule) {
    rows_.back().default_text = words;
    rows_.back().set_default = rule;
    return *this;
  }
  // Gives it a reader that looks at other keys too.
  SectionRows& read_by(const std::function<void(const Yaml&, Recipe&)>& read) {
    rows_.back().read = read;
    return *this;
  }
  // Names the choice without which the key has no meaning.
  SectionRows& only_with(const std::string& choice, const std::function<bool(const Recipe&)>& chosen) {
    rows_.back().belongs_to = choice;
    rows_.back().has_meaning = chosen;
    return *this;
  }

 private:
  std::vector<RecipeKey>& rows_;
  std::string name_;
  Section Recipe::*section_;
};

void add_run(std::vector<RecipeKey>& rows) {
  SectionRows(rows, "run", &Recipe::run)
      .add("output", &RunSection::output, path(), Change::free,
           "the run's folder; `--output` of `sisa train` wins over it")
      .add("seed", &RunSection::seed, seed(), Change::shown,
           "decides initial weights, the order of the data and the samples of tasks, whatever the ranks")
      .add("device", &RunSection::device, choice({"cpu", "cuda"}), Change::shown,
           "what each rank computes on; cuda: one GPU a rank")
      .add("threads", &RunSection::threads, count(0, 1024), Change::free,
           "CPU threads a rank; 0: cores of the host / ranks on it. Results are bitwise equal at equal "
           "threads only")
      .add("precision", &RunSection::precision,
           choice<Precision>({common::precision_names.begin(), common::precision_names.end()}), Change::shown,
           "bf16: fp32 masters, gradients and moments; bf16_pure: the published code's, none of these; fp64: "
           "CPU only")
      .with_default(
          "bf16 on cuda, fp32 on cpu",
          [](Recipe& r) { r.run.precision = r.run.device == "cuda" ? Precision::bf16 : Precision::fp32; })
      .add("determinism", &RunSection::determinism,
           choice<Determinism>({{"strict", Determinism::strict}, {"fast", Determinism::fast}}), Change::shown,
           "strict: the same bits on every run; fast: on cuda some gradients are summed in any order")
      .with_default("fast on cuda, strict on cpu",
                    [](Recipe& r) {
                      r.run.determinism = r.run.device == "cuda" ? Determinism::fast : Determinism::strict;
                    })
      .add("fused", &RunSection::fused, flag(), Change::shown,
           "on cuda in bf16, our own kernels; false: LibTorch's operations, which are slower, for comparison")
      .add("init_from", &RunSection::init_from, path(), Change::free,
           "start from these weights: a safetensors file or RUN[@STEP]; optimizer, step and data begin anew. "
           "A run that resumes goes by its own checkpoint instead");
}

// The SwiGLU's width, or `match N`: the one that gives N parameters with the keys above.
constexpr int64_t widest = 1 << 20;
ValueKind<int64_t> feed_forward_width() {
  ValueKind<int64_t> kind = count(0, widest);
  kind.expected += ", or match and a number of parameters";
  return kind;
}

void read_d_ff(const Yaml& value, Recipe& recipe) {
  constexpr std::string_view match = "match ";
  if (value.kind != Yaml::Kind::scalar || !value.text.starts_with(match)) {
    recipe.model.d_ff = feed_forward_width().read(value);
    return;
  }
  Yaml target = value;
  target.text.erase(0, match.size());
  const int64_t num_parameters = count(1).read(target);
  try {
    recipe.model.d_ff = model::match_d_ff(recipe.model, num_parameters);
  } catch (const Error& error) {
    throw Error("is '{}', which cannot be met: {}", value.text, error.what());
  }
  if (recipe.model.d_ff > widest)
    throw Error("is '{}', which takes a width of {}, above {}", value.text, recipe.model.d_ff, widest);
}

void add_all(std::vector<RecipeKey>& rows, const std::vector<RecipeKey>& more) {
  rows.insert(rows.end(), more.begin(), more.end());
}

void add_model(std::vector<RecipeKey>& rows) {
  using model::ModelConfig;
  SectionRows(rows, "model", &Recipe::model)
      .add("system", &ModelConfig::system, choice(model::system_names()), Change::refused,
           "how a layer mixes tokens")
      .add("vocab_size", &ModelConfig::vocab_size, count(2, 1 << 24), Change::refused,
           "token ids; at least the tokenizer's")
      .add("d_model", &ModelConfig::d_model, count(1, 1 << 16), Change::refused,
           "width of the residual stream")
      .add("num_layers", &ModelConfig::num_layers, count(1, 1024), Change::refused, "layers");
  add_all(rows, system_keys());
  SectionRows(rows, "model", &Recipe::model)
      .add("d_ff", &ModelConfig::d_ff, feed_forward_width(), Change::refused,
           "SwiGLU width, 0: none; `match 152M` chooses the width that gives so many parameters")
      .read_by(read_d_ff)
      .only_with(systems_with_feed_forward(), has_feed_forward);
}

void add_data(std::vector<RecipeKey>& rows) {
  SectionRows(rows, "data", &Recipe::data)
      .add("tokenizer", &DataSection::tokenizer, text("bytes or a file"), Change::refused,
           "bytes, or a tokenizer's file; needed to train on text")
      .add(
          "sources", &DataSection::sources, sources(), Change::shown,
          "raw texts, folders of `sisa data prepare`, tokens of llm.c, Megatron-LM or the published code, or "
          "synthetic tasks; samples are drawn in proportion to weight; needed to train. Keys: below")
      .add("sequence_length", &DataSection::sequence_length, count(1, 1 << 24, Unit::tokens), Change::shown,
           "tokens of a sample")
      .add("validation", &DataSection::validation, hold_out(), Change::shown,
           "share that is held out of sources of raw text, and of other programs' tokens (the last ones) "
           "unless their files' names say val; more would leave less than half to train on. Or a text, a "
           "folder of texts, or tokens: all of it is held out, and of the sources nothing");
}

void add_train(std::vector<RecipeKey>& rows) {
  constexpr int64_t most_tokens = 1'000'000'000'000'000;
  SectionRows(rows, "train", &Recipe::train)
      .add("max_tokens", &TrainSection::max_tokens, count(1, most_tokens, Unit::tokens), Change::shown,
           "length of the run: max_tokens / batch steps, rounded down")
      .add("batch", &TrainSection::batch, count(1, most_tokens, Unit::tokens), Change::refused,
           "tokens a step over all ranks; a multiple of data.sequence_length")
      .add("micro_batch", &TrainSection::micro_batch, count(1, 1 << 20), Change::free,
           "samples that a rank runs at once, at most; decides memory and speed, not the result")
      .add("recompute", &TrainSection::recompute, count(0, 1024), Change::free,
           "layers, from the first on, whose activations are computed again in the backward pass instead of "
           "kept: less memory, more time, the same result; at most model.num_layers, which is all")
      .add("schedule", &TrainSection::schedule,
           choice<ScheduleKind>({{"cosine", ScheduleKind::cosine},
                                 {"wsd", ScheduleKind::wsd},
                                 {"constant", ScheduleKind::constant}}),
           Change::shown,
           "the learning rate after its rise: cosine to 0; wsd: constant, then linear to 0; constant")
      .add("warmup", &TrainSection::warmup, quantity({Unit::steps, Unit::tokens}, "none"), Change::shown,
           "the learning rate's linear rise; shorter than the run")
      .add(
          "warmup_start", &TrainSection::warmup_start,
          choice<WarmupStart>({{"zero", WarmupStart::zero}, {"first_step", WarmupStart::first_step}}),
          Change::shown,
          "zero: the first step's learning rate is 0, as published; first_step: it is 1 / warmup of the peak")
      .add("cooldown", &TrainSection::cooldown, number(from(0), to(1)), Change::shown,
           "share of all steps in which wsd falls to 0")
      .only_with("train.schedule: wsd",
                 [](const Recipe& r) { return r.train.schedule == ScheduleKind::wsd; });
}

void add_optimizer(std::vector<RecipeKey>& rows) {
  using parallel::AdamWOptions;
  SectionRows(rows, "optimizer", &Recipe::optimizer)
      .add("learning_rate", &AdamWOptions::learning_rate, number(above(0), to(10)), Change::shown,
           "of AdamW at the schedule's peak");
  add_all(rows, learning_rate_keys());
  SectionRows(rows, "optimizer", &Recipe::optimizer)
      .add("beta1", &AdamWOptions::beta1, number(from(0), below(1)), Change::shown,
           "decay of the first moment")
      .add("beta2", &AdamWOptions::beta2, number(from(0), below(1)), Change::shown,
           "decay of the second moment")
      .add("epsilon", &AdamWOptions::epsilon, number(above(0), to(1)), Change::shown,
           "added to the root of the second moment")
      .add("weight_decay", &AdamWOptions::weight_decay, number(from(0), to(10)), Change::shown,
           "decoupled; times the learning rate")
      .add("weight_decay_on", &AdamWOptions::weight_decay_on,
           choice<WeightDecayOn>({{"all", WeightDecayOn::all}, {"matrices", WeightDecayOn::matrices}}),
           Change::shown,
           "matrices: what enters a matrix product, and the embedding; SISA's lambda never decays")
      .with_default("all with bf16_pure, else matrices",
                    [](Recipe& r) {
                      r.optimizer.weight_decay_on = r.run.precision == Precision::bf16_pure
                                                        ? WeightDecayOn::all
                                                        : WeightDecayOn::matrices;
                    })
      .add("clip", &AdamWOptions::clip, number(from(0)), Change::shown,
           "largest norm of the whole gradient; 0: no clipping")
      .add("sharded", &OptimizerSection::sharded, flag(), Change::free,
           "each rank holds its slice of masters and moments; false: all of them");
}

void add_others(std::vector<RecipeKey>& rows) {
  SectionRows(rows, "checkpoint", &Recipe::checkpoint)
      .add("every", &CheckpointSection::every,
           quantity({Unit::steps, Unit::tokens, Unit::seconds}, "only at the end"), Change::free,
           "between two checkpoints; one is always saved at the end")
      .add("asynchronous", &CheckpointSection::asynchronous, flag(), Change::free,
           "training goes on while a checkpoint is written; one that falls due meanwhile waits for it")
      .add("keep_last", &CheckpointSection::keep_last, count(1, 1'000'000), Change::free,
           "the newest checkpoints that stay; older ones are deleted unless another key keeps them")
      .add("keep_every", &CheckpointSection::keep_every, count(0, no_maximum, Unit::tokens), Change::free,
           "the first checkpoint at or after each multiple of so many tokens stays for ever; 0: none")
      .add("keep_best", &CheckpointSection::keep_best, flag(), Change::free,
           "the checkpoint with the lowest held-out loss stays, of those whose step was evaluated")
      .add("save_at", &CheckpointSection::save_at, save_points(), Change::free,
           "also save the weights alone there; these checkpoints stay for ever")
      .add(
          "patience", &CheckpointSection::patience, count(1, 86'400, Unit::seconds), Change::free,
          "a disk that does not answer for so long is reported; after a signal to stop, the run ends without "
          "it");
  SectionRows(rows, "evaluation", &Recipe::evaluation)
      .add("every", &EvaluationSection::every, quantity({Unit::steps, Unit::tokens}, "only at the end"),
           Change::free, "between two evaluations of the held-out loss; one always comes at the end")
      .add("tokens", &EvaluationSection::tokens, count(0, no_maximum, Unit::tokens), Change::free,
           "held-out tokens of text that are scored, at most; 0: all. Of tasks all are");
  SectionRows(rows, "log", &Recipe::log)
      .add("every", &LogSection::every, count(1, 1'000'000, Unit::steps), Change::free,
           "between two lines on the screen")
      .add("monitors", &LogSection::monitors, quantity({Unit::steps, Unit::tokens}, "none"), Change::free,
           "between two readings of the model's monitors: " + all_readings())
      .only_with(systems_with_readings(), has_readings);
}

std::string unknown(const std::string& what, const std::vector<std::string>& candidates,
                    const std::string& word) {
  const std::string near = common::nearest(word, candidates);
  return near.empty() ? fmt::format("{} are {}", what, fmt::join(candidates, ", "))
                      : fmt::format("did you mean '{}'?", near);
}

std::string_view change_name(Change change) {
  switch (change) {
    case Change::free:
      return "free";
    case Change::shown:
      return "shown";
    case Change::refused:
      return "refused";
  }
  TORCH_INTERNAL_ASSERT(false, "unknown class of changes");
}

// `|` ends a cell in Markdown.
std::string cell(const std::string& text) {
  return fmt::format("{}", fmt::join(common::split(text, '|'), "\\|"));
}

}  // namespace

const std::vector<RecipeKey>& recipe_keys() {
  static const std::vector<RecipeKey> table = [] {
    std::vector<RecipeKey> rows;
    for (const auto add : {add_run, add_model, add_data, add_train, add_optimizer, add_others}) add(rows);
    return rows;
  }();
  return table;
}

std::vector<std::string> recipe_sections() {
  std::vector<std::string> sections;
  for (const RecipeKey& key : recipe_keys())
    if (sections.empty() || sections.back() != key.section) sections.push_back(key.section);
  return sections;
}

void check_section(const std::string& section, const std::string& where) {
  const std::vector<std::string> sections = recipe_sections();
  if (std::find(sections.begin(), sections.end(), section) == sections.end())
    throw Error("{}: there is no section '{}'; {}", where, section,
                unknown("the sections", sections, section));
}

const RecipeKey& find_key(const std::string& section, const std::string& name, const std::string& where) {
  check_section(section, where);
  std::vector<std::string> in_section, elsewhere;
  for (const RecipeKey& key : recipe_keys()) {
    if (key.section == section && key.name == name) return key;
    if (key.section == section) in_section.push_back(key.name);
    if (key.name == name) elsewhere.push_back(key.full_name());
  }
  if (!elsewhere.empty())
    throw Error("{}: section '{}' has no key '{}'; did you mean {}?", where, section, name,
                common::join_choices(elsewhere));
  throw Error("{}: section '{}' has no key '{}'; {}", where, section, name,
              unknown("its keys", in_section, name));
}

std::string print_on_a_line(const RecipeKey& key, const Recipe& recipe) {
  const std::string text = key.print(recipe);
  constexpr std::string_view begin_of_item = "    - ";
  std::vector<std::string> items = common::split(text, '\n');
  if (items.size() == 1) return text;
  items.erase(items.begin());  // what stands before the list: nothing
  for (std::string& item : items) item.erase(0, begin_of_item.size());
  return fmt::format("[{}]", fmt::join(items, ", "));
}

std::string recipe_keys_markdown() {
  std::string text, section;
  for (const RecipeKey& key : recipe_keys()) {
    if (key.section != section) {
      section = key.section;
      text += fmt::format(
          "\n### {}\n\n| key | default | must be | when resumed | meaning |\n|---|---|---|---|---|\n",
          section);
    }
    const std::string needs = key.belongs_to.empty() ? "" : fmt::format(" (only with `{}`)", key.belongs_to);
    text += fmt::format("| `{}` | {} | {} | {} | {}{} |\n", key.name, cell(key.default_text),
                        cell(key.expected), change_name(key.on_resume.change), cell(key.doc), needs);
  }
  return text + source_keys_markdown();
}

}  // namespace sisa::launcher
