// How fast a tokenizer encodes documents in memory. benchmarks/tokenizer.py runs this beside others.
//
// tokenizer_speed TOKENIZER MEGABYTES THREADS RUNS FILE …
// Reads MEGABYTES of text in equal parts from the files (as `sisa data prepare` reads them), encodes it RUNS
// times, and prints a line for each: bytes, tokens, seconds.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/threads.h"
#include "data/prepare/document_reader.h"
#include "data/tokenizer/make_tokenizer.h"
#include "data/tokenizer/tokenizer.h"

namespace sisa {
namespace {

struct Enough {};

std::vector<std::string> read_documents(const std::filesystem::path& file, int64_t bytes) {
  std::vector<std::string> documents;
  const data::DocumentVisitor visitor = {
      .document =
          [&](std::string_view text) {
            if (bytes <= 0) throw Enough{};
            documents.emplace_back(text);
            bytes -= static_cast<int64_t>(text.size());
          },
      .bad = [&](int64_t line, const std::string& reason,
                 std::string_view) { throw Error("{}, line {} {}.", file.string(), line, reason); }};
  try {
    data::read_file(file, visitor);
  } catch (const Enough&) {
  }
  return documents;
}

void measure(const data::Tokenizer& tokenizer, const std::vector<std::string>& documents, int threads) {
  using Clock = std::chrono::steady_clock;
  std::vector<std::vector<uint32_t>> ids(documents.size());
  const Clock::time_point start = Clock::now();
  common::parallel_for(static_cast<int64_t>(documents.size()), threads, [&](int64_t i) {
    const auto document = static_cast<size_t>(i);
    tokenizer.encode(documents[document], ids[document]);
  });
  const std::chrono::duration<double> seconds = Clock::now() - start;
  size_t bytes = 0, tokens = 0;
  for (size_t i = 0; i < documents.size(); ++i) bytes += documents[i].size(), tokens += ids[i].size();
  fmt::print("{} {} {:.6f}\n", bytes, tokens, seconds.count());
}

}  // namespace
}  // namespace sisa

int main(int argc, char** argv) {
  using namespace sisa;
  try {
    if (argc < 6) throw Error("Usage: tokenizer_speed TOKENIZER MEGABYTES THREADS RUNS FILE …");
    const auto tokenizer = data::make_tokenizer(argv[1]);
    const int64_t bytes = std::atoll(argv[2]) * 1'000'000 / (argc - 5);
    std::vector<std::string> documents;
    for (int i = 5; i < argc; ++i)
      for (std::string& document : read_documents(argv[i], bytes)) documents.push_back(std::move(document));
    for (int run = 0; run < std::atoi(argv[4]); ++run) measure(*tokenizer, documents, std::atoi(argv[3]));
    return common::success;
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return error.status();
  }
}
