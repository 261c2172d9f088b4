#include <fmt/format.h>

#include <functional>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "data/tokenizer.h"
#include "launcher/commands.h"
#include "launcher/on_root.h"

namespace sisa::launcher {
namespace {

// Turns each line of standard input, a JSON value, into a line of standard output; errors name the line.
void convert_lines(const std::function<std::string(const nlohmann::json&)>& convert) {
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    try {
      fmt::print("{}\n", convert(nlohmann::json::parse(line)));
    } catch (const nlohmann::json::exception& error) {
      throw Error("Standard input, line {}: {}.", number, error.what());
    } catch (const Error& error) {
      throw Error("Standard input, line {}: {}", number, error.what());
    }
  }
}

std::vector<uint32_t> token_ids(const nlohmann::json& value) {
  std::vector<uint32_t> ids;
  if (!value.is_array()) throw Error("expected an array of token ids, such as [72, 105].");
  for (const nlohmann::json& id : value) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > std::numeric_limits<uint32_t>::max())
      throw Error("{} is no token id.", id.dump());
    ids.push_back(id.get<uint32_t>());
  }
  return ids;
}

}  // namespace

int run_data_encode(const DataEncodeArguments& arguments, const parallel::World& world) {
  return on_root(world, [&] {
    const auto tokenizer = data::make_tokenizer(arguments.tokenizer);
    convert_lines([&](const nlohmann::json& value) {
      if (!value.is_object() || !value.contains("text") || !value["text"].is_string())
        throw Error("expected an object whose field `text` is a string.");
      std::vector<uint32_t> ids;
      tokenizer->encode(value["text"].get<std::string>(), ids);
      return nlohmann::json(ids).dump();
    });
  });
}

int run_data_decode(const DataDecodeArguments& arguments, const parallel::World& world) {
  return on_root(world, [&] {
    const auto tokenizer = data::make_tokenizer(arguments.tokenizer);
    convert_lines([&](const nlohmann::json& value) {
      return nlohmann::json{{"text", tokenizer->decode(token_ids(value))}}.dump();
    });
  });
}

}  // namespace sisa::launcher
