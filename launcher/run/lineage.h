// What a run descends from.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace sisa::launcher {

// A run that another was begun from, and the step at which it was.
struct Ancestor {
  std::string run;  // its folder, as it was named
  int64_t step = 0;
};

// What a checkpoint records of its run beside the run's state.
struct Origin {
  std::string data;               // Sources::fingerprint of what it was trained on
  std::vector<Ancestor> lineage;  // the oldest first
};

nlohmann::ordered_json lineage_json(const std::vector<Ancestor>& lineage);  // [{"run": …, "step": …}, …]
// As checkpoint::RunState::extra. Reading leaves empty what is missing.
std::string origin_to_json(const Origin& origin);
Origin origin_from_json(const std::string& text);

}  // namespace sisa::launcher
