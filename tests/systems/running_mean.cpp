// A system that the program does not have: a causal running mean of a projection. All that it takes to add one.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones_like.h>

#include "model/mixers/mixer.h"
#include "model/mixers/registry.h"
#include "model/operations/functional.h"

namespace sisa::model {
namespace {
struct Sums final : MixerCache {
  void join(const MixerCache& more) override {
    const at::Tensor& other = dynamic_cast<const Sums&>(more).so_far;
    so_far = so_far.defined() ? at::cat({so_far, other}) : other;
  }
  at::Tensor so_far;  // (B, 1, d_model + 1): of the projections, and the number of tokens
};

struct RunningMean final : Mixer {
  explicit RunningMean(const LayerContext& c) : context(c), in(matrix("W_in")), out(matrix("W_out")) {}
  common::Parameter matrix(const std::string& name) const {
    const int64_t d = context.config.d_model;
    const std::string full = context.prefix + name;
    common::Parameter p{.name = full, .bucket = context.bucket, .rows = d, .columns = d};
    p.blocks = {{full + ".weight", {d, d}, 0, common::normal(0.02)}};
    return p;
  }
  std::vector<common::Parameter*> parameters() override { return {&in, &out}; }
  std::unique_ptr<MixerCache> make_cache() const override { return std::make_unique<Sums>(); }
  at::Tensor forward(const at::Tensor& x) override { return extend(x, *make_cache()); }
  at::Tensor extend(const at::Tensor& x, MixerCache& cache) override {
    at::Tensor& so_far = dynamic_cast<Sums&>(cache).so_far;
    const at::Tensor y = linear(x, in, 0, in.rows, context.statistics());
    at::Tensor sums = at::cat({y, at::ones_like(y.narrow(-1, 0, 1))}, -1).cumsum(1);
    if (so_far.defined()) sums = sums + so_far;
    so_far = sums.narrow(1, x.size(1) - 1, 1);
    const at::Tensor count = sums.narrow(-1, in.rows, 1).pow(context.config.real("power"));
    return linear((sums.narrow(-1, 0, in.rows) / count).to(x.scalar_type()), out);
  }
  MixerCosts costs(int64_t length) const override {
    const auto d = static_cast<double>(in.rows);
    return {.flops = 2 * d, .usual_flops = 6 * d, .cache_bytes = 4 * (d + 1) / static_cast<double>(length)};
  }
  LayerContext context;
  common::Parameter in, out;  // (d_model, d_model)
};
const Key power{.name = "power",
                .type = Key::Type::real,
                .default_value = 1.0,
                .low = common::from(0),
                .high = common::to(1),
                .doc = "of the number of tokens that their sum is divided by"};
const bool added = add_system({.name = "running_mean",
                               .doc = "the causal running mean of a projection",
                               .keys = {power},
                               .make_mixer = make_mixer<RunningMean>});

}  // namespace
}  // namespace sisa::model
