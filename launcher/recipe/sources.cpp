#include "launcher/recipe/sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "common/error.h"
#include "common/text.h"
#include "data/tasks/registry.h"

namespace sisa::launcher {

using common::above;
using common::from;
using common::to;
using data::TaskKey;
using data::TaskKind;

namespace {

const ValueKind<double>& weight_kind() {
  static const ValueKind<double> kind = number(above(0), to(1e9));
  return kind;
}

// One key of a map in `data.sources`.
struct SourceKey {
  std::string name, expected, default_text, doc;
  std::function<void(const Yaml&, Source&)> read;
  std::function<std::string(const Source&)> print;
};

template <typename T, typename Field>
SourceKey source_key(const std::string& name, const ValueKind<T>& kind, const std::string& default_text,
                     const std::string& doc, const Field& field) {
  return {name,
          kind.expected,
          default_text,
          doc,
          [=](const Yaml& value, Source& source) { field(source) = kind.read(value); },
          [=](const Source& source) { return kind.print(field(source)); }};
}

ValueKind<double> value_kind(const TaskKey& key) {
  const auto as_real = [](const auto& kind) -> ValueKind<double> {
    return {kind.expected, [=](const Yaml& value) { return static_cast<double>(kind.read(value)); },
            [=](const double& value) { return kind.print(static_cast<int64_t>(value)); }};
  };
  switch (key.type) {
    case TaskKey::Type::whole:
      return as_real(count(static_cast<int64_t>(key.minimum), static_cast<int64_t>(key.maximum)));
    case TaskKey::Type::real:
      return number(from(key.minimum), to(key.maximum));
    case TaskKey::Type::choice: {
      std::vector<std::pair<std::string, int64_t>> choices;
      for (const std::string& name : key.choices)
        choices.emplace_back(name, static_cast<int64_t>(choices.size()));
      return as_real(choice<int64_t>(choices));
    }
  }
  TORCH_INTERNAL_ASSERT(false, "a type of key without a kind of value");
}

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  for (const TaskKind& kind : data::task_kinds()) names.push_back(kind.name);
  return names;
}

SourceKey weight_key() {
  return source_key(
      "weight", weight_kind(), "1", "share of the samples, relative to the other sources",
      [](auto& source) -> auto& { return source.weight; });
}

std::vector<SourceKey> path_keys() {
  return {source_key(
              "path", path(), "", "raw text, or tokens", [](auto& source) -> auto& { return source.path; }),
          weight_key()};
}

// What every task has.
std::vector<SourceKey> common_task_keys() {
  constexpr int64_t most_samples = int64_t{1} << 40;
  return {source_key(
              "task", choice(task_names()), "", "what is to be learned",
              [](auto& source) -> auto& { return source.task.name; }),
          weight_key(),
          source_key(
              "samples", count(0, most_samples), "0",
              "different samples that are trained on, again in every epoch; 0: none comes twice",
              [](auto& source) -> auto& { return source.task.samples; }),
          source_key(
              "held_out", count(0, most_samples), "1000", "samples that evaluation scores",
              [](auto& source) -> auto& { return source.task.held_out; })};
}

std::vector<SourceKey> own_task_keys(const TaskKind& kind) {
  std::vector<SourceKey> keys;
  for (const TaskKey& key : kind.keys) {
    const ValueKind<double> values = value_kind(key);
    keys.push_back(
        {key.name, values.expected, values.print(key.default_value), key.doc,
         [=](const Yaml& value, Source& source) { source.task.values[key.name] = values.read(value); },
         [=](const Source& source) { return values.print(source.task.values.at(key.name)); }});
  }
  return keys;
}

std::vector<SourceKey> keys_of(const TaskKind* kind) {
  if (!kind) return path_keys();
  std::vector<SourceKey> keys = common_task_keys();
  for (SourceKey& key : own_task_keys(*kind)) keys.push_back(std::move(key));
  return keys;
}

const std::string sources_expected =
    "a list of {path: FILE OR FOLDER, weight: NUMBER} and {task: NAME, weight: NUMBER, …}";

[[noreturn]] void refuse_key(const Yaml::Entry& entry, const TaskKind* kind,
                             const std::vector<SourceKey>& keys) {
  std::vector<std::string> names;
  for (const SourceKey& key : keys) names.push_back(key.name);
  const std::string near = common::nearest(entry.key, names);
  throw Error("is no key of {}; {}", kind ? "the task " + kind->name : "a source",
              near.empty() || !kind ? "the keys are " + common::join_choices(names)
                                    : fmt::format("did you mean '{}'?", near));
}

Source read_source(const Yaml& item) {
  if (item.kind != Yaml::Kind::map) refuse_value(item, sources_expected);
  const auto in_item = [](const Yaml::Entry& entry, const auto& read) {
    try {
      return read();
    } catch (const Error& error) {
      throw Error("has an item ({}) whose '{}' {}", entry.where, entry.key, error.what());
    }
  };
  const auto find = [&](const std::string& name) {
    const auto found = std::find_if(item.entries.begin(), item.entries.end(),
                                    [&](const Yaml::Entry& entry) { return entry.key == name; });
    return found == item.entries.end() ? nullptr : &*found;
  };
  const Yaml::Entry* const task = find("task");
  if (!task && !find("path"))
    throw Error("has an item ({}) without a path or a task; it must be {}", item.where, sources_expected);

  Source source;
  const TaskKind* kind = nullptr;
  if (task) {
    kind = in_item(*task, [&] { return data::find_task(choice(task_names()).read(task->value)); });
    for (const TaskKey& key : kind->keys) source.task.values[key.name] = key.default_value;
  }
  const std::vector<SourceKey> keys = keys_of(kind);
  for (const Yaml::Entry& entry : item.entries)
    in_item(entry, [&] {
      const auto key =
          std::find_if(keys.begin(), keys.end(), [&](const SourceKey& k) { return k.name == entry.key; });
      if (key == keys.end()) refuse_key(entry, kind, keys);
      key->read(entry.value, source);
    });
  if (!task && source.path.empty())
    throw Error("has an item ({}) whose path is empty; it must be {}", item.where, sources_expected);
  return source;
}

std::string print_source(const Source& source) {
  std::string text;
  for (const SourceKey& key : keys_of(data::find_task(source.task.name)))
    text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", key.name, key.print(source));
  return "\n    - {" + text + "}";
}

std::string rows_markdown(const std::vector<SourceKey>& keys) {
  std::string text = "\n| key | default | must be | meaning |\n|---|---|---|---|\n";
  for (const SourceKey& key : keys)
    text += fmt::format("| `{}` | {} | {} | {} |\n", key.name, key.default_text, key.expected, key.doc);
  return text;
}

}  // namespace

ValueKind<std::vector<Source>> sources() {
  return {.expected = sources_expected,
          .read =
              [](const Yaml& value) {
                if (value.kind != Yaml::Kind::list) refuse_value(value, sources_expected);
                std::vector<Source> list;
                for (const Yaml& item : value.items) list.push_back(read_source(item));
                return list;
              },
          .print =
              [](const std::vector<Source>& list) {
                std::string text = list.empty() ? "[]" : "";
                for (const Source& source : list) text += print_source(source);
                return text;
              }};
}

std::string source_keys_markdown() {
  std::string text =
      "\n### Items of data.sources\n\nA source of text or tokens:\n" + rows_markdown(path_keys()) +
      "\nA synthetic task, whose samples are made up from `run.seed` as they are read. Where it predicts "
      "nothing there is no loss, and losses are means over predicted tokens.\n" +
      rows_markdown(common_task_keys());
  for (const TaskKind& kind : data::task_kinds())
    text += fmt::format("\n`task: {}`: {}\n", kind.name, kind.doc) + rows_markdown(own_task_keys(kind));
  return text;
}

}  // namespace sisa::launcher
