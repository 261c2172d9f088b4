#include "launcher/commands/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
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
  const auto check = [](const std::string& given) -> std::string {
    return given.empty() ? "it is given without a value (an empty text). Write one, or leave it out" : "";
  };
  option.check(CLI::Validator(check, /*description=*/"", not_empty));
  return Option(option);
}
template Option Options::add(const std::string&, std::string&, const std::string&, const std::string&);
template Option Options::add(const std::string&, fs::path&, const std::string&, const std::string&);
template Option Options::add(const std::string&, std::vector<std::string>&, const std::string&,
                             const std::string&);
template Option Options::add(const std::string&, std::vector<fs::path>&, const std::string&,
                             const std::string&);

// The library's own reading of numbers takes 010 for eight and -1 for the largest unsigned number.
template <typename Number, typename Accepted>
CLI::Option& Options::add_number(const std::string& name, Number& value, const std::string& help,
                                 const std::string& expected, const Accepted& accepted) {
  const auto read = [name, &value, expected, accepted](const std::string& text) {
    Number found{};
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), found);
    if (error != std::errc() || stop != text.data() + text.size() || !accepted(found))
      throw CLI::ValidationError(name, fmt::format("'{}' is given, but it must be {}.", text, expected));
    value = found;
  };
  CLI::Option& option = *app_.add_option_function<std::string>(name, read, help);
  return *option.default_function([&value] { return fmt::format("{}", value); });
}

template <typename Whole>
Option Options::whole(const std::string& name, Whole& value, const std::string& type, const std::string& help,
                      std::type_identity_t<Whole> low, std::type_identity_t<Whole> high) {
  const std::string expected = fmt::format("a whole number from {} to {}", low, high);
  const auto accepted = [=](Whole found) { return low <= found && found <= high; };
  return Option(*add_number(name, value, help, expected, accepted).type_name(type));
}
template Option Options::whole(const std::string&, int&, const std::string&, const std::string&, int, int);
template Option Options::whole(const std::string&, int64_t&, const std::string&, const std::string&, int64_t,
                               int64_t);
template Option Options::whole(const std::string&, uint64_t&, const std::string&, const std::string&,
                               uint64_t, uint64_t);

Option Options::number(const std::string& name, double& value, const std::string& type,
                       const std::string& help, const common::Bound& low, const common::Bound& high) {
  std::string expected = fmt::format("a number {} {}", low.included ? "from" : "above", low.value);
  expected +=
      std::isfinite(high.value) ? fmt::format("{} {}", high.included ? " to" : " and below", high.value) : "";
  const auto accepted = [=](double found) { return common::within(found, low, high); };
  return Option(*add_number(name, value, help, expected, accepted).type_name(type));
}

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
