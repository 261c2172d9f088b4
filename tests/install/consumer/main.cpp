#include <cstdio>

#include "checkpoint/store.h"
#include "data/tokens/dataset.h"
#include "model/costs.h"
#include "parallel/world.h"

int main() {
  const sisa::parallel::World world;
  const sisa::checkpoint::Store store("no-such-folder", world);
  const sisa::model::ModelConfig config;  // 152M, d_state 16
  std::printf("%lld parameters on %d rank\n", static_cast<long long>(sisa::model::num_parameters(config)),
              world.size());
  return store.list().empty() && !sisa::data::is_dataset("no-such-folder") ? 0 : 1;
}
