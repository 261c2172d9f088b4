#include "launcher/run/lineage.h"

#include <nlohmann/json.hpp>

namespace sisa::launcher {

using nlohmann::ordered_json;

ordered_json lineage_json(const std::vector<Ancestor>& lineage) {
  auto array = ordered_json::array();
  for (const Ancestor& ancestor : lineage) array.push_back({{"run", ancestor.run}, {"step", ancestor.step}});
  return array;
}

std::string origin_to_json(const Origin& origin) {
  return ordered_json{{"data", origin.data}, {"lineage", lineage_json(origin.lineage)}}.dump();
}

Origin origin_from_json(const std::string& text) {
  const auto json = ordered_json::parse(text);
  Origin origin{.data = json.value("data", ""), .lineage = {}};
  for (const ordered_json& ancestor : json.value("lineage", ordered_json::array()))
    origin.lineage.push_back({ancestor.at("run"), ancestor.at("step")});
  return origin;
}

}  // namespace sisa::launcher
