#include "common/quantity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <map>
#include <utility>

#include "common/error.h"

namespace sisa::common {
namespace {

constexpr double maximum_exact = 0x1p53;  // beyond it a double no longer holds every whole number

struct Suffix {
  double factor;
  Unit unit;
};

// Multipliers are case-sensitive where the case carries meaning (M = 10^6; MiB, MB are bytes; min is time).
const std::map<std::string, Suffix, std::less<>>& suffixes() {
  static const std::map<std::string, Suffix, std::less<>> table = {
      {"", {1, Unit::none}},           {"%", {0.01, Unit::none}},      {"k", {1e3, Unit::none}},
      {"K", {1e3, Unit::none}},        {"M", {1e6, Unit::none}},       {"B", {1e9, Unit::none}},
      {"T", {1e12, Unit::none}},       {"token", {1, Unit::tokens}},   {"tokens", {1, Unit::tokens}},
      {"step", {1, Unit::steps}},      {"steps", {1, Unit::steps}},    {"sample", {1, Unit::samples}},
      {"samples", {1, Unit::samples}}, {"ms", {1e-3, Unit::seconds}},  {"s", {1, Unit::seconds}},
      {"min", {60, Unit::seconds}},    {"h", {3600, Unit::seconds}},   {"d", {86400, Unit::seconds}},
      {"bytes", {1, Unit::bytes}},     {"KiB", {0x1p10, Unit::bytes}}, {"MiB", {0x1p20, Unit::bytes}},
      {"GiB", {0x1p30, Unit::bytes}},  {"TiB", {0x1p40, Unit::bytes}}, {"kB", {1e3, Unit::bytes}},
      {"MB", {1e6, Unit::bytes}},      {"GB", {1e9, Unit::bytes}},     {"TB", {1e12, Unit::bytes}}};
  return table;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

// Whether the separator at `i` stands after a digit and before exactly three.
bool separates_thousands(std::string_view text, size_t i) {
  const auto digit = [&](size_t k) {
    return k < text.size() && std::isdigit(static_cast<unsigned char>(text[k]));
  };
  return i > 0 && digit(i - 1) && digit(i + 1) && digit(i + 2) && digit(i + 3) && !digit(i + 4);
}

[[noreturn]] void refuse(std::string_view text) {
  throw Error(
      "'{}' is not a quantity. Write a number with a unit, such as '5B tokens', '500 steps', '30min' or "
      "'64MiB'.",
      text);
}

}  // namespace

Quantity parse_quantity(std::string_view text) {
  const std::string_view trimmed = trim(text);
  std::string digits;
  size_t i = 0;
  for (; i < trimmed.size(); ++i) {
    const char c = trimmed[i];
    const bool exponent = (c == 'e' || c == 'E') && i + 1 < trimmed.size() &&
                          (std::isdigit(static_cast<unsigned char>(trimmed[i + 1])) ||
                           trimmed[i + 1] == '-' || trimmed[i + 1] == '+');
    const bool sign = (c == '-' || c == '+') && (i == 0 || trimmed[i - 1] == 'e' || trimmed[i - 1] == 'E');
    if (c == ',' || c == '_') {
      if (!separates_thousands(trimmed, i)) refuse(text);  // "1,5" may mean 1.5
      continue;
    }
    if (!std::isdigit(static_cast<unsigned char>(c)) && c != '.' && !exponent && !sign) break;
    digits += c;
  }
  char* end = nullptr;
  const double number = std::strtod(digits.c_str(), &end);
  if (digits.empty() || *end != '\0' || !std::isfinite(number)) refuse(text);
  const auto of = [&](double factor, Unit unit) {
    if (!std::isfinite(number * factor)) refuse(text);
    return Quantity{number * factor, unit};
  };
  const auto& known = suffixes();
  // "5B tokens" has a multiplier and a unit; "5B" and "5 tokens" one of them; "5Btokens" is read too.
  const std::string_view rest = trim(trimmed.substr(i));
  if (const auto only = known.find(rest); only != known.end())
    return of(only->second.factor, only->second.unit);
  const auto multiplier = known.find(rest.substr(0, 1));
  const auto unit = known.find(trim(rest.substr(std::min<size_t>(1, rest.size()))));
  if (multiplier == known.end() || unit == known.end() || multiplier->second.factor < 1e3 ||
      multiplier->second.unit != Unit::none || unit->second.unit == Unit::none)
    refuse(text);
  return of(multiplier->second.factor * unit->second.factor, unit->second.unit);
}

int64_t parse_count(std::string_view text, Unit unit) {
  const Quantity quantity = parse_quantity(text);
  if (quantity.unit != Unit::none && quantity.unit != unit)
    throw Error("'{}' is a number of {}, but a number {} was expected.", text, unit_name(quantity.unit),
                unit == Unit::none ? "without a unit" : fmt::format("of {}", unit_name(unit)));
  const double whole = std::round(quantity.value);
  // 1.001k is 1000.9999999999999 in doubles, so a few units in the last place are forgiven.
  if (whole < 0 || std::abs(quantity.value - whole) > whole * 0x1p-51 || whole > maximum_exact)
    throw Error("'{}' is not a whole number from 0 to 2^53.", text);
  return static_cast<int64_t>(whole);
}

std::string_view unit_name(Unit unit) {
  switch (unit) {
    case Unit::none:
      return "";
    case Unit::tokens:
      return "tokens";
    case Unit::steps:
      return "steps";
    case Unit::samples:
      return "samples";
    case Unit::seconds:
      return "seconds";
    case Unit::bytes:
      return "bytes";
  }
  return "";
}

std::string format_count(int64_t count) {
  std::string text = std::to_string(count);
  for (auto i = static_cast<std::ptrdiff_t>(text.size()) - 3; i > (count < 0 ? 1 : 0); i -= 3)
    text.insert(text.begin() + i, ',');
  return text;
}

std::string format_short(double count) {
  if (std::abs(count) >= 0.9995e15) return fmt::format("{:.3g}", count);
  for (const auto& [factor, suffix] : {std::pair{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "K"}})
    if (std::abs(count) >= 0.9995 * factor)  // where three digits round up to it
      return fmt::format("{:.3g}{}", count / factor, suffix);
  return fmt::format("{:.3g}", count);
}

std::string format_bytes(double bytes) {
  for (const auto& [factor, suffix] :
       {std::pair{0x1p40, "TiB"}, {0x1p30, "GiB"}, {0x1p20, "MiB"}, {0x1p10, "KiB"}})
    if (std::abs(bytes) >= factor) return fmt::format("{:.2f} {}", bytes / factor, suffix);
  return fmt::format("{:.0f} bytes", bytes);
}

std::string format_duration(double seconds) {
  if (seconds < 59.95) return fmt::format("{:.1f}s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{}min {:02d}s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{}h {:02d}min", whole / 3600, whole % 3600 / 60);
  return fmt::format("{}d {:02d}h", whole / 86400, whole % 86400 / 3600);
}

}  // namespace sisa::common
