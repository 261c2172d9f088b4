#include "model/operations/state_space.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace sisa::model {
namespace {

// e^(to_i - from_j), 0 where a token j does not reach i: (…, I, J) of `type`. to (…, I), from (…, J) fp64
// sums of log decays. reaches (I, J) bool; where it holds, the exponent is at most 0.
at::Tensor decays(const at::Tensor& to, const at::Tensor& from, const at::Tensor& reaches,
                  at::ScalarType type) {
  return (to.unsqueeze(-1) - from.unsqueeze(-2))
      .masked_fill(reaches.logical_not(), -std::numeric_limits<double>::infinity())
      .to(type)
      .exp();
}

// True where j <= i + diagonal.
at::Tensor lower(int64_t rows, int64_t columns, int64_t diagonal, const at::Tensor& like) {
  return at::ones({rows, columns}, like.options().dtype(at::kBool).requires_grad(false)).tril(diagonal);
}

// The states before each of n chunks, (B, n, h, P, N), from what each chunk adds by its end, of the same
// shape, and its log decay (B, n, h) fp64. `state` (B, h, P, N): before the first; becomes that after the
// last.
at::Tensor states_before(const at::Tensor& added, const at::Tensor& log_decay, at::Tensor& state) {
  constexpr int64_t most = 64;  // chunks that one matrix of decays connects
  std::vector<at::Tensor> parts;
  for (int64_t begin = 0; begin < added.size(1); begin += most) {
    const int64_t n = std::min(most, added.size(1) - begin);
    const at::Tensor sums = log_decay.narrow(1, begin, n).cumsum(1).transpose(1, 2);  // (B, h, n)
    const at::Tensor until = at::constant_pad_nd(sums, {1, 0});  // before each, and at the end
    const at::Tensor from_chunks = decays(until, sums, lower(n + 1, n, -1, sums), added.scalar_type());
    at::Tensor states = at::einsum("bhij,bjhpn->bihpn", {from_chunks, added.narrow(1, begin, n)});
    if (state.defined()) {
      const at::Tensor kept = until.to(added.scalar_type()).exp().transpose(1, 2);  // (B, n + 1, h)
      states = states + kept.unsqueeze(-1).unsqueeze(-1) * state.unsqueeze(1);
    }
    parts.push_back(states.narrow(1, 0, n));
    state = states.select(1, n);
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts, 1);
}

}  // namespace

at::Tensor causal_convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                              at::Tensor* before) {
  const int64_t T = x.size(1), width = weight.size(1);
  const at::Tensor all =
      before && before->defined() ? at::cat({*before, x}, 1) : at::constant_pad_nd(x, {0, 0, width - 1, 0});
  at::Tensor y = bias;
  for (int64_t i = 0; i < width; ++i) y = y + all.narrow(1, i, T) * weight.select(1, i);
  if (before) *before = all.narrow(1, T, width - 1).clone();
  return y;
}

at::Tensor scan(const Scan& inputs, at::Tensor* state) {
  const at::Tensor& x = inputs.x;
  const at::ScalarType type = x.scalar_type();
  const int64_t T = x.size(1), Q = std::min(inputs.chunk_length, T), n = (T + Q - 1) / Q;
  // (B, T, …) -> (B, n, Q, …); tokens that fill up the last chunk add nothing and do not decay.
  const auto chunks = [&](const at::Tensor& all) {
    if (n * Q == T) return all.unflatten(1, {n, Q});
    std::vector<int64_t> padding(static_cast<size_t>(2 * (all.dim() - 1)), 0);
    padding.back() = n * Q - T;
    return at::constant_pad_nd(all, padding).unflatten(1, {n, Q});
  };
  const at::Tensor key = chunks(inputs.key), query = chunks(inputs.query), in = chunks(x),
                   weighted = in * chunks(inputs.weight).unsqueeze(-1);
  const at::Tensor sums = chunks(inputs.log_decay.to(at::kDouble)).cumsum(2).transpose(2, 3);  // (B, n, h, Q)

  // Within chunks. Whatever a later token's numbers are, they are multiplied by 0.
  const bool apart = inputs.own.defined();
  const at::Tensor within = decays(sums, sums, lower(Q, Q, apart ? -1 : 0, sums), type);  // (B, n, h, Q, Q)
  const at::Tensor scores = at::einsum("bcqhn,bcshn->bchqs", {query, key});
  at::Tensor y = at::einsum("bchqs,bcshp->bcqhp", {scores * within, weighted});
  if (apart) y = y + (chunks(inputs.own) * (query * key).sum(-1)).unsqueeze(-1) * in;

  // From chunk to chunk.
  const at::Tensor at_end = sums.narrow(-1, Q - 1, 1);  // (B, n, h, 1)
  const at::Tensor until_end =
      (at_end - sums).to(type).exp().transpose(2, 3).unsqueeze(-1);  // (B, n, Q, h, 1)
  const at::Tensor added = at::einsum("bcshp,bcshn->bchpn", {weighted * until_end, key});
  at::Tensor last = state ? *state : at::Tensor();
  const bool from_nothing = n == 1 && !last.defined();
  const at::Tensor before = states_before(added, at_end.squeeze(-1), last);
  if (!from_nothing)
    y = y +
        at::einsum("bcqhn,bchpn->bcqhp", {query, before}) * sums.to(type).exp().transpose(2, 3).unsqueeze(-1);
  if (state) *state = last.clone();
  return y.flatten(1, 2).narrow(1, 0, T);
}

}  // namespace sisa::model
