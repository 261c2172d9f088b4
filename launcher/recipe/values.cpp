#include "launcher/recipe/values.h"

#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "common/error.h"

namespace sisa::launcher {

using common::Quantity;
using common::Unit;

namespace {

std::optional<Quantity> quantity_of(const Yaml& value) {
  if (value.kind != Yaml::Kind::scalar) return std::nullopt;
  try {
    return common::parse_quantity(value.text);
  } catch (const Error&) {
    return std::nullopt;  // the caller's message says what is expected
  }
}

std::optional<int64_t> count_of(const Yaml& value, Unit unit) {
  if (value.kind != Yaml::Kind::scalar) return std::nullopt;
  try {
    return common::parse_count(value.text, unit);
  } catch (const Error&) {
    return std::nullopt;
  }
}

// Shortest exact form: 5B, 500k is written 500000, since k means 1000 to some and 1024 to others.
std::string exact(int64_t value) {
  if (value >= 1'000'000'000 && value % 1'000'000'000 == 0) return fmt::format("{}B", value / 1'000'000'000);
  if (value >= 1'000'000 && value % 1'000'000 == 0) return fmt::format("{}M", value / 1'000'000);
  return fmt::format("{}", value);
}

std::string with_unit(int64_t value, Unit unit) {
  if (unit == Unit::seconds) {
    if (value % 3600 == 0) return fmt::format("{}h", value / 3600);
    return value % 60 == 0 ? fmt::format("{}min", value / 60) : fmt::format("{}s", value);
  }
  if (unit == Unit::none) return fmt::format("{}", value);
  std::string name(common::unit_name(unit));
  if (value == 1) name.pop_back();  // 1 step
  return fmt::format("{} {}", exact(value), name);
}

}  // namespace

void refuse_value(const Yaml& value, const std::string& expected) {
  throw Error("is {}, but it must be {}", value.shown(), expected);
}

ValueKind<int64_t> count(int64_t minimum, int64_t maximum, Unit unit) {
  const std::string range = maximum == no_maximum ? fmt::format("at least {}", minimum)
                                                  : fmt::format("from {} to {}", minimum, maximum);
  const std::string expected = unit == Unit::none
                                   ? "a whole number " + range
                                   : fmt::format("a whole number of {}, {}", unit_name(unit), range);
  return {.expected = expected,
          .read =
              [=](const Yaml& value) {
                const auto found = count_of(value, unit);
                if (!found || *found < minimum || *found > maximum) refuse_value(value, expected);
                return *found;
              },
          .print = [=](const int64_t& value) { return with_unit(value, unit); }};
}

ValueKind<double> number(common::Bound low, common::Bound high) {
  const auto relation = [](const common::Bound& bound) { return bound.included ? "<=" : "<"; };
  std::string range = fmt::format("{} {} x", low.value, relation(low));
  if (std::isfinite(high.value)) range += fmt::format(" {} {}", relation(high), high.value);
  const std::string expected = "a number x with " + range;
  return {.expected = expected,
          .read =
              [=](const Yaml& value) {
                const auto found = quantity_of(value);
                if (!found || found->unit != Unit::none || !common::within(found->value, low, high))
                  refuse_value(value, expected);
                return found->value;
              },
          .print = [](const double& value) { return fmt::format("{}", value); }};
}

ValueKind<Quantity> quantity(const std::vector<Unit>& units, const std::string& zero_means) {
  std::vector<std::string> names, examples;
  for (const Unit unit : units) {
    names.emplace_back(unit_name(unit));
    examples.push_back(unit == Unit::seconds  ? "'30min'"
                       : unit == Unit::tokens ? "'1B tokens'"
                                              : "'500 steps'");
  }
  const std::string expected =
      fmt::format("a whole number of {}, with its unit ({}); 0: {}", common::join_choices(names),
                  common::join_choices(examples), zero_means);
  return {.expected = expected,
          .read =
              [=](const Yaml& value) {
                const Unit unit = quantity_of(value).value_or(Quantity{}).unit;
                const auto found = count_of(value, unit);
                const bool known = std::find(units.begin(), units.end(), unit) != units.end();
                if (!found || (!known && (unit != Unit::none || *found != 0))) refuse_value(value, expected);
                return *found == 0 ? Quantity{} : Quantity{static_cast<double>(*found), unit};
              },
          .print =
              [](const Quantity& value) { return with_unit(static_cast<int64_t>(value.value), value.unit); }};
}

ValueKind<uint64_t> seed() {
  const std::string expected = "a whole number from 0 to 18446744073709551615";
  return {.expected = expected,
          .read =
              [=](const Yaml& value) {
                uint64_t number = 0;
                const char* const end = value.text.data() + value.text.size();
                const auto [stop, code] = std::from_chars(value.text.data(), end, number);
                if (value.kind != Yaml::Kind::scalar || code != std::errc() || stop != end)
                  refuse_value(value, expected);
                return number;
              },
          .print = [](const uint64_t& value) { return fmt::format("{}", value); }};
}

HeldOutText parse_hold_out(const std::string& text) {
  std::optional<Quantity> share;
  try {
    share = common::parse_quantity(text);
  } catch (const Error&) {
    if (text.empty()) throw;
    return {.share = 0, .path = text};
  }
  if (share->unit != Unit::none || share->value < 0 || share->value > 0.5)
    throw Error("'{}' is no share from 0 to 0.5, nor a path: write that as ./{}.", text, text);
  return {.share = share->value};
}

ValueKind<HeldOutText> hold_out() {
  const std::string expected = "a share x with 0 <= x <= 0.5, or a file or folder";
  return {.expected = expected,
          .read =
              [=](const Yaml& value) {
                if (value.kind != Yaml::Kind::scalar) refuse_value(value, expected);
                try {
                  return parse_hold_out(value.text);
                } catch (const Error&) {
                  refuse_value(value, expected);
                }
              },
          .print =
              [](const HeldOutText& value) {
                return value.path.empty() ? fmt::format("{}", value.share) : path().print(value.path);
              }};
}

ValueKind<bool> flag() {
  return choice<bool>({{"true", true}, {"false", false}});
}

ValueKind<std::string> choice(const std::vector<std::string>& names) {
  std::vector<std::pair<std::string, std::string>> choices;
  for (const std::string& name : names) choices.emplace_back(name, name);
  return choice<std::string>(choices);
}

ValueKind<std::string> text(const std::string& expected) {
  return {.expected = expected,
          .read =
              [=](const Yaml& value) {
                if (value.kind != Yaml::Kind::scalar) refuse_value(value, expected);
                return value.text;
              },
          .print = [](const std::string& value) { return yaml_scalar(value); }};
}

ValueKind<std::filesystem::path> path() {
  const ValueKind<std::string> as_text = text("a path");
  return {.expected = as_text.expected,
          .read = [=](const Yaml& value) { return std::filesystem::path(as_text.read(value)); },
          .print = [=](const std::filesystem::path& value) { return as_text.print(value.string()); }};
}

ValueKind<SavePoints> save_points() {
  const std::string expected =
      "'doubling', for steps 1, 2, 4, 8 …, or a list of steps or tokens such as [100 steps, 1B tokens]";
  return {.expected = expected,
          .read =
              [=](const Yaml& value) {
                SavePoints points;
                if (value.kind == Yaml::Kind::scalar && value.text == "doubling")
                  return SavePoints{.doubling = true};
                if (value.kind != Yaml::Kind::list) refuse_value(value, expected);
                for (const Yaml& item : value.items) {
                  const Unit unit = quantity_of(item).value_or(Quantity{}).unit;
                  const auto found = count_of(item, unit);
                  if (!found || *found < 1 || (unit != Unit::steps && unit != Unit::tokens))
                    refuse_value(item, expected);
                  points.at.push_back({static_cast<double>(*found), unit});
                }
                return points;
              },
          .print =
              [](const SavePoints& points) {
                if (points.doubling) return std::string("doubling");
                std::vector<std::string> texts;
                for (const Quantity& point : points.at)
                  texts.push_back(with_unit(static_cast<int64_t>(point.value), point.unit));
                return fmt::format("[{}]", fmt::join(texts, ", "));
              }};
}

ValueKind<std::vector<int64_t>> whole_numbers(int64_t minimum, int64_t maximum) {
  const std::string expected =
      fmt::format("a list of whole numbers from {} to {} such as [4, 12]", minimum, maximum);
  return {
      .expected = expected,
      .read =
          [=](const Yaml& value) {
            if (value.kind != Yaml::Kind::list) refuse_value(value, expected);
            std::vector<int64_t> numbers;
            for (const Yaml& item : value.items) {
              const auto found = count_of(item, Unit::none);
              if (!found || *found < minimum || *found > maximum) refuse_value(item, expected);
              numbers.push_back(*found);
            }
            return numbers;
          },
      .print =
          [](const std::vector<int64_t>& numbers) { return fmt::format("[{}]", fmt::join(numbers, ", ")); }};
}

}  // namespace sisa::launcher
