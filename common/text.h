// Small helpers for messages.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sisa::common {

// The candidate nearest to `word` by edit distance, or "" if none is near enough to be what was meant.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

// "a, b or c".
std::string join_choices(std::span<const std::string> choices);

std::vector<std::string> split(std::string_view text, char separator);

// The text, ended by a full stop.
std::string as_sentence(std::string text);

}  // namespace sisa::common
