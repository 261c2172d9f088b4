// Work of one process.
#pragma once

#include "common/error.h"
#include "parallel/world.h"

namespace sisa::launcher {

// Collective. The root does it, and if it fails all ranks throw its error.
template <typename Work>
int on_root(const parallel::World& world, const Work& work) {
  world.together([&] {
    if (world.is_root()) work();
  });
  return common::success;
}

}  // namespace sisa::launcher
