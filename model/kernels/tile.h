// Tiles of bf16 numbers in a block's shared memory, as Hopper's copies write them and its products read them.
#pragma once

#include <cstdint>

#include <cuda_runtime.h>

#include "model/kernels/kernels.h"

namespace sisa::model::kernels::hopper {

// Rows x Columns numbers: `chunk` columns after one another, of each all rows; within a chunk the 16-byte
// units of a row are permuted, so that the same unit of 8 rows lies in different banks. Begins at a multiple
// of 1024 bytes.
template <int Rows, int Columns, typename Number = Bf16>
struct Tile {
  static constexpr int number_bytes = sizeof(Number), most_columns = 128 / number_bytes;  // of a chunk
  static constexpr int rows = Rows, columns = Columns,
                       chunk = Columns < most_columns ? Columns : most_columns;
  static constexpr int num_chunks = Columns / chunk, row_bytes = number_bytes * chunk,
                       chunk_bytes = Rows * row_bytes;
  static constexpr int bytes = number_bytes * Rows * Columns;
  static_assert(row_bytes == 32 || row_bytes == 64 || row_bytes == 128);
  static_assert(Columns % chunk == 0 && Rows % 8 == 0);

  uint8_t* data;

  // The address of the 16 bytes that begin with `column`.
  __device__ uint8_t* at(int row, int column) const {
    return data + column / chunk * chunk_bytes + row * row_bytes +
           (column % chunk * number_bytes ^ permutation(row));
  }
  // In bytes. The same for rows that are 8 apart.
  __device__ static int permutation(int row) { return row * row_bytes / 8 & (row_bytes - 1) & 0x70; }
};

// A tensor (batch, tokens, heads, channels) in global memory, of which copies take the channels of one
// head for some tokens of one sequence.
struct Tensor {
  const void* data;
  int64_t batch, tokens, heads, channels;
  int64_t batch_stride, token_stride, head_stride;  // numbers; multiples of 16 bytes
};
struct Box {
  int rows, chunk, number_bytes;
};

}  // namespace sisa::model::kernels::hopper
