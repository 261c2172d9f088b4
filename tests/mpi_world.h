#pragma once

#include "parallel/world.h"

namespace sisa::tests {
const parallel::World& world();  // of the running test program
}
