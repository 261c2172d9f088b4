#include "data/inspect.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

namespace sisa::data {

std::string preview(const TokenDataset& dataset, const Tokenizer& tokenizer, int64_t first, int64_t count) {
  std::vector<int64_t> ids(static_cast<size_t>(std::clamp<int64_t>(dataset.tokens() - first, 0, count)));
  dataset.read(first, ids);
  std::string line;
  std::vector<uint32_t> document;
  for (size_t i = 0; i <= ids.size(); ++i) {
    const bool end = i == ids.size() || ids[i] == tokenizer.end_of_document();
    if (!end) {
      document.push_back(static_cast<uint32_t>(ids[i]));
      continue;
    }
    if (i < ids.size() || !document.empty()) {
      const nlohmann::json text = tokenizer.decode(document);
      line += (line.empty() ? "" : " | ") +
              text.dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
    }
    document.clear();
  }
  return line;
}

}  // namespace sisa::data
