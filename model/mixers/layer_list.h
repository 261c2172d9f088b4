// Keys that list layers by their numbers, from 0 on, for systems whose layers are not all alike.
#pragma once

#include <string>
#include <vector>

#include "model/system.h"

namespace sisa::model {

// An empty list, which is the default, stands for the layers that the system's `complete` names.
Key layers_key(const std::string& name, const std::string& doc);
void complete_layers(ModelConfig& config, const std::string& key, const std::vector<int64_t>& usual);
// Throws ConfigError where a layer is named that the network does not have, or one twice.
void validate_layers(const ModelConfig& config, const std::string& key);

}  // namespace sisa::model
