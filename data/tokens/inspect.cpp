#include "data/tokens/inspect.h"

#include <fmt/ranges.h>  // fmt::join

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "common/error.h"

namespace sisa::data {
namespace {

// The ids [first, first + count), or fewer at the end of the dataset.
std::vector<int64_t> read_ids(const TokenDataset& dataset, int64_t first, int64_t count) {
  std::vector<int64_t> ids(static_cast<size_t>(std::clamp<int64_t>(dataset.tokens() - first, 0, count)));
  dataset.read(first, ids);
  return ids;
}

}  // namespace

std::string preview(const TokenDataset& dataset, const Tokenizer& tokenizer, int64_t first, int64_t count) {
  const std::vector<int64_t> ids = read_ids(dataset, first, count);
  std::string line;
  std::vector<uint32_t> document;
  for (size_t i = 0; i <= ids.size(); ++i) {
    const bool end = i == ids.size() || ids[i] == tokenizer.end_of_document();
    if (!end) {
      document.push_back(static_cast<uint32_t>(ids[i]));
      continue;
    }
    if (i < ids.size() || !document.empty()) {
      line += (line.empty() ? "" : " | ") + quoted(tokenizer.decode(document));
    }
    document.clear();
  }
  return line;
}

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
}

std::string preview_ids(const TokenDataset& dataset, int64_t first, int64_t count) {
  return fmt::format("{}", fmt::join(read_ids(dataset, first, count), " "));
}

TokenCounts count_tokens(const TokenDataset& dataset, int64_t num_most_frequent) {
  const int64_t largest = dataset.largest_id(0, dataset.tokens());  // also checks that all ids are in range
  const int64_t vocabulary = dataset.vocab_size() == any_vocabulary ? largest + 1 : dataset.vocab_size();
  if (vocabulary > largest_counted_vocabulary)
    throw Error("{} has a vocabulary of {}; ids are counted up to {}.", dataset.path().string(), vocabulary,
                largest_counted_vocabulary);
  const std::vector<int64_t> times = dataset.tally(vocabulary);
  std::vector<int64_t> ids(times.size());
  std::iota(ids.begin(), ids.end(), int64_t{0});
  TokenCounts counts{.vocabulary = vocabulary, .unused = std::count(times.begin(), times.end(), 0)};
  const auto shown = static_cast<std::ptrdiff_t>(std::min(num_most_frequent, vocabulary - counts.unused));
  const auto times_of = [&](int64_t id) { return times[static_cast<size_t>(id)]; };
  std::partial_sort(ids.begin(), ids.begin() + shown, ids.end(), [&](int64_t a, int64_t b) {
    return times_of(a) != times_of(b) ? times_of(a) > times_of(b) : a < b;
  });
  for (auto id = ids.begin(); id != ids.begin() + shown; ++id)
    counts.most_frequent.push_back({*id, times_of(*id)});
  return counts;
}

}  // namespace sisa::data
