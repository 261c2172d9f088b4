// Quantities with units as recipes and messages write them: `5B tokens`, `500 steps`, `30min`, `64MiB`,
// `1.5%`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sisa::common {

enum class Unit { none, tokens, steps, samples, seconds, bytes };

struct Quantity {
  double value = 0;  // in the base unit: tokens, steps, samples, seconds or bytes
  Unit unit = Unit::none;
};

// Reads a number with an optional multiplier (k or K, M, B, T for 10^3, 10^6, 10^9, 10^12) and an optional
// unit (tokens, steps, samples, ms, s, min, h, d, bytes, KiB, MiB, GiB, TiB, kB, MB, GB, TB). `1,000` and
// `1_000` are read as 1000, and `2%` as 0.02. Throws Error naming what was found and what is understood.
Quantity parse_quantity(std::string_view text);

// Reads a quantity that must be a whole number >= 0 of `unit`. A number without a unit counts as that unit.
// Throws Error like parse_quantity.
int64_t parse_count(std::string_view text, Unit unit);

std::string_view unit_name(Unit unit);        // "tokens"; "" for none
std::string format_count(int64_t count);      // 1,234,567
std::string format_short(double count);       // 1.23M, 5B, 950; from 1e15 on 1.23e+15
std::string format_bytes(double bytes);       // 1.50 GiB
std::string format_duration(double seconds);  // 1h 02min, 3min 05s, 12.3s

}  // namespace sisa::common
