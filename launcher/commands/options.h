// How a command declares its options: a thin layer over CLI11, so that only options.cpp and command_line.cpp
// include CLI11's headers, which take several seconds to compile.
//
//   void add_options(Options& options, PlanArguments& arguments) {
//     options.describe("Show what a recipe amounts to");
//     options.whole("--ranks", arguments.ranks, "N", "plan for so many ranks", 1, 1 << 20);
//   }
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "common/bound.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace sisa::launcher {

// One option or positional argument that was added; a copy stands for the same one.
class Option {
 public:
  explicit Option(CLI::Option& option) : option_(&option) {}

  Option required() const;
  Option show_default() const;                 // the help shows the value that the argument has now
  Option needs(const Option& other) const;     // is refused without `other`
  Option replaces(const Option& other) const;  // where this one is given, `other` is no longer required
  Option may_be_empty() const;                 // "" is a value, and not a mistake

 private:
  CLI::Option* option_;
};

// The options of one command. The values must stay where they are until the command line has been read.
class Options {
 public:
  explicit Options(CLI::App& app) : app_(app) {}

  void describe(const std::string& text);  // the command's line in the help of the program
  void footer(const std::string& text);    // ends the command's own help, in place of what ends the program's
  void before_footer(const std::string& text);  // stands before what ends the help

  // An option, "--name", or a positional argument, "NAME". `type` is what the help shows for the value, such
  // as "FILE". Value is a string, a path, or a vector of either.
  // An option whose value is a vector takes one item each time that it is given; a positional argument takes
  // all that follow. An empty text, which a script's unset variable makes, is refused: most arguments hold ""
  // where nothing was given.
  template <typename Value>
  Option add(const std::string& name, Value& value, const std::string& type, const std::string& help);
  // A whole number from `low` to `high`, written in decimal digits. Whole is int, int64_t or uint64_t.
  template <typename Whole>
  Option whole(const std::string& name, Whole& value, const std::string& type, const std::string& help,
               std::type_identity_t<Whole> low, std::type_identity_t<Whole> high);
  // A finite number within the bounds.
  Option number(const std::string& name, double& value, const std::string& type, const std::string& help,
                const common::Bound& low, const common::Bound& high);
  // The same for text in a form of its own. `read` throws Error if the text is wrong; the user sees its
  // message beside the option's name.
  Option read(const std::string& name, const std::string& type, const std::string& help,
              std::function<void(const std::string&)> read);
  // An option without a value. "--name,!--no-name" has a form that sets `value` to false.
  Option flag(const std::string& name, bool& value, const std::string& help);

  // Options under a heading of their own, of which at least `min` and at most `max` must be given.
  Options group(const std::string& heading, size_t min, size_t max);

 private:
  template <typename Number, typename Accepted>
  CLI::Option& add_number(const std::string& name, Number& value, const std::string& help,
                          const std::string& expected, const Accepted& accepted);

  CLI::App& app_;
};

// What several commands have in common.

inline constexpr int64_t any_count = std::numeric_limits<int64_t>::max();
inline constexpr uint64_t any_seed = std::numeric_limits<uint64_t>::max();

void add_run(Options& options, std::string& run, const std::string& name = "RUN");  // RUN[@STEP]
void add_overrides(Options& options, std::vector<std::string>& overrides);          // --set
// RECIPE, --overlay and --set. Returns RECIPE, which is required.
Option add_recipe(Options& options, std::filesystem::path& recipe,
                  std::vector<std::filesystem::path>& overlays, std::vector<std::string>& overrides);
void add_tokenizer(Options& options, std::string& tokenizer);  // --tokenizer, required

}  // namespace sisa::launcher
