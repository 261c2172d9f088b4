#include "data/tokenizer/bpe/file_part.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "common/error.h"

namespace sisa::data::bpe {

void expect_keys(const common::JsonPart& part, std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : part.value().items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      part.refuse(
          "has the key '{}', which is not known and so cannot be used. Remove it if the ids do not depend on "
          "it",
          key);
}

Pattern read_pattern(const common::JsonPart& part) {
  if (part.has("String")) {
    const std::string text = part.at("String").text();
    if (text.empty()) part.at("String").refuse("is empty, where text is expected");
    return Pattern::of_text(text);
  }
  const common::JsonPart regex = part.at("Regex");
  const std::string expression = regex.text();
  try {
    return Pattern(expression);
  } catch (const Error& error) {
    regex.refuse(
        "is the regular expression\n  {}\nwhich {}. Write it without that, or compare docs/data.md, "
        "\"Patterns\"",
        expression, error.what());
  }
}

}  // namespace sisa::data::bpe
