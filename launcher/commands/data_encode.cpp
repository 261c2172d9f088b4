#include "launcher/commands/data_encode.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/json.h"
#include "common/threads.h"
#include "data/prepare/json_line.h"
#include "data/tokenizer/make_tokenizer.h"
#include "launcher/commands/on_root.h"

namespace sisa::launcher {
namespace {

constexpr size_t block_size = 4'000'000;           // bytes of lines that threads share
constexpr size_t largest_line = size_t{64} << 20;  // in bytes; an array of ids takes ten times its text

// Reads up to the end of a line, and no further than what a line may have. False at the end of standard
// input.
bool next_line(std::string& line) {
  line.clear();
  std::streambuf& input = *std::cin.rdbuf();
  for (int c = input.sbumpc(); c != EOF; c = input.sbumpc()) {
    if (c == '\n') return true;
    line += static_cast<char>(c);
    if (line.size() > largest_line)
      throw Error("Standard input has a line of more than {} bytes. Cut it into several.", largest_line);
  }
  return !line.empty();
}

// The lines that are there, up to a block of them: at least one, so that a program that waits for the answer
// to each line is given it. Empty at the end of standard input.
std::vector<std::string> next_lines() {
  std::vector<std::string> lines;
  size_t size = 0;
  for (std::string line; size < block_size && (lines.empty() || std::cin.rdbuf()->in_avail() > 0);) {
    if (!next_line(line)) break;
    size += line.size();
    lines.push_back(std::move(line));
  }
  return lines;
}

// Turns each line of standard input into a line of standard output, on all cores; errors name the line.
void convert_lines(const std::function<std::string(const std::string&)>& convert) {
  int64_t num_before = 0;
  for (auto lines = next_lines(); !lines.empty(); lines = next_lines()) {
    std::vector<std::string> converted(lines.size());
    const auto convert_line = [&](int64_t i) {
      const auto place = static_cast<size_t>(i);
      try {
        converted[place] = convert(lines[place]) + "\n";
      } catch (const Error& error) {
        throw Error("Standard input, line {}: {}", num_before + i + 1, error.what());
      }
    };
    const auto print = [&] {  // up to the line that failed
      for (size_t i = 0; i < converted.size() && !converted[i].empty(); ++i)
        std::fwrite(converted[i].data(), 1, converted[i].size(), stdout);
      if (std::fflush(stdout) != 0)
        throw SystemError(fmt::format("Cannot write to standard output: {}.", std::strerror(errno)));
    };
    try {
      common::parallel_for(static_cast<int64_t>(lines.size()), common::available_cores(), convert_line);
    } catch (...) {
      print();
      throw;
    }
    print();
    num_before += static_cast<int64_t>(lines.size());
  }
}

std::vector<uint32_t> token_ids(const std::string& line) {
  if (const std::string problem =
          common::beyond_limits(line, {.levels = 2, .values = common::any_number_of_values});
      !problem.empty())
    throw Error("the line {}; expected an array of token ids, such as [72, 105].", problem);
  const auto value = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!value.is_array()) throw Error("expected an array of token ids, such as [72, 105].");
  std::vector<uint32_t> ids;
  for (const nlohmann::json& id : value) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > std::numeric_limits<uint32_t>::max())
      throw Error("{} is no token id.", id.dump());
    ids.push_back(id.get<uint32_t>());
  }
  return ids;
}

}  // namespace

void add_options(Options& options, DataEncodeArguments& arguments) {
  options.describe("JSON lines with `text` on standard input to token ids, an array a line");
  add_tokenizer(options, arguments.tokenizer);
}

int run(const DataEncodeArguments& arguments, const parallel::World& world) {
  return on_root(world, [&] {
    const auto tokenizer = data::make_tokenizer(arguments.tokenizer);
    convert_lines([&](const std::string& line) {
      std::string text;
      if (const auto problem = data::read_text_field(line, text))
        throw Error("{}; expected an object whose field `text` is a string.", problem->place_and_cause());
      std::vector<uint32_t> ids;
      tokenizer->encode(text, ids);
      return fmt::format("[{}]", fmt::join(ids, ","));
    });
  });
}

void add_options(Options& options, DataDecodeArguments& arguments) {
  options.describe("The reverse of encode");
  add_tokenizer(options, arguments.tokenizer);
}

int run(const DataDecodeArguments& arguments, const parallel::World& world) {
  return on_root(world, [&] {
    const auto tokenizer = data::make_tokenizer(arguments.tokenizer);
    convert_lines([&](const std::string& line) {
      const std::string text = tokenizer->decode(token_ids(line));
      try {
        return nlohmann::json{{"text", text}}.dump();
      } catch (const nlohmann::json::type_error&) {
        throw Error("its ids stand for bytes that are no UTF-8, which JSON cannot hold. Decode whole texts.");
      }
    });
  });
}

}  // namespace sisa::launcher
