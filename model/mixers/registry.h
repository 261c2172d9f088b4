// The table of systems: adding one is a file beside this one and a row in registry.cpp.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/system.h"

namespace sisa::model {

const std::deque<System>& systems();
std::vector<std::string> system_names();
// Throws ConfigError naming the systems that there are.
const System& find_system(const std::string& name);

// Adds a system that a program other than ours brings, before anything asks for the table (as the initial
// value of a static variable, say): `const bool added = model::add_system({.name = …});`. Returns true.
bool add_system(System system);

// The config with the defaults of its system for everything that is not given. Throws ConfigError on a key that
// the system does not read, a value out of range or a combination that makes no network.
ModelConfig completed(ModelConfig config);

// Whether the key has a meaning in `config`, whose settings that others depend on are there: the config's
// system reads it, and the choice that it needs was made.
bool has_meaning(const Key& key, const ModelConfig& config);

}  // namespace sisa::model
