#include "data/prepare/json_line.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace sisa::data {
namespace {

// The text as the general parser reads it.
std::optional<std::string> reference(const std::string& line) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("text") || !json["text"].is_string()) return {};
  return json["text"].get<std::string>();
}

std::optional<std::string> text_of(const std::string& line) {
  std::string text = "before";
  return read_text_field(line, text) ? std::nullopt : std::optional(text);
}

TEST(JsonLine, LinesAreRead) {
  for (const auto& [line, text] : std::vector<std::pair<std::string, std::string>>{
           {R"({"text": "plain"})", "plain"},
           {R"({"text":""})", ""},
           {R"(  { "id" : 3 , "text" : "x" , "meta" : { "text" : 4, "a": [1, -2.5, [], {}, null] } }  )",
            "x"},
           {R"({"text": "first", "text": "last"})", "last"},
           {R"({"a": true, "b": false, "text": "\"\\\/\b\f\n\r\t"})", "\"\\/\b\f\n\r\t"},
           {R"({"text": "\u0041\u00e9\u20AC\uD83D\ude00"})", "Aé€😀"},
           {R"({"text": "zwölf 😀 and more than eight", "url": "a\/b"})", "zwölf 😀 and more than eight"},
           {"{\"text\": \"x\"}\r", "x"}})
    EXPECT_EQ(text_of(line), text) << line;
}

TEST(JsonLine, WhatIsWrongIsNotRead) {
  for (const std::string line : {R"({"text": "x")",
                                 R"({"text": "x"}})",
                                 R"({"text": "x"} y)",
                                 R"({"text" "x"})",
                                 R"({"text": 3})",
                                 R"({"text": null})",
                                 R"([{"text": "x"}])",
                                 R"({"txt": "x"})",
                                 R"({"text": "\x"})",
                                 R"({"text": "\u12g4"})",
                                 R"({"text": "\ud800"})",
                                 R"({"text": "\udc00\ud800"})",
                                 R"({"text": "\ud800A"})",
                                 "{\"text\": \"\t\"}",
                                 "{\"text\": \"\xE9\"}",
                                 "{\"text\": \"x\", \"y\": \"\xED\xA0\x80\"}",
                                 R"({"text": "x", "y": 01})",
                                 R"({"text": "x", "y": 1.})",
                                 R"({"text": "x", "y": .5})",
                                 R"({"text": "x", "y": +1})",
                                 R"({"text": "x",})",
                                 R"({"text": "x", "y": [1,]})",
                                 R"({"text": "x", "y": nul})",
                                 "",
                                 " ",
                                 "{}",
                                 R"({"text": "x", "meta": {"y"}})",
                                 R"({"text)",
                                 R"({"text": "\)",
                                 R"({"text": "\u00)"}) {
    EXPECT_EQ(text_of(line), std::nullopt) << line;
    EXPECT_EQ(reference(line), std::nullopt) << line;
  }
}

TEST(JsonLine, UncommonLinesAreRead) {
  for (const std::string& line :
       std::vector<std::string>{R"({"te\u0078t": "x"})", R"({"text": "x", "y": [1e3, 1E+3, -0.5e-30]})",
                                R"({"\u0000": 1, "text": "x"})", "\xEF\xBB\xBF{\"text\": \"x\"}",
                                fmt::format(R"({{"text": "x", "y": {:[>100}{:]>100}}})", "", ""),
                                fmt::format(R"({{"text": "x", "y": 0.{:1>400}}})", "")})
    EXPECT_EQ(text_of(line), "x") << line;
}

TEST(JsonLine, TheFirstMistakeIsNamed) {
  for (const auto& [line, said] : std::vector<std::pair<std::string, std::string>>{
           {R"({"text": "a\x"})", "column 12: a backslash and 'x' are no escape of JSON"},
           {R"({"text": "\u12g4"})", "column 15: 'g' stands where a hexadecimal digit is expected"},
           {R"({"text": "é\udc00"})",
            "column 12: \\udc00 is half of a surrogate pair whose other half is missing, "
            "and stands for no character"},
           {R"({"text": "\ud83d\ud83d"})",
            "column 11: \\ud83d is half of a surrogate pair whose other half is "
            "missing, and stands for no character"},
           {"{\"text\": \"\t\"}",
            "column 11: the control character 0x09 stands in a string, where JSON writes \\u0009"},
           {R"({"text": "x", "y": Infinity})",
            "column 20: Infinity is no value of JSON, although Python's json.dumps "
            "writes it"},
           {R"({"text": "x", "y": None})", "column 20: None is Python's and no value of JSON"},
           {R"({"text": "x", "y": 1.})", "column 22: '}' stands where a digit is expected"},
           {R"({"text": "x",})", "column 14: '}' stands where a name in double quotes is expected"},
           {R"({"text": "x", "y": tru)", "column 23: the line ends within its object"},
           {R"({"text": "x)", "column 12: the line ends within its object"},
           {R"({"text" "x"})", "column 9: '\"' stands where a colon is expected"},
           {R"({"y": [1 2]})", "column 10: '2' stands where a comma or the end of the list is expected"},
           {"{}", "column 1: the object has no field 'text', but no field at all"},
           {std::string("\0", 1), "column 1: a NUL byte stands where an object should begin"}}) {
    std::string text;
    const auto problem = read_text_field(line, text);
    ASSERT_TRUE(problem) << line;
    EXPECT_EQ(problem->place_and_cause(), said);
  }
}

// Lines with single bytes changed, dropped and doubled. Where a line is accepted, a general parser reads the
// same text; and nearly all lines are accepted that it accepts.
TEST(JsonLine, AgreesWithTheGeneralParserOnDamagedLines) {
  const std::vector<std::string> lines = {
      R"({"id": 17, "text": "a\n\"b\" \u00e9\ud83d\ude00 zwölf 😀", "m": {"s": ["x", 1.5, -0, true, null], "text": "y"}})",
      R"({"text":"one","text":"two \\ three","n":-12.75,"e":[]})"};
  std::mt19937 random(1);
  const auto below = [&](size_t n) { return random() % n; };
  const std::string letters = "\"\\{}[]:,u0dDe.+-tn \t\n\x01\x80\xC3\xED\xF0";
  int taken = 0, left = 0;
  for (int i = 0; i < 40'000; ++i) {
    std::string line = lines[below(lines.size())];
    for (size_t change = 0; change <= below(3); ++change) {
      const size_t at = below(line.size());
      const char letter = letters[below(letters.size())];
      if (const size_t kind = below(3); kind == 0)
        line[at] = letter;
      else if (kind == 1)
        line.erase(at, 1);
      else
        line.insert(at, 1, letter);
    }
    const auto expected = reference(line), found = text_of(line);
    if (found) {
      ASSERT_EQ(found, expected) << line;
      ++taken;
    } else if (expected) {
      ++left;
    }
  }
  EXPECT_GT(taken, 5'000);
  EXPECT_LT(left, taken / 10);
}

}  // namespace
}  // namespace sisa::data
