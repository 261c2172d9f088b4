// The kinds of values that a recipe's keys take: how each is read, checked, printed and described.
#pragma once

#include <c10/util/Exception.h>  // TORCH_INTERNAL_ASSERT

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "common/bound.h"
#include "common/quantity.h"
#include "common/text.h"
#include "launcher/recipe/sections.h"
#include "launcher/recipe/yaml.h"

namespace sisa::launcher {

template <typename T>
struct ValueKind {
  std::string expected;  // after "must be": "a whole number from 1 to 64"
  // Throws Error that begins where the key's name ends: "is '0', but it must be …".
  std::function<T(const Yaml&)> read;
  std::function<std::string(const T&)> print;
};

// Throws what `read` is to throw.
[[noreturn]] void refuse_value(const Yaml& value, const std::string& expected);

constexpr int64_t no_maximum = int64_t{1} << 53;  // the largest whole number that every double holds
// Whole numbers, in `unit` (a bare number counts as that unit).
ValueKind<int64_t> count(int64_t minimum, int64_t maximum = no_maximum,
                         common::Unit unit = common::Unit::none);

// Numbers between two bounds; `2%` reads as 0.02.
ValueKind<double> number(common::Bound low, common::Bound high = common::without_end());

// Whole quantities in one of several units, always named. `zero_means` ("only at the end"): 0 is allowed too.
ValueKind<common::Quantity> quantity(const std::vector<common::Unit>& units, const std::string& zero_means);

ValueKind<uint64_t> seed();
ValueKind<bool> flag();
ValueKind<std::string> text(const std::string& expected);
ValueKind<std::filesystem::path> path();
// A share from 0 to 0.5 as `1%` or `0.01`; what is no number is a path.
ValueKind<HeldOutText> hold_out();
HeldOutText parse_hold_out(const std::string& text);  // throws Error
ValueKind<SavePoints> save_points();
ValueKind<std::vector<int64_t>> whole_numbers(int64_t minimum, int64_t maximum);  // a list

template <typename T>
ValueKind<T> choice(const std::vector<std::pair<std::string, T>>& choices) {
  std::vector<std::string> names;
  for (const auto& [name, value] : choices) names.push_back(name);
  return {.expected = common::join_choices(names),
          .read =
              [=](const Yaml& yaml) {
                for (const auto& [name, value] : choices)
                  if (yaml.kind == Yaml::Kind::scalar && yaml.text == name) return value;
                refuse_value(yaml, common::join_choices(names));
              },
          .print =
              [=](const T& value) {
                for (const auto& [name, known] : choices)
                  if (known == value) return name;
                TORCH_INTERNAL_ASSERT(false, "a value without a name");
              }};
}
ValueKind<std::string> choice(const std::vector<std::string>& names);

}  // namespace sisa::launcher
