#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "parallel/adamw_element.h"
#include "parallel/adamw_kernels.h"

namespace sisa::parallel {
namespace {

constexpr int64_t part_size = 16384;  // elements; enough work for a thread, and few enough for the cache

template <typename T, typename State, typename Value>
void update(const AdamWSlice& slice, const AdamWStep<double>& step_in_fp64) {
  at::parallel_for(0, slice.size, part_size, [&](int64_t begin, int64_t end) {
    const auto step = step_in_fp64.as<T>();
    const State* __restrict gradients = static_cast<const State*>(slice.gradients);
    State* __restrict moment1 = static_cast<State*>(slice.moment1);
    State* __restrict moment2 = static_cast<State*>(slice.moment2);
    State* __restrict masters = static_cast<State*>(slice.masters);
    [[maybe_unused]] Value* __restrict values = static_cast<Value*>(slice.values);
    for (int64_t i = begin; i < end; ++i) {
      adamw_element(step, gradients[i], moment1[i], moment2[i], masters[i]);
      if constexpr (!std::is_same_v<State, Value>) values[i] = static_cast<Value>(masters[i]);
    }
  });
}

template <typename T>
double sum_of_squares(const T* x, int64_t size) {
  constexpr int64_t lanes = 8;  // independent sums, so that the loop is vectorised
  double sums[lanes] = {};
  int64_t i = 0;
  for (; i + lanes <= size; i += lanes)
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const auto value = static_cast<double>(x[i + lane]);
      sums[lane] += value * value;
    }
  double sum = 0;
  for (; i < size; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  for (const double lane_sum : sums) sum += lane_sum;
  return sum;
}

template <typename T>
double sum_of_squares_in_parts(const T* x, int64_t size) {
  std::vector<double> sums(static_cast<size_t>(at::divup(size, part_size)));
  at::parallel_for(0, static_cast<int64_t>(sums.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t start = part * part_size;
      sums[static_cast<size_t>(part)] = sum_of_squares(x + start, std::min(part_size, size - start));
    }
  });
  double sum = 0;
  for (const double part_sum : sums) sum += part_sum;
  return sum;
}

}  // namespace

void adamw_update_cpu(const AdamWSlice& slice, const AdamWStep<double>& step) {
  using c10::BFloat16;
  if (slice.state == Number::fp64 && slice.value == Number::fp64)
    return update<double, double, double>(slice, step);
  if (slice.state == Number::fp32 && slice.value == Number::fp32)
    return update<float, float, float>(slice, step);
  if (slice.state == Number::fp32 && slice.value == Number::bf16)
    return update<float, float, BFloat16>(slice, step);
  if (slice.state == Number::bf16 && slice.value == Number::bf16)
    return update<float, BFloat16, BFloat16>(slice, step);
  TORCH_INTERNAL_ASSERT(false, "no precision mode has these types of state and value");
}

double sum_of_squares_cpu(Number type, const void* x, int64_t size) {
  switch (type) {
    case Number::fp64:
      return sum_of_squares_in_parts(static_cast<const double*>(x), size);
    case Number::fp32:
      return sum_of_squares_in_parts(static_cast<const float*>(x), size);
    case Number::bf16:
      return sum_of_squares_in_parts(static_cast<const c10::BFloat16*>(x), size);
  }
  TORCH_INTERNAL_ASSERT(false, "unknown number type");
}

}  // namespace sisa::parallel
