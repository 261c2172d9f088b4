#include "launcher/recipe/system_keys.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "common/text.h"
#include "launcher/recipe/values.h"
#include "model/mixers/registry.h"

namespace sisa::launcher {

using model::Key;
using model::LearningRate;
using model::Setting;
using model::System;

namespace {

template <typename T>
ValueKind<Setting> as_setting(const ValueKind<T>& kind) {
  return {.expected = kind.expected,
          .read = [=](const Yaml& value) { return Setting(kind.read(value)); },
          .print = [=](const Setting& value) { return kind.print(std::get<T>(value)); }};
}

ValueKind<Setting> value_kind(const Key& key) {
  switch (key.type) {
    case Key::Type::whole:
      return as_setting(count(static_cast<int64_t>(key.low.value), std::isfinite(key.high.value)
                                                                       ? static_cast<int64_t>(key.high.value)
                                                                       : no_maximum));
    case Key::Type::real:
      return as_setting(number(key.low, key.high));
    case Key::Type::choice:
      return as_setting(choice(key.choices));
    case Key::Type::layers:
      return as_setting(
          whole_numbers(static_cast<int64_t>(key.low.value), static_cast<int64_t>(key.high.value)));
  }
  TORCH_INTERNAL_ASSERT(false, "a type of key without a kind of value");
}

// "model.system: sisa", or "" where all systems are meant.
std::string choice_of_system(const std::function<bool(const System&)>& meant) {
  std::vector<std::string> names;
  for (const System& system : model::systems())
    if (meant(system)) names.push_back(system.name);
  return names.size() == model::systems().size() ? "" : "model.system: " + common::join_choices(names);
}

const System& system_of(const Recipe& recipe) {
  return model::find_system(recipe.model.system);
}

// "12", or where systems differ "12; 10 with fox or fox_pro".
std::string default_text(const std::string& name) {
  std::vector<std::pair<std::string, std::vector<std::string>>> values;  // with the systems that have them
  for (const System& system : model::systems()) {
    const Key* key = system.find_key(name);
    if (!key) continue;
    const std::string value = value_kind(*key).print(key->default_value);
    const auto same = [&](const auto& other) { return other.first == value; };
    const auto found = std::find_if(values.begin(), values.end(), same);
    auto& systems = found == values.end() ? values.emplace_back(value, std::vector<std::string>{}) : *found;
    systems.second.push_back(system.name);
  }
  std::string text = values.front().first;
  for (size_t i = 1; i < values.size(); ++i)
    text += fmt::format("; {} with {}", values[i].first, common::join_choices(values[i].second));
  return text;
}

RecipeKey system_key(const Key& first) {
  const std::string name = first.name;
  const auto find = [=](const Recipe& recipe) { return system_of(recipe).find_key(name); };
  return {
      .section = "model",
      .name = name,
      .expected = value_kind(first).expected,
      .default_text = default_text(name),
      .doc = first.doc,
      .belongs_to = first.only_with
                        ? fmt::format("model.{}: {}", first.only_with->key, first.only_with->value)
                        : choice_of_system([=](const System& s) { return s.find_key(name) != nullptr; }),
      .on_resume = Change::refused,
      // A key of another system, too, must have a value that it allows.
      .read =
          [=](const Yaml& value, Recipe& recipe) {
            const Key* key = find(recipe);
            const Setting read = value_kind(key ? *key : first).read(value);
            if (key) recipe.model.settings[name] = read;
          },
      .print = [=](const Recipe& recipe) { return value_kind(first).print(recipe.model.settings.at(name)); },
      .set_default =
          [=](Recipe& recipe) {
            recipe.model.settings.erase(name);
            if (const Key* key = find(recipe)) recipe.model.settings[name] = key->default_value;
          },
      .has_meaning =
          [=](const Recipe& recipe) {
            const Key* key = find(recipe);
            return key && model::has_meaning(*key, recipe.model);
          }};
}

const LearningRate* find_rate(const System& system, const std::string& name) {
  const auto& rates = system.learning_rates;
  const auto found =
      std::find_if(rates.begin(), rates.end(), [&](const auto& rate) { return rate.name == name; });
  return found == rates.end() ? nullptr : &*found;
}

RecipeKey learning_rate_key(const LearningRate& first) {
  const std::string name = first.name;
  const ValueKind<double> kind = number(common::above(0), common::to(10));
  const auto has = [=](const System& system) { return find_rate(system, name) != nullptr; };
  return {.section = "optimizer",
          .name = name,
          .expected = kind.expected,
          .default_text = fmt::format("learning_rate / {}", first.divisor),
          .doc = first.doc,
          .belongs_to = choice_of_system(has),
          .on_resume = Change::shown,
          .read =
              [=](const Yaml& value, Recipe& recipe) {
                const double rate = kind.read(value);
                if (has(system_of(recipe))) recipe.optimizer.learning_rates[name] = rate;
              },
          .print = [=](const Recipe& recipe) { return kind.print(recipe.optimizer.learning_rates.at(name)); },
          .set_default =
              [=](Recipe& recipe) {
                recipe.optimizer.learning_rates.erase(name);
                if (const LearningRate* rate = find_rate(system_of(recipe), name))
                  recipe.optimizer.learning_rates[name] = recipe.optimizer.learning_rate / rate->divisor;
              },
          .has_meaning = [=](const Recipe& recipe) { return has(system_of(recipe)); }};
}

// A row for each name that comes up among the systems, in the order of first mention.
template <typename Item>
std::vector<RecipeKey> rows_of(std::vector<Item> System::*items, RecipeKey (*make_row)(const Item&)) {
  std::vector<RecipeKey> rows;
  for (const System& system : model::systems())
    for (const Item& item : system.*items)
      if (std::none_of(rows.begin(), rows.end(), [&](const RecipeKey& row) { return row.name == item.name; }))
        rows.push_back(make_row(item));
  return rows;
}

}  // namespace

std::vector<RecipeKey> system_keys() {
  return rows_of(&System::keys, system_key);
}

std::vector<RecipeKey> learning_rate_keys() {
  return rows_of(&System::learning_rates, learning_rate_key);
}

bool has_readings(const Recipe& recipe) {
  return !system_of(recipe).readings.empty();
}

std::string systems_with_readings() {
  return choice_of_system([](const System& system) { return !system.readings.empty(); });
}

bool has_feed_forward(const Recipe& recipe) {
  return system_of(recipe).has_feed_forward;
}

std::string systems_with_feed_forward() {
  return choice_of_system([](const System& system) { return system.has_feed_forward; });
}

std::string all_readings() {
  std::vector<std::string> readings;
  for (const System& system : model::systems())
    if (!system.readings.empty()) readings.push_back(system.readings);
  return fmt::format("{}", fmt::join(readings, "; "));
}

}  // namespace sisa::launcher
