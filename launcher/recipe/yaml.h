// YAML as a plain tree in which every value knows where it was written.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sisa::launcher {

struct Yaml {
  enum class Kind { empty, scalar, list, map };
  struct Entry;

  Kind kind = Kind::empty;
  std::string text = {};            // of a scalar
  std::vector<Yaml> items = {};     // of a list
  std::vector<Entry> entries = {};  // of a map, as written; keys are unique
  std::string where = {};           // "recipe.yaml:12", or `source` where there are no lines

  // For messages: "'12 steps'", "a list", "a map" or "nothing".
  std::string shown() const;
};

struct Yaml::Entry {
  std::string key;
  std::string where;  // of the key
  Yaml value;
};

// Where a text stands, and with it what a message names: a line of a file, or a command line as a whole.
enum class YamlPlace { file, command_line };
// Reads one document. `source`: the file's name, or the option's. Throws Error, with the place, on what is not
// YAML, on duplicate keys, on keys that are no plain words, on a second document and on absurdly large trees.
Yaml parse_yaml(std::string_view text, const std::string& source, YamlPlace place = YamlPlace::file);

// `text` as a YAML scalar that reads back as it is: quoted where it must be.
std::string yaml_scalar(std::string_view text);

}  // namespace sisa::launcher
