// The storage of parameters, gradients and optimizer state: flat ranges, of each of which a rank owns a
// slice.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/parameter.h"
#include "common/precision.h"
#include "parallel/communicator.h"

namespace sisa::parallel {

// A flat range: all parameters of one bucket (the embedding, one layer or the final norm) that have equal
// traits. They therefore share number types, learning rate and weight decay. Every parameter starts at a
// multiple of 256 bytes, and the end is padded so that the range divides evenly by the world size. Sharding,
// reduction, clipping, updating, checkpointing and counting are loops over ranges.
struct FlatRange {
  std::string bucket;
  common::ParameterTraits traits;
  int64_t size = 0;                        // elements, including padding
  int64_t owned_begin = 0, owned_end = 0;  // the slice whose state this rank holds; all of it if replicated

  struct Placement {
    common::Parameter* parameter;
    int64_t offset;  // position of its first element within the range
  };
  std::vector<Placement> placements;  // in order of offset

  at::Tensor values;     // (size), of value_type; the model computes with these
  at::Tensor gradients;  // (size), of state_type; undefined outside training
  // These are (owned_end - owned_begin), of state_type, and undefined outside training.
  at::Tensor masters;  // shares the memory of `values` if value_type == state_type
  at::Tensor moment1, moment2;

  at::Tensor owned(const at::Tensor& whole) const {
    return whole.narrow(0, owned_begin, owned_end - owned_begin);
  }
};

// A run of logical elements [begin, end) of one block, in row-major order. Checkpoints are written and read
// in this unit, which does not depend on padding or on the number of ranks.
struct BlockSlice {
  const FlatRange* range;
  const FlatRange::Placement* placement;
  const common::Block* block;
  int64_t begin, end;
};

enum class StateArray { weights, moment1, moment2 };  // weights: masters where they exist, else values

// The number of elements of the tensor that ParameterSpace::cells returns.
size_t cell_count(const BlockSlice& piece);
// Copies a piece's elements out of its cells (see ParameterSpace::cells), leaving out the padding between
// rows. Both spans are host memory with `element_size` bytes per element. May be called from any thread.
void copy_without_padding(const BlockSlice& piece, size_t element_size, std::span<const std::byte> cells,
                          std::span<std::byte> elements);

class ParameterSpace {
 public:
  struct Options {
    common::Precision precision = common::Precision::fp32;
    at::Device device = at::kCPU;
    bool training = true;  // false: there are values only, and they require no grad
    // true: each rank holds the masters and moments of its slice only. false, and always outside training:
    // each rank holds everything (replicated).
    bool sharded = true;
  };

  // Allocates zeros and binds the value and the gradient of each parameter. The parameters must outlive the
  // space and must not move.
  ParameterSpace(std::vector<common::Parameter*> parameters, const Options& options, int rank,
                 int world_size);
  ParameterSpace(const ParameterSpace&) = delete;  // pieces point into it
  ParameterSpace& operator=(const ParameterSpace&) = delete;

  const Options& options() const { return options_; }
  const std::vector<common::Parameter*>& parameters() const { return parameters_; }
  std::vector<FlatRange>& ranges() { return ranges_; }
  const std::vector<FlatRange>& ranges() const { return ranges_; }

  // Draws the initial weights (common::initial_values). They depend on the seed alone and not on world size,
  // padding or device.
  void initialise(uint64_t seed);
  void zero_gradients();
  // Afterwards the owned slices of `gradients` hold the sum over ranks: by reduce-scatter if sharded, by
  // all-reduce if replicated. Collective.
  void reduce_gradients(Communicator& communicator);
  // Sends each rank's owned values to all ranks. Does nothing if replicated. Collective.
  void gather_values(Communicator& communicator);
  // Sets the values of the owned slices to their masters, rounded.
  void round_masters();

  // The pieces that `rank` of `world_size` writes to a checkpoint. Together with those of the other ranks
  // they cover every logical element exactly once; replicated spaces share the work as sharded ones do.
  std::vector<BlockSlice> pieces_to_save(int rank, int world_size) const;
  // The pieces whose state this rank holds and must therefore read from a checkpoint. As all ranks need all
  // weights, call round_masters and gather_values after loading the owned pieces.
  std::vector<BlockSlice> owned_pieces() const;
  // The memory of `array` from the piece's first to its last element, including the padding between rows:
  // 1-D, on the device, of state_type (the weights of a space without training are of value_type).
  at::Tensor cells(const BlockSlice& piece, StateArray array) const;
  // Copy a piece's elements to or from a contiguous 1-D CPU tensor of state_type.
  at::Tensor read(const BlockSlice& piece, StateArray array) const;
  void write(const BlockSlice& piece, StateArray array, const at::Tensor& elements);

  int64_t num_parameters() const { return common::count_elements(parameters_); }  // logical elements
  // Bytes on this rank.
  struct Memory {
    int64_t values = 0, gradients = 0, masters = 0, moments = 0;
  };
  Memory memory() const;

 private:
  void allocate(FlatRange& range) const;
  bool has_own_masters(const FlatRange& range) const;  // false if they share the memory of `values`

  std::vector<common::Parameter*> parameters_;
  Options options_;
  int rank_, world_size_;
  std::vector<FlatRange> ranges_;
};

}  // namespace sisa::parallel
