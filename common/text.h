// Small functions for messages.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sisa::common {

// The candidate with the smallest edit distance to `word`, or "" if none is close enough to have been meant.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

// "a, b or c".
std::string join_choices(std::span<const std::string> choices);

std::vector<std::string> split(std::string_view text, char separator);

std::string counted(int64_t count, std::string_view noun);  // 1 thread, 2 threads: the plural adds an s

// The text, with a full stop at its end.
std::string as_sentence(std::string text);

}  // namespace sisa::common
