#include "launcher/commands/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "common/error.h"
#include "model/mixers/registry.h"

namespace sisa::launcher {

namespace fs = std::filesystem;

namespace {
const std::string not_empty = "not empty";  // the name of the check
}

Option Option::required() const {
  option_->required();
  return *this;
}

Option Option::range(int low, int high) const {
  option_->check(CLI::Range(low, high));
  return *this;
}

Option Option::not_negative() const {
  option_->check(CLI::NonNegativeNumber);
  return *this;
}

Option Option::show_default() const {
  option_->capture_default_str();
  return *this;
}

Option Option::needs(const Option& other) const {
  option_->needs(other.option_);
  return *this;
}

Option Option::may_be_empty() const {
  option_->get_validator(not_empty)->active(false);
  return *this;
}

Option Option::replaces(const Option& other) const {
  option_->each([option = other.option_](const std::string&) { option->required(false); });
  return *this;
}

void Options::describe(const std::string& text) {
  app_.description(text);
}

void Options::footer(const std::string& text) {
  app_.footer(text);
}

void Options::before_footer(const std::string& text) {
  app_.footer(text + "\n\n" + app_.get_footer());
}

template <typename Value>
Option Options::add(const std::string& name, Value& value, const std::string& type, const std::string& help) {
  CLI::Option& option = *app_.add_option(name, value, help)->type_name(type);
  constexpr bool several =
      std::is_same_v<Value, std::vector<std::string>> || std::is_same_v<Value, std::vector<fs::path>>;
  if (several && name.starts_with('-')) option.allow_extra_args(false);
  constexpr bool text = several || std::is_same_v<Value, std::string> || std::is_same_v<Value, fs::path>;
  const auto check = [](const std::string& given) -> std::string {
    return given.empty() ? "it is given without a value (an empty text). Write one, or leave it out" : "";
  };
  if (text) option.check(CLI::Validator(check, /*description=*/"", not_empty));
  return Option(option);
}
template Option Options::add(const std::string&, std::string&, const std::string&, const std::string&);
template Option Options::add(const std::string&, fs::path&, const std::string&, const std::string&);
template Option Options::add(const std::string&, int&, const std::string&, const std::string&);
template Option Options::add(const std::string&, int64_t&, const std::string&, const std::string&);
template Option Options::add(const std::string&, uint64_t&, const std::string&, const std::string&);
template Option Options::add(const std::string&, double&, const std::string&, const std::string&);
template Option Options::add(const std::string&, std::vector<std::string>&, const std::string&,
                             const std::string&);
template Option Options::add(const std::string&, std::vector<fs::path>&, const std::string&,
                             const std::string&);

Option Options::read(const std::string& name, const std::string& type, const std::string& help,
                     std::function<void(const std::string&)> read) {
  const auto read_or_refuse = [name, read = std::move(read)](const std::string& text) {
    try {
      read(text);
    } catch (const Error& error) {
      throw CLI::ValidationError(name, error.what());
    }
  };
  return Option(*app_.add_option_function<std::string>(name, read_or_refuse, help)->type_name(type));
}

Option Options::flag(const std::string& name, bool& value, const std::string& help) {
  return Option(*app_.add_flag(name, value, help));
}

Options Options::group(const std::string& heading, size_t min, size_t max) {
  CLI::App& app = *app_.add_option_group(heading);
  app.require_option(min, max);
  return Options(app);
}

void add_run(Options& options, std::string& run, const std::string& name) {
  options.add(name, run, "RUN[@STEP]", "a run's folder, for its newest checkpoint, or FOLDER@STEP")
      .required();
}

void add_overrides(Options& options, std::vector<std::string>& overrides) {
  options.add("--set", overrides, "SECTION.KEY=VALUE", "override a key of the recipe; may be repeated");
}

Option add_recipe(Options& options, fs::path& recipe, std::vector<fs::path>& overlays,
                  std::vector<std::string>& overrides) {
  const Option added = options.add("RECIPE", recipe, "FILE", "recipe (docs/recipes.md)").required();
  options.add("--overlay", overlays, "FILE",
              "recipe whose keys win over RECIPE's, before --set; may be repeated");
  add_overrides(options, overrides);
  std::string systems = "Systems (model.system):";
  for (const model::System& system : model::systems())
    systems += fmt::format("\n  {:<13}{}", system.name, system.doc);
  options.before_footer(systems);
  return added;
}

void add_tokenizer(Options& options, std::string& tokenizer) {
  options
      .add("--tokenizer", tokenizer, "FILE|bytes",
           "bytes, or a tokenizer.json or its folder (docs/data.md: what of it can be used)")
      .required();
}

}  // namespace sisa::launcher
