// Where parameters, gradients and optimizer state live: flat ranges, of which each rank owns a slice.
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

// A flat range: all parameters of one bucket (embedding, one layer, final norm) and one group, hence of one
// number type, one learning rate and one weight decay. Every parameter starts at a multiple of 256 bytes; the
// end is padded so that the range divides evenly by the world size. Sharding, reduction, clipping, updating,
// checkpointing and counting are loops over ranges.
struct Range {
  std::string name;  // "layers.0/matrix"
  common::Group group = common::Group::matrix;
  int64_t size = 0;                        // elements, padding included
  int64_t owned_begin = 0, owned_end = 0;  // the slice whose state this rank holds: all of it when replicated

  struct Placement {
    common::Parameter* parameter;
    int64_t offset;  // of its first element within the range
  };
  std::vector<Placement> placements;  // in order of offset

  at::Tensor values;     // (size) value_type: what the model computes with
  at::Tensor gradients;  // (size) state_type; undefined outside training
  // Of the owned slice only, (owned_end - owned_begin), state_type; undefined outside training.
  at::Tensor masters;  // shares the memory of `values` where value_type == state_type
  at::Tensor moment1, moment2;

  at::Tensor owned(const at::Tensor& whole) const {
    return whole.narrow(0, owned_begin, owned_end - owned_begin);
  }
};

// A run of logical elements [begin, end), row-major, of one block: the unit in which checkpoints speak,
// whatever the padding and the number of ranks.
struct Piece {
  const Range* range;
  const Range::Placement* placement;
  const common::Block* block;
  int64_t begin, end;
};

enum class StateArray { weights, moment1, moment2 };  // weights: masters where they exist, else values

// Of ParameterSpace::cells.
size_t cell_count(const Piece& piece);
// From a piece's cells, as ParameterSpace::cells has them, to its elements: leaves out the padding between
// rows. Plain memory, `element_size` bytes a cell; runs on any thread.
void copy_without_padding(const Piece& piece, size_t element_size, std::span<const std::byte> cells,
                          std::span<std::byte> elements);

class ParameterSpace {
 public:
  struct Options {
    common::Precision precision = common::Precision::fp32;
    at::Device device = at::kCPU;
    bool training = true;  // false: values only, which require no grad
    // Each rank holds the state of its slice only; false: of everything (replicated), as also without
    // training.
    bool sharded = true;
  };

  // Allocates zeros and binds value and gradient of each parameter. The parameters must outlive the space and
  // not move.
  ParameterSpace(std::vector<common::Parameter*> parameters, const Options& options, int rank,
                 int world_size);
  ParameterSpace(const ParameterSpace&) = delete;  // pieces point into it
  ParameterSpace& operator=(const ParameterSpace&) = delete;

  const Options& options() const { return options_; }
  const std::vector<common::Parameter*>& parameters() const { return parameters_; }
  std::vector<Range>& ranges() { return ranges_; }
  const std::vector<Range>& ranges() const { return ranges_; }

  // Draws initial weights (common::initial_values): equal for equal seed, whatever the world size, padding
  // and device.
  void initialise(uint64_t seed);
  void zero_gradients();
  // Afterwards the owned slices of `gradients` hold the sum over ranks. Sharded: reduce-scatter; replicated:
  // all-reduce.
  void reduce_gradients(Communicator& communicator);
  // Sends each rank's owned values to all. Nothing to do when replicated.
  void gather_values(Communicator& communicator);
  // values = masters, rounded, in the owned slices.
  void round_masters();

  // The pieces that `rank` of `world_size` writes to a checkpoint: with those of the other ranks they cover
  // every logical element exactly once (replicated spaces share the work as sharded ones do).
  std::vector<Piece> pieces_to_save(int rank, int world_size) const;
  // The pieces whose state this rank holds and so must be read on load. Weights are needed by all ranks:
  // after loading owned pieces call round_masters and gather_values.
  std::vector<Piece> owned_pieces() const;
  // The memory of `array` from the piece's first to its last element, padding between rows included: 1-D, on
  // the device, of state_type; the weights of a space that does not train are of its values' type.
  at::Tensor cells(const Piece& piece, StateArray array) const;
  // Copies a piece's elements to or from a contiguous 1-D CPU tensor of state_type.
  at::Tensor read(const Piece& piece, StateArray array) const;
  void write(const Piece& piece, StateArray array, const at::Tensor& elements);

  int64_t num_parameters() const { return common::count_elements(parameters_); }  // logical
  // Bytes on this rank by category.
  struct Memory {
    int64_t values = 0, gradients = 0, masters = 0, moments = 0;
  };
  Memory memory() const;

 private:
  void allocate(Range& range) const;
  bool has_own_masters(const Range& range) const;  // false where they share the memory of `values`

  std::vector<common::Parameter*> parameters_;
  Options options_;
  int rank_, world_size_;
  std::vector<Range> ranges_;
};

}  // namespace sisa::parallel
