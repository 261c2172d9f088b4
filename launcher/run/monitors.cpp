#include "launcher/run/monitors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

namespace sisa::launcher {
namespace {

std::vector<double> values_of(const model::Reading& reading) {
  const at::Tensor values = reading.values.to(at::kDouble).contiguous();
  const double* data = values.const_data_ptr<double>();
  return {data, data + values.numel()};
}

struct Span {
  double smallest = std::numeric_limits<double>::infinity(), largest = -smallest;
  void add(const std::vector<double>& values) {
    for (const double value : values)
      smallest = std::min(smallest, value), largest = std::max(largest, value);
  }
  std::string text() const {
    const std::string from = fmt::format("{:.3g}", smallest), to = fmt::format("{:.3g}", largest);
    return from == to ? from : from + " to " + to;
  }
};

}  // namespace

nlohmann::ordered_json readings_json(const Readings& readings) {
  auto layers = nlohmann::ordered_json::array();
  for (const auto& layer : readings) {
    auto object = nlohmann::ordered_json::object();
    for (const model::Reading& reading : layer) object[reading.name] = values_of(reading);
    layers.push_back(object);
  }
  return layers;
}

Rows readings_rows(const Readings& readings) {
  constexpr size_t most_heads_shown = 8;
  Rows rows;
  for (size_t i = 0; i < readings.size(); ++i) {
    if (i > 0 && !readings[i].empty()) rows.push_back({"", ""});
    for (const model::Reading& reading : readings[i]) {
      const std::vector<double> values = values_of(reading);
      Span span;
      span.add(values);
      rows.push_back(
          {fmt::format("layer {} {}", i, reading.name),
           values.size() > most_heads_shown ? span.text() : fmt::format("{:.3g}", fmt::join(values, "  "))});
    }
  }
  return rows;
}

std::string readings_summary(const Readings& readings) {
  std::vector<std::pair<std::string, Span>> spans;  // in the order of first mention
  for (const auto& layer : readings)
    for (const model::Reading& reading : layer) {
      auto found = std::find_if(spans.begin(), spans.end(), [&](auto& s) { return s.first == reading.name; });
      if (found == spans.end()) found = spans.insert(spans.end(), {reading.name, {}});
      found->second.add(values_of(reading));
    }
  std::vector<std::string> parts;
  for (const auto& [name, span] : spans) parts.push_back(name + " " + span.text());
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace sisa::launcher
