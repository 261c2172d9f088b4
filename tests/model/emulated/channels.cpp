#include "model/kernels/channels.cu"

namespace sisa::model::kernels {
namespace {
alignas(16) thread_local float memory[12 << 10];  // dynamic shared memory
}
}  // namespace sisa::model::kernels
