#include "launcher/recipe/recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <system_error>

#include "common/error.h"
#include "common/file.h"
#include "data/tasks/registry.h"
#include "launcher/recipe/keys.h"
#include "launcher/recipe/yaml.h"
#include "model/mixers/registry.h"

namespace sisa::launcher {

namespace fs = std::filesystem;
using common::format_count;

namespace {

// ---- Merging: files and --set into one value per key.

// What a file is to the recipe: the recipe itself, or one that several recipes share, as base or overlay.
enum class Role { own, shared };

struct Given {
  Yaml value;
  std::string where;
  Role role;
};
using GivenKeys = std::map<std::string, Given>;  // by full name

// Later wins; `default` takes back what an earlier file said.
void give(GivenKeys& given, const std::string& section, const Yaml::Entry& entry, Role role) {
  const std::string name = find_key(section, entry.key, entry.where).full_name();
  if (entry.value.kind == Yaml::Kind::empty)
    throw Error("{}: {} has no value; write one, or `default`.", entry.where, name);
  if (entry.value.kind == Yaml::Kind::scalar && entry.value.text == "default")
    given.erase(name);
  else
    given.insert_or_assign(name, Given{entry.value, entry.where, role});
}

class Merger {
 public:
  void add_file(const fs::path& file, Role role) {
    std::error_code code;
    const fs::path canonical = fs::weakly_canonical(file, code);
    const std::string text = common::read_file(file, largest_recipe);
    if (++num_files_ > most_files)
      throw Error("{}: extends leads to more than {} files. Name fewer, or each only once.", file.string(),
                  most_files);
    chain_.push_back(canonical);
    add_text(text, file.string(), role);
    chain_.pop_back();
  }

  void add_text(std::string_view text, const std::string& source, Role role) {
    const Yaml root = parse_yaml(text, source);
    if (root.kind != Yaml::Kind::map)
      throw Error("{}: a recipe is a map of sections, such as `model:`, but this is {}.", root.where,
                  root.shown());
    for (const Yaml::Entry& entry : root.entries)
      if (entry.key == "extends") extend(entry, fs::path(source).parent_path());
    for (const Yaml::Entry& entry : root.entries)
      if (entry.key != "extends") add_section(entry, role);
  }

  void add_override(const std::string& option) {
    const size_t equals = option.find('='), dot = option.find('.');
    if (equals == std::string::npos || dot > equals || dot == 0 || dot + 1 == equals)
      throw Error("--set {}: write section.key=value, such as --set train.batch=65536.", option);
    const std::string section = option.substr(0, dot), name = option.substr(dot + 1, equals - dot - 1);
    give(given, section,
         {name, "--set", parse_yaml(option.substr(equals + 1), "--set", YamlPlace::command_line)}, Role::own);
  }

  GivenKeys given;

 private:
  void extend(const Yaml::Entry& entry, const fs::path& folder) {
    const Yaml& value = entry.value;
    for (const Yaml& item : value.kind == Yaml::Kind::list ? value.items : std::vector<Yaml>{value}) {
      if (item.kind != Yaml::Kind::scalar)
        throw Error("{}: extends is {}, but it must be a file or a list of files.", item.where, item.shown());
      const fs::path file = folder / item.text;
      std::error_code code;
      if (std::find(chain_.begin(), chain_.end(), fs::weakly_canonical(file, code)) != chain_.end())
        throw Error("{}: extends leads in a circle, back to {}.", item.where, file.string());
      if (!fs::exists(file, code))
        throw Error("{}: extends names {}, which does not exist (paths begin at the recipe's own folder).",
                    item.where, file.string());
      add_file(file, Role::shared);
    }
  }

  void add_section(const Yaml::Entry& section, Role role) {
    check_section(section.key, section.where);
    if (section.value.kind != Yaml::Kind::map)
      throw Error("{}: section '{}' holds {}, but it must hold keys with values.", section.where, section.key,
                  section.value.shown());
    for (const Yaml::Entry& entry : section.value.entries) give(given, section.key, entry, role);
  }

  // Files that extend two others each would lead to 2^30 readings after 30 of them.
  static constexpr int most_files = 100;
  static constexpr int64_t largest_recipe = 1 << 20;  // in bytes

  std::vector<fs::path> chain_;  // of files, each of which extends the next
  int num_files_ = 0;            // read so far
};

// ---- Checks of several keys together.

// Where the keys stand that a message is about: "recipe.yaml:3, --set".
std::string place(const Recipe& recipe, const std::vector<std::string>& keys) {
  std::vector<std::string> places;
  for (const std::string& key : keys) {
    const auto origin = recipe.origins.find(key);
    if (origin != recipe.origins.end() &&
        std::find(places.begin(), places.end(), origin->second) == places.end())
      places.push_back(origin->second);
  }
  return places.empty() ? "The recipe's defaults" : fmt::format("{}", fmt::join(places, ", "));
}

// The config as the network will have it.
void complete_model(Recipe& recipe) {
  for (const auto& [name, rate] : recipe.optimizer.learning_rates)
    recipe.model.rate_factors[name] = rate / recipe.optimizer.learning_rate;
  try {
    recipe.model = model::completed(recipe.model);
  } catch (const model::ConfigError& error) {
    std::vector<std::string> keys;
    for (const std::string& key : error.keys()) keys.push_back("model." + key);
    throw Error("{}: {}", place(recipe, keys), error.what());
  }
}

void check_model(const Recipe& recipe) {
  if (recipe.train.recompute > recipe.model.num_layers)
    throw Error("{}: train.recompute is {}; it must be at most model.num_layers, which is {}: all layers.",
                place(recipe, {"train.recompute", "model.num_layers"}), recipe.train.recompute,
                recipe.model.num_layers);
  constexpr int64_t byte_tokens = 257;  // 256 bytes and the end of a text
  if (recipe.data.tokenizer == "bytes" && recipe.model.vocab_size < byte_tokens)
    throw Error("{}: model.vocab_size is {}, but the tokenizer `bytes` has {} tokens.",
                place(recipe, {"model.vocab_size", "data.tokenizer"}), recipe.model.vocab_size, byte_tokens);
}

void check_device(const Recipe& recipe) {
  if (recipe.run.device != "cuda") return;
  if (recipe.run.precision == common::Precision::fp64)
    throw Error("{}: run.precision is fp64, which only run.device: cpu offers; it is for tests.",
                place(recipe, {"run.precision", "run.device"}));
}

void check_lengths(const Recipe& recipe) {
  const TrainSection& train = recipe.train;
  const int64_t length = recipe.data.sequence_length;
  if (train.batch % length != 0) {
    const int64_t lower = train.batch / length * length;
    throw Error("{}: train.batch is {} tokens, no multiple of data.sequence_length, {}; the nearest {} {}.",
                place(recipe, {"train.batch", "data.sequence_length"}), train.batch, length,
                lower > 0 ? "are" : "is",
                lower > 0 ? fmt::format("{} and {}", lower, lower + length) : std::to_string(length));
  }
  const int64_t steps = recipe.total_steps();
  if (steps == 0)
    throw Error("{}: train.max_tokens is {}, less than one step of train.batch, {} tokens.",
                place(recipe, {"train.max_tokens", "train.batch"}), train.max_tokens, train.batch);
  if (recipe.warmup_steps() + recipe.cooldown_steps() > steps || recipe.warmup_steps() == steps)
    throw Error(
        "{}: train.warmup takes {} steps{}, but the run has {} (train.max_tokens / train.batch). Shorten the "
        "one or lengthen the other.",
        place(recipe, {"train.warmup", "train.cooldown", "train.max_tokens", "train.batch"}),
        format_count(recipe.warmup_steps()),
        recipe.cooldown_steps() > 0
            ? fmt::format(" and train.cooldown {}", format_count(recipe.cooldown_steps()))
            : "",
        format_count(steps));
}

void check_tasks(const Recipe& recipe) {
  for (const Source& source : recipe.data.sources) try {
      if (source.is_task()) data::make_task(source.task, recipe.task_shape());
    } catch (const Error& error) {
      throw Error("{}: {}", place(recipe, {"data.sources", "data.sequence_length", "model.vocab_size"}),
                  error.what());
    }
}

Recipe finish(const GivenKeys& given) {
  Recipe recipe;
  for (const RecipeKey& key : recipe_keys()) {
    const auto found = given.find(key.full_name());
    if (found == given.end()) {
      key.set_default(recipe);
      continue;
    }
    const auto& [value, where, role] = found->second;
    try {
      key.read(value, recipe);
    } catch (const Error& error) {
      throw Error("{}: {} {} ({})", where, key.full_name(), error.what(), key.doc);
    }
    if (key.has_meaning(recipe)) {
      recipe.origins[key.full_name()] = where;
      continue;
    }
    if (role == Role::own)
      throw Error("{}: {} has a meaning only with {}; remove it or set it to `default`.", where,
                  key.full_name(), key.belongs_to);
    key.set_default(recipe);
  }
  complete_model(recipe);
  check_model(recipe);
  check_device(recipe);
  check_lengths(recipe);
  check_tasks(recipe);
  return recipe;
}

void check_given(const Recipe& recipe, const std::string& key, bool is_given, const std::string& advice) {
  if (!is_given) throw Error("{}: {} is not set; {}.", place(recipe, {key}), key, advice);
}

}  // namespace

Recipe load_recipe(const fs::path& file, std::span<const std::string> overrides,
                   std::span<const fs::path> overlays) {
  Merger merger;
  merger.add_file(file, Role::own);
  for (const fs::path& overlay : overlays) merger.add_file(overlay, Role::shared);
  for (const std::string& option : overrides) merger.add_override(option);
  return finish(merger.given);
}

Recipe parse_recipe(std::string_view text, const std::string& source,
                    std::span<const std::string> overrides) {
  Merger merger;
  merger.add_text(text, source, Role::own);
  for (const std::string& option : overrides) merger.add_override(option);
  return finish(merger.given);
}

std::string print_recipe(const Recipe& recipe) {
  std::string text, section;
  for (const RecipeKey& key : recipe_keys()) {
    if (!key.has_meaning(recipe)) continue;
    if (key.section != section) text += fmt::format("{}:\n", section = key.section);
    const std::string value = key.print(recipe);
    text += fmt::format("  {}:{}{}\n", key.name, value.starts_with('\n') ? "" : " ", value);
  }
  return text;
}

void check_ranks(const Recipe& recipe, int64_t world_size) {
  if (recipe.samples_per_step() < world_size)
    throw Error(
        "{}: train.batch makes {} samples a step, too few for {} ranks, each of which needs one. Start fewer "
        "ranks, or "
        "raise train.batch to {} tokens.",
        place(recipe, {"train.batch", "data.sequence_length"}), recipe.samples_per_step(), world_size,
        world_size * recipe.data.sequence_length);
}

void check_ready_to_train(const Recipe& recipe, int64_t world_size) {
  check_given(recipe, "run.output", !recipe.run.output.empty(),
              "name the run's folder there or with --output");
  const std::vector<Source>& sources = recipe.data.sources;
  check_given(recipe, "data.sources", !sources.empty(),
              "list what to train on, such as --set 'data.sources=[{path: text.txt}]'");
  const bool text = !std::all_of(sources.begin(), sources.end(), std::mem_fn(&Source::is_task));
  check_given(recipe, "data.tokenizer", !text || !recipe.data.tokenizer.empty(),
              "write `bytes` or a tokenizer's file, or use --set");
  check_ranks(recipe, world_size);
}

}  // namespace sisa::launcher
