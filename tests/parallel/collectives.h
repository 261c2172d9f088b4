// What every Communicator must do, for the tests of each implementation.
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "parallel/communicator.h"

namespace sisa::tests {

// Small integers, whose sums over ranks are exact in every number type.
inline at::Tensor numbers(int rank, int64_t n, const at::TensorOptions& options) {
  return at::arange(n, options.dtype(at::kLong)).mul(7).add(3 * rank).remainder(11).sub(5).to(options);
}

// n: elements of a slice.
inline void check_collectives(parallel::Communicator& communicator, const at::TensorOptions& options,
                              int64_t n) {
  const int rank = communicator.rank(), size = communicator.size();
  const auto slice = [&](const at::Tensor& whole, int r) { return whole.narrow(0, r * n, n); };
  const at::Tensor mine = numbers(rank, size * n, options);
  at::Tensor sum = numbers(0, size * n, options);
  for (int r = 1; r < size; ++r) sum += numbers(r, size * n, options);

  const at::Tensor reduced = at::empty_like(slice(mine, 0));
  communicator.reduce_scatter(mine, reduced);
  EXPECT_TRUE(at::equal(reduced, slice(sum, rank)));
  EXPECT_TRUE(at::equal(mine, numbers(rank, size * n, options))) << "the input was changed";

  const at::Tensor in_place = mine.clone();
  communicator.reduce_scatter(in_place, slice(in_place, rank));
  EXPECT_TRUE(at::equal(slice(in_place, rank), slice(sum, rank)));
  communicator.all_gather(slice(in_place, rank), in_place);
  EXPECT_TRUE(at::equal(in_place, sum));

  const at::Tensor gathered = at::empty_like(mine);
  communicator.all_gather(reduced, gathered);
  EXPECT_TRUE(at::equal(gathered, sum));

  const at::Tensor all = mine.clone();
  communicator.all_reduce(all);
  EXPECT_TRUE(at::equal(all, sum));

  for (int root = 0; root < size; ++root) {
    const at::Tensor sent = mine.clone();
    communicator.broadcast(sent, root);
    EXPECT_TRUE(at::equal(sent, numbers(root, size * n, options)));
  }

  const at::Tensor first = mine.clone(), second = mine.clone();
  communicator.group_begin();
  communicator.all_reduce(first);
  communicator.reduce_scatter(second, slice(second, rank));
  communicator.group_end();
  EXPECT_TRUE(at::equal(first, sum));
  EXPECT_TRUE(at::equal(slice(second, rank), slice(sum, rank)));
}

}  // namespace sisa::tests
