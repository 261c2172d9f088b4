#include "launcher/recipe/yaml.h"

#include "tests/launcher/refusal.h"

namespace sisa::launcher {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using tests::refusal;

std::string refused(const std::string& text) {
  return refusal([&] { parse_yaml(text, "r.yaml"); });
}

TEST(Yaml, KeepsWhereValuesStand) {
  const Yaml root =
      parse_yaml("# a comment\nmodel:\n  d_model: 64\n  list:\n    - 1\n    - {a: b}\n", "r.yaml");
  ASSERT_EQ(root.entries.size(), 1u);
  const Yaml& model = root.entries[0].value;
  EXPECT_EQ(root.entries[0].where, "r.yaml:2");
  EXPECT_EQ(model.entries[0].key, "d_model");
  EXPECT_EQ(model.entries[0].where, "r.yaml:3");
  EXPECT_EQ(model.entries[0].value.text, "64");
  EXPECT_EQ(model.entries[1].value.items[1].where, "r.yaml:6");
}

TEST(Yaml, RefusesWhatIsNotYaml) {
  EXPECT_THAT(refused("a: 1\nb: [1, 2\n"), StartsWith("r.yaml:3: this is not valid YAML: "));
  EXPECT_THAT(refused("a:\n\tb: 1\n"), StartsWith("r.yaml:2: this is not valid YAML: "));
  EXPECT_THAT(refused("a: b: c\n"), StartsWith("r.yaml:1: this is not valid YAML: "));
  EXPECT_THAT(refused("a: *nowhere\n"), HasSubstr("not valid YAML"));
}

TEST(Yaml, RefusesDuplicateKeys) {
  EXPECT_EQ(refused("a: 1\nb: 2\na: 3\n"),
            "r.yaml:3: 'a' stands here a second time, after r.yaml:1. Keep one.");
  EXPECT_THAT(refused("s: {a: 1, a: 1}\n"), HasSubstr("'a' stands here a second time"));
}

TEST(Yaml, RefusesOddDocuments) {
  EXPECT_THAT(refused("? [a, b]\n: 1\n"), HasSubstr("a key must be a plain word"));
  EXPECT_THAT(refused("a: 1\n---\nb: 1\n"), HasSubstr("a second YAML document"));
  EXPECT_THAT(refused("a: &circle [*circle]\n"), HasSubstr("do aliases lead in a circle?"));
  std::string laughs = "a: &l0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i)
    laughs +=
        fmt::format("a{}: &l{} [*l{}, *l{}, *l{}, *l{}, *l{}]\n", i, i, i - 1, i - 1, i - 1, i - 1, i - 1);
  EXPECT_THAT(refused(laughs), HasSubstr("more than 10000 values"));
  EXPECT_NE(refused(std::string(100'000, '[')), "");
}

TEST(Yaml, SaysWhatAValueIs) {
  const Yaml root = parse_yaml("[word, [], {}, ~]", "r.yaml");
  EXPECT_EQ(root.items[0].shown(), "'word'");
  EXPECT_EQ(root.items[1].shown(), "a list");
  EXPECT_EQ(root.items[2].shown(), "a map");
  EXPECT_EQ(root.items[3].shown(), "nothing");
}

TEST(Yaml, ScalarsReadBack) {
  for (const std::string text :
       {"word", "a/b.txt", "",    "null", "~",         "- a",         "a: b",     "a # b", "'",  "\"", "\\",
        "ä ö",  " pad ",   "{x}", "[x",   "tab\there", "line\nbreak", "\x01\x7f", "*a",    "&a", "!t", "%x",
        "@x",   "`x",      "-",   "...",  "---",       "default",     "1,000",    "true",  "?",  "| x"})
    EXPECT_EQ(parse_yaml(yaml_scalar(text), "x", YamlPlace::command_line).text, text) << yaml_scalar(text);
}

}  // namespace
}  // namespace sisa::launcher
