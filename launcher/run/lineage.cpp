#include "launcher/run/lineage.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "common/json.h"

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

Origin origin_from_json(const std::string& text) try {
  const std::string name = "The extra state of a checkpoint";
  const auto json = common::parse_json<nlohmann::json>(text, name);
  const common::JsonPart root(json, name + ": ");
  Origin origin;
  if (root.has("data")) origin.data = root.at("data").text();
  if (root.has("lineage"))
    for (const common::JsonPart& ancestor : root.at("lineage").items())
      origin.lineage.push_back(
          {ancestor.at("run").text(), ancestor.at("step").integer(0, std::numeric_limits<int64_t>::max())});
  return origin;
} catch (const common::JsonError& error) {
  throw Error("{}. Go on from another checkpoint with --resume STEP.", error.what());
}

}  // namespace sisa::launcher
