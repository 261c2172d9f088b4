// Speed on one GPU of every kernel of our own, and of the matrix products and the attention between them.
//
// sisa_bench [--benchmark_filter=REGEX] [--benchmark_format=json] …, options of Google Benchmark
// Sizes are those of the paper's 152M recipe with d_state 16, in micro-batches of 32 sequences of 2048
// tokens. Time is the GPU's, between two events. With it come, of passes over memory, TB/s with each input
// and output counted once, and of products and attention, TFLOP/s; and what share that is of the device's
// limit. Calls touch 190 MB or more before they come back to an address, so that TB/s are of the GPU's memory
// and not of its L2 cache.
#include <ATen/TensorOperators.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>

#include "common/error.h"
#include "launcher/run/device.h"
#include "model/kernels/kernels.h"
#include "model/operations/attention.h"
#include "model/operations/functional.h"
#include "model/operations/fused.h"
#include "model/operations/products.h"
#include "parallel/adamw_kernels.h"
#include "parallel/world.h"

namespace sisa {
namespace {

namespace kernels = model::kernels;
using at::Tensor;
using parallel::Number;

constexpr int64_t batch = 32, length = 2048, tokens = batch * length;
constexpr int64_t d_model = 768, num_heads = 12, d_head = d_model / num_heads, d_state = 16;
constexpr int64_t d_ff = 2944, vocab_size = 50277, vocab_rows = 50304;  // 2908 and 50277, filled up
constexpr int64_t logits_rows = model::fused::logits_rows;
constexpr int64_t num_parameters = 152'000'000;
// Rows of the projections: [Q K V B C] and [theta alpha padding].
constexpr int64_t angles = num_heads * d_state / 2, gates = 128;
constexpr int64_t channel_rows = 3 * d_model + 2 * num_heads * d_state;

// Of the calls work(0), work(1), … each reads and writes so many bytes, or computes so much.
struct Case {
  std::function<void(int64_t)> work;
  double bytes = 0, flops = 0;
};

// A tensor that kernels take as the pointer that they want.
struct Array : Tensor {
  Array(const Tensor& x) : Tensor(x) {}
  template <typename T>
  operator T*() const {
    if constexpr (!std::is_void_v<T>) TORCH_INTERNAL_ASSERT(sizeof(T) == itemsize() && is_contiguous());
    return static_cast<T*>(data_ptr());
  }
};
Array numbers(at::IntArrayRef shape, at::ScalarType type) {
  return at::randn(shape, at::device(at::kCUDA).dtype(type));
}
Array bf16(at::IntArrayRef shape) {
  return numbers(shape, at::kBFloat16);
}
Array fp32(at::IntArrayRef shape) {
  return numbers(shape, at::kFloat);
}
Array full(at::IntArrayRef shape, double value, at::ScalarType type) {
  return at::full(shape, value, at::device(at::kCUDA).dtype(type));
}
double bytes_of(std::initializer_list<Tensor> all) {
  double sum = 0;
  for (const Tensor& x : all) sum += static_cast<double>(x.nbytes());
  return sum;
}
void* stream() {
  return c10::cuda::getCurrentCUDAStream().stream();
}

Case rms_norm(bool backward) {
  const auto rows = [] { return bf16({tokens, d_model}); };
  const Array x = rows(), delta = rows(), sum = rows(), normed = rows(), weight = fp32({d_model}),
              scales = fp32({tokens}), sum_gradient = rows(), normed_gradient = rows(), gradient = rows(),
              weight_gradient = fp32({d_model}), workspace = fp32({kernels::norm_partial_sums(d_model)});
  const auto work = [=](int64_t) {
    if (backward)
      kernels::rms_norm_backward(sum, scales, weight, sum_gradient, normed_gradient, tokens, d_model,
                                 gradient, weight_gradient, workspace, stream());
    else
      kernels::rms_norm(x, delta, weight, 1e-6f, tokens, d_model, sum, normed, scales, stream());
  };
  return {work,
          backward ? bytes_of({sum, scales, weight, sum_gradient, normed_gradient, gradient, weight_gradient})
                   : bytes_of({x, delta, weight, sum, normed, scales})};
}

// output: backwards its gradient.
Case swiglu(bool backward) {
  const Array gate_up = bf16({tokens, 2 * d_ff}), output = bf16({tokens, d_ff}),
              gradient = bf16({tokens, 2 * d_ff});
  const auto work = [=](int64_t) {
    if (backward)
      kernels::swiglu_backward(gate_up, output, tokens, d_ff, gradient, stream());
    else
      kernels::swiglu(gate_up, tokens, d_ff, output, stream());
  };
  return {work, backward ? bytes_of({gate_up, output, gradient}) : bytes_of({gate_up, output})};
}

// From the second call on the logits are the gradients of the call before, which takes as long.
Case cross_entropy() {
  const Array logits = bf16({logits_rows, vocab_rows}), losses = fp32({logits_rows}),
              targets = at::randint(vocab_size, {logits_rows}, at::device(at::kCUDA).dtype(at::kLong));
  const auto work = [=](int64_t) {
    kernels::cross_entropy(logits, targets, logits_rows, vocab_rows, vocab_size, losses, stream());
  };
  return {work, bytes_of({logits, logits, targets, losses})};
}

// segments 0: the Transformer's, without state channels.
kernels::ChannelShape channel_shape(int64_t segments) {
  if (segments == 0) return {batch, length, num_heads, d_head, 0, 1, d_head, 3 * d_model, 0, 0, false};
  const int64_t width = model::attention_width(d_head + segments * d_state);
  return {batch, length, num_heads, d_head, d_state, segments, width, channel_rows, gates, angles, true};
}

// All projections but the value are read, and backwards B and C alone. Of the query's gradient a token's own
// segment is read, of the key's that and the later ones. `hopper`: as our own attention has it, with
// exponents instead of segments, of which there is one or none; it leaves most gradients in fp32, and the
// value's where it belongs.
Case channels(int64_t segments, bool hopper, bool backward) {
  const kernels::ChannelShape s = channel_shape(segments);
  TORCH_INTERNAL_ASSERT(kernels::channels_fit(s));
  const Array projections = bf16({tokens, s.row}), cosine = fp32({length, d_head / 2}),
              sine = fp32({length, d_head / 2}), query = bf16({tokens, num_heads, s.width}),
              key = bf16({tokens, num_heads, s.width}), num_limited = full({1}, 0, at::kLong),
              phases = fp32({tokens, s.num_angles}),
              decays = full({tokens, s.decays ? num_heads : 0}, 0, at::kDouble),
              offsets = full({batch, num_heads}, 60, at::kDouble),
              amplitudes = full({num_heads}, 0.5, at::kFloat), value_gradient = bf16({tokens, d_model}),
              gradient = bf16({tokens, s.row + s.gates}), sums = fp32({tokens, s.gates}),
              amplitude_gradients = fp32({tokens, num_heads}),
              query_fp32 = fp32({tokens, num_heads, s.width}),
              key_content = bf16({tokens, num_heads, d_head}),
              key_state_fp32 = fp32({tokens, num_heads, s.d_state}),
              exponents = full({batch, num_heads, kernels::num_exponents(length)}, 0, at::kShort);
  if (s.decays) {
    // Segments of 120 nats of decay have as many tokens each: softplus(bias) is a token's share.
    const double decay = 0.99 * 120 * static_cast<double>(segments) / length;
    const Array bias = full({num_heads}, std::log(std::expm1(decay)), at::kFloat),
                x = 0.02 * fp32({tokens, gates});
    kernels::scan_gates(s, x, bias, phases, decays, stream());
  }
  const auto work = [=](int64_t) {
    const kernels::ChannelState state =
        hopper ? kernels::ChannelState{.phases = phases,
                                       .decays = decays,
                                       .amplitudes = amplitudes,
                                       .limit = kernels::exponent_step,
                                       .exponents = exponents}
               : kernels::ChannelState{phases, decays, offsets, amplitudes, 60, 120};
    const kernels::HeadGradients gradients =
        hopper ? kernels::HeadGradients{.key = key_content,
                                        .query_fp32 = query_fp32,
                                        .key_state_fp32 = key_state_fp32}
               : kernels::HeadGradients{.query = query,
                                        .key = key,
                                        .value = value_gradient,
                                        .value_strides = {length * d_model, d_model, d_head}};
    if (backward)
      kernels::channels_backward(s, projections, cosine, sine, state, gradients, gradient, sums,
                                 amplitude_gradients, stream());
    else
      kernels::channels(s, projections, cosine, sine, state, query, key, num_limited, stream());
  };
  const double both = bytes_of({cosine, sine, phases, decays});
  if (!backward) return {work, both + bytes_of({projections, query, key}) - 2.0 * tokens * d_model};
  const double in_fp32 = segments > 0 ? angles + 2 * num_heads : 0;  // sums, amplitudes' gradients
  if (hopper)
    return {work, both + bytes_of({query_fp32, key_content, key_state_fp32}) +
                      tokens * (2.0 * (num_heads * 2 * s.d_state + s.row - d_model) + 4 * in_fp32)};
  const double segments_read = 1 + static_cast<double>(segments + 1) / 2;
  const double in_bf16 = num_heads * (3 * d_head + (2 + segments_read) * s.d_state) + s.row;
  return {work, both + tokens * (2 * in_bf16 + 4 * in_fp32)};
}

// Forwards all gates but padding are read. Backwards those of decay and all sums but padding's, whose
// gradients are written too. Calls take turns at copies, one of which would stay in some GPUs' caches.
Case scan_gates(bool backward) {
  constexpr int64_t num_copies = 4;
  const Array x = fp32({num_copies, tokens, gates}), bias = fp32({num_heads}),
              phases = fp32({num_copies, tokens, angles}),
              decays = numbers({num_copies, tokens, num_heads}, at::kDouble),
              sums = fp32({num_copies, tokens, gates}), bias_gradients = fp32({batch, num_heads}),
              gradient = bf16({num_copies, tokens, channel_rows + gates});
  const auto work = [=, shape = channel_shape(1)](int64_t call) {
    const auto turn = [&](const Array& all) { return Array(all.select(0, call % num_copies)); };
    if (backward)
      kernels::scan_gates_backward(shape, turn(x), bias, turn(sums), turn(gradient), bias_gradients,
                                   stream());
    else
      kernels::scan_gates(shape, turn(x), bias, turn(phases), turn(decays), stream());
  };
  const double read = 4 * (angles + num_heads) + (backward ? 4 * num_heads : 0),
               written = backward ? 2 * gates : 4 * angles + 8 * num_heads;
  return {work, tokens * (read + written)};
}

// In precision bf16: everything fp32 but the values.
Case adamw() {
  const Array gradients = fp32({num_parameters}), moment1 = fp32({num_parameters}),
              moment2 = fp32({num_parameters}).square_(), masters = fp32({num_parameters}),
              values = bf16({num_parameters});
  const parallel::AdamWStep<double> step{1, 0.9, 0.95, 1, 1, 6e-4, 1, 1e-8};
  const auto work = [=](int64_t) {
    parallel::adamw_update_cuda(
        {Number::fp32, Number::bf16, num_parameters, gradients, moment1, moment2, masters, values}, step,
        stream());
  };
  return {work, bytes_of({gradients, moment1, moment1, moment2, moment2, masters, masters, values})};
}

Case sum_of_squares() {
  const Array x = fp32({num_parameters}), sums = numbers({parallel::num_partial_sums}, at::kDouble);
  return {[=](int64_t) { parallel::sum_of_squares_cuda(Number::fp32, x, num_parameters, sums, stream()); },
          bytes_of({x, sums})};
}

enum Pass { forward = 1, input_gradient = 2, weight_gradient = 4, gradients = 6, all = 7 };

// With a matrix (outputs, inputs): x (rows, inputs) to outputs of `type`, and the passes back.
struct Product {
  const char* name;
  int64_t rows, inputs, outputs;
  Pass passes = all;
  at::ScalarType type = at::kBFloat16;
};
constexpr Product products[] = {
    {"transformer_qkv", tokens, d_model, 3 * d_model},
    {"channels", tokens, d_model, channel_rows, forward},
    {"gates", tokens, d_model, gates, forward, at::kFloat},
    {"channels_and_gates", tokens, d_model, channel_rows + gates, gradients},
    {"attention_output", tokens, d_model, d_model},
    {"gate_up", tokens, d_model, 2 * d_ff},
    {"down", tokens, d_ff, d_model},
    {"head", logits_rows, d_model, vocab_rows},
};

Case product(const Product& p, Pass pass) {
  const Array x = bf16({p.rows, p.inputs}), weight = bf16({p.outputs, p.inputs}),
              output_gradient = bf16({p.rows, p.outputs}), sum = fp32({p.outputs, p.inputs});
  const auto work = [=, type = p.type](int64_t) {
    if (pass == forward) model::matmul_to(x, weight.t(), type);
    if (pass == input_gradient) output_gradient.mm(weight);
    if (pass == weight_gradient) model::add_outer_product(sum, output_gradient, x);
  };
  return {.work = work, .flops = 2.0 * static_cast<double>(p.rows * p.inputs * p.outputs)};
}

// The causal mask leaves T (T + 1) / 2 scores of a sequence and head. The backward pass counts as twice the
// forward one: that it computes the scores anew does not count. The value lies among the projections.
Case attention(int64_t d_qk, bool backward) {
  const Tensor query = bf16({batch, length, num_heads, d_qk}).requires_grad_(),
               key = bf16({batch, length, num_heads, d_qk}).requires_grad_(),
               value = bf16({batch, length, channel_rows})
                           .narrow(2, 2 * d_model, d_model)
                           .unflatten(2, {num_heads, d_head})
                           .requires_grad_(),
               output_gradient = bf16({batch, length, num_heads, d_head});
  const auto work = [=](int64_t) {
    const Tensor output = model::attention(query, key, value,
                                           {.num_heads = num_heads,
                                            .num_kv_heads = num_heads,
                                            .scale = 1 / std::sqrt(static_cast<double>(d_head))});
    if (backward) torch::autograd::grad({output}, {query, key, value}, {output_gradient});
  };
  const double scores = static_cast<double>(batch * num_heads) * length * (length + 1) / 2;
  return {.work = work, .flops = (backward ? 3 : 1) * 2 * scores * static_cast<double>(d_qk + d_head)};
}

// Our own, for Hopper GPUs, one direction a call. `steps`: by how many its exponents grow along a sequence.
Case hopper_attention(int64_t state, int64_t steps, bool backward) {
  const int64_t d_qk = d_head + state, blocks = length / kernels::exponent_block;
  const Array query = bf16({batch, length, num_heads, d_qk}), key = bf16({batch, length, num_heads, d_qk}),
              value = bf16({batch, length, num_heads, d_head}),
              output = bf16({batch, length, num_heads, d_head}),
              output_gradient = bf16({batch, length, num_heads, d_head}),
              query_gradient = fp32({batch, length, num_heads, d_qk}),
              key_gradient = bf16({batch, length, num_heads, d_head}),
              state_gradient = fp32({batch, length, num_heads, std::max<int64_t>(state, 1)}),
              value_gradient = bf16({batch, length, num_heads, d_head}),
              logsumexp = fp32({batch, num_heads, kernels::attention_rows(length)}),
              workspace = fp32({batch, num_heads, kernels::attention_rows(length)}),
              exponents = (at::arange(blocks, value.options().dtype(at::kFloat)) * steps / blocks)
                              .floor()
                              .to(at::kShort)
                              .repeat({batch * num_heads, 1});
  const kernels::AttentionCall shape{.batch = batch,
                                     .length = length,
                                     .heads = num_heads,
                                     .d_state = state,
                                     .scale = 1 / std::sqrt(static_cast<double>(d_head)),
                                     .exponents = state > 0 ? exponents.const_data_ptr<int16_t>() : nullptr,
                                     .value_strides = {length * d_model, d_model, d_head}};
  const Array turns = full({kernels::attention_turns(shape)}, 0, at::kInt);
  kernels::attention(shape, query, key, value, output, logsumexp, stream());
  const auto work = [=](int64_t) {
    [[maybe_unused]] const Array& used = exponents;
    if (!backward) {
      kernels::attention(shape, query, key, value, output, logsumexp, stream());
      return;
    }
    turns.zero_();
    kernels::attention_backward(shape, query, key, value, output, logsumexp,
                                {output_gradient,
                                 query_gradient,
                                 key_gradient,
                                 state_gradient,
                                 value_gradient,
                                 {length * d_model, d_model, d_head}},
                                workspace, turns, stream());
  };
  const double scores = static_cast<double>(batch * num_heads) * length * (length + 1) / 2;
  return {.work = work, .flops = (backward ? 2 : 1) * 2 * scores * static_cast<double>(d_qk + d_head)};
}

// Of the device, a second; 0: unknown.
struct Limits {
  double bytes, flops;
};
Limits limits_of(const at::Device& device) {
  int kilohertz = 0, bus_bits = 0;
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&kilohertz, cudaDevAttrMemoryClockRate, device.index()));
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&bus_bits, cudaDevAttrGlobalMemoryBusWidth, device.index()));
  const auto flops = launcher::peak_flops(launcher::device_name(device), common::Precision::bf16);
  return {2e3 * kilohertz * bus_bits / 8, flops.value_or(0)};  // two transfers a cycle
}

void measure(benchmark::State& state, const Case& measured, const Limits& limits) {
  at::cuda::CUDAEvent begin(cudaEventDefault), end(cudaEventDefault);
  const auto seconds_of = [&](int64_t calls) {
    begin.record();
    for (int64_t call = 0; call < calls; ++call) measured.work(call);
    end.record();
    end.synchronize();
    return 1e-3 * begin.elapsed_time(end);
  };
  seconds_of(1);  // in which libraries choose their kernels
  // 2 ms between two events: the start of the first call, which nothing hides, takes microseconds.
  const auto calls = static_cast<int64_t>(std::ceil(2e-3 / (seconds_of(4) / 4)));
  double seconds = 0;
  while (state.KeepRunningBatch(calls)) {
    const double elapsed = seconds_of(calls);
    state.SetIterationTime(elapsed);
    seconds += elapsed;
  }
  const bool passes = measured.bytes > 0;  // over memory
  const double amount = passes ? measured.bytes : measured.flops,
               limit = passes ? limits.bytes : limits.flops,
               rate = amount * static_cast<double>(state.iterations()) / seconds;
  state.counters[passes ? "TB/s" : "TFLOP/s"] = 1e-12 * rate;
  if (limit > 0) state.counters["% of limit"] = 100 * rate / limit;
  state.SetLabel(fmt::format("{:.3f} {}", 1e-9 * amount, passes ? "GB" : "GFLOP"));
}

// Measures those that the filter lets through; false if one failed.
bool run(const Limits& limits) {
  bool good = true;
  const auto add = [&](const std::string& name, const std::function<Case()>& make) {
    const auto body = [&good, limits, make](benchmark::State& state) {
      try {
        measure(state, make(), limits);
      } catch (const std::exception& error) {
        state.SkipWithError(error.what());
        good = false;
      }
    };
    benchmark::RegisterBenchmark(name.c_str(), body)->UseManualTime()->Unit(benchmark::kMicrosecond);
  };
  add("cross_entropy", cross_entropy);
  add("adamw", adamw);
  add("sum_of_squares", sum_of_squares);
  for (const bool backward : {false, true}) {
    const std::string suffix = backward ? "_backward" : "";
    add("rms_norm" + suffix, [=] { return rms_norm(backward); });
    add("swiglu" + suffix, [=] { return swiglu(backward); });
    add("scan_gates" + suffix, [=] { return scan_gates(backward); });
    for (const int64_t n : {0, 1, 8})
      add(fmt::format("channels{}/segments:{}", suffix, n), [=] { return channels(n, false, backward); });
    for (const int64_t n : {64, 80, 96, 128, 192})
      add(fmt::format("attention{}/d_qk:{}", backward ? "_both_ways" : "", n),
          [=] { return attention(n, backward); });
    if (!kernels::attention_fits(d_head, d_state)) continue;
    for (const int64_t segments : {0, 1})
      add(fmt::format("hopper_channels{}/d_state:{}", suffix, segments * d_state),
          [=] { return channels(segments, true, backward); });
    for (const int64_t n : {0, 16, 32, 64, 128})
      add(fmt::format("hopper_attention{}/d_state:{}", suffix, n),
          [=] { return hopper_attention(n, 0, backward); });
    for (const int64_t steps : {4, 40})
      add(fmt::format("hopper_attention{}/d_state:{}/steps:{}", suffix, d_state, steps),
          [=] { return hopper_attention(d_state, steps, backward); });
  }
  for (const Product& p : products)
    for (const auto& [pass, name] : {std::pair(forward, "forward"),
                                     {input_gradient, "input_gradient"},
                                     {weight_gradient, "weight_gradient"}})
      if (p.passes & pass)
        add(fmt::format("product/{}/{}", p.name, name), [p, pass = pass] { return product(p, pass); });
  benchmark::RunSpecifiedBenchmarks();
  return good;
}

}  // namespace
}  // namespace sisa

int main(int argc, char** argv) {
  using namespace sisa;
  try {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return common::users_mistake;
    if (c10::cuda::device_count() == 0)
      throw Error(
          "sisa_bench needs a GPU, and this host shows none: check nvidia-smi and CUDA_VISIBLE_DEVICES.");
    const parallel::World world;
    const at::Device device =
        launcher::open_device({.device = "cuda", .determinism = launcher::Determinism::fast}, world);
    benchmark::AddCustomContext("GPU", launcher::device_name(device));
    return run(limits_of(device)) ? common::success : common::failure;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return common::failure;
  }
}
