#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join
#include <unistd.h>

#include <functional>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "common/quantity.h"
#include "data/dataset.h"
#include "data/inspect.h"
#include "data/prepare.h"
#include "data/tokenizer.h"
#include "launcher/commands.h"
#include "launcher/reporter.h"

namespace sisa::launcher {

using common::format_bytes;
using common::format_count;

namespace {

// These commands are one process's work: the root does it, and if it fails all ranks learn why.
int on_root(const parallel::World& world, const std::function<void()>& work) {
  world.together([&] {
    if (world.is_root()) work();
  });
  return common::success;
}

void show_progress(const data::PrepareProgress& progress) {
  if (isatty(STDERR_FILENO) == 0) return;
  fmt::print(stderr, "\r{} documents, {}, {} tokens ", format_count(progress.documents),
             format_bytes(static_cast<double>(progress.text_bytes)), format_count(progress.tokens));
}

std::string describe_split(const std::filesystem::path& folder, data::Split split) {
  const auto dataset = data::TokenDataset::open(folder, split);
  return fmt::format("{} tokens of {} documents, {} of text in {} files", format_count(dataset.tokens()),
                     format_count(dataset.documents()),
                     format_bytes(static_cast<double>(dataset.text_bytes())),
                     dataset.manifest().shards(split).size());
}

void show_dataset(const std::filesystem::path& folder) {
  const data::Manifest manifest = data::read_manifest(folder);
  Rows rows = {{"tokenizer", manifest.tokenizer},
               {"vocabulary", format_count(manifest.vocab_size)},
               {"sources", fmt::format("{}", fmt::join(manifest.sources, ", "))}};
  for (const data::Split split : {data::Split::train, data::Split::validation})
    rows.emplace_back(data::split_name(split), describe_split(folder, split));
  rows.emplace_back("held out", fmt::format("{}% asked for", 100 * manifest.validation));
  if (manifest.skipped_documents > 0)
    rows.emplace_back("skipped", fmt::format("{} documents that could not be read",
                                             format_count(manifest.skipped_documents)));
  fmt::print("{}", boxed_table(folder.string(), rows));
}

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

int run_data_prepare(const DataPrepareArguments& arguments, const parallel::World& world) {
  return on_root(world, [&] {
    const data::PrepareOptions options{
        .inputs = {arguments.inputs.begin(), arguments.inputs.end()},
        .output = arguments.output,
        .validation = arguments.validation,
        .on_error = arguments.skip_errors ? data::OnError::skip : data::OnError::stop};
    data::prepare(options, *data::make_tokenizer(arguments.tokenizer), show_progress);
    if (isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\n");
    show_dataset(arguments.output);
  });
}

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

int run_data_inspect(const DataInspectArguments& arguments, const parallel::World& world) {
  return on_root(world, [&] {
    constexpr int64_t num_previewed = 64;  // tokens
    show_dataset(arguments.folder);
    for (const data::Split split : {data::Split::train, data::Split::validation}) {
      const auto dataset = data::TokenDataset::open(arguments.folder, split);
      dataset.verify();
      if (dataset.tokens() == 0) continue;
      // Only a tokenizer of that fingerprint can show the text.
      std::string begins;
      if (const auto bytes = data::make_tokenizer("bytes");
          bytes->fingerprint() == dataset.manifest().tokenizer)
        begins = fmt::format("; it begins {}", data::preview(dataset, *bytes, 0, num_previewed));
      fmt::print("{}: every checksum and token id is right{}\n", data::split_name(split), begins);
    }
  });
}

}  // namespace sisa::launcher
