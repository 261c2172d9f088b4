// For builds without CUDA, where no tensor lies on a GPU.
#include <c10/util/Exception.h>

#include "model/operations/fused.h"

namespace sisa::model::fused {
namespace {

[[noreturn]] void unreachable() {
  TORCH_INTERNAL_ASSERT(false, "this build has no CUDA kernels");
}

}  // namespace

void set_enabled(bool) {}
bool usable(const at::Tensor&, const at::Tensor&) {
  return false;
}
bool norm_usable(const at::Tensor&, const common::Parameter&) {
  return false;
}
bool cross_entropy_usable(const at::Tensor&, const common::Parameter&) {
  return false;
}
Service service(const at::Tensor&, const common::Parameter&, const HeadProjection&) {
  return Service::none;
}
bool decays_in_blocks(const at::Tensor&, const common::Parameter&, const HeadProjection&) {
  return false;
}
Normed add_rms_norm(const at::Tensor&, const at::Tensor&, common::Parameter&, double) {
  unreachable();
}
at::Tensor swiglu(const at::Tensor&) {
  unreachable();
}
at::Tensor cross_entropy_sum(const at::Tensor&, common::Parameter&, int64_t, const at::Tensor&) {
  unreachable();
}
Heads heads(const at::Tensor&, common::Parameter&, const HeadProjection&, const at::Tensor&,
            const at::Tensor&) {
  unreachable();
}
Output attention(const at::Tensor&, common::Parameter&, const HeadProjection&, const at::Tensor&,
                 const at::Tensor&) {
  unreachable();
}

}  // namespace sisa::model::fused
