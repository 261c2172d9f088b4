#include "parallel/parameter_space.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace sisa::parallel {
namespace {

constexpr int64_t alignment_bytes = 256;
// A rank's slice is padded to a multiple of this many elements. These are 128 bytes even in bf16, so that
// owned slices suit vector loads and NCCL's protocols.
constexpr int64_t slice_alignment = 64;

int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// The position of a block's first element within its range.
int64_t block_begin(const FlatRange::Placement& placement, const common::Block& block) {
  return placement.offset + block.row * placement.parameter->columns;
}

// Appends the runs of logical elements that lie at the physical positions [begin, end) of a range. There is
// at most one run per block, since a block's elements are stored in row-major order too.
void append_pieces(const FlatRange& range, int64_t begin, int64_t end, std::vector<BlockSlice>& pieces) {
  for (const FlatRange::Placement& placement : range.placements) {
    const int64_t stride = placement.parameter->columns;
    for (const common::Block& block : placement.parameter->blocks) {
      const auto elements_before = [&](int64_t position) {
        const int64_t cells =
            std::clamp<int64_t>(position - block_begin(placement, block), 0, block.rows() * stride);
        return cells / stride * block.columns() + std::min(cells % stride, block.columns());
      };
      const int64_t first = elements_before(begin), last = elements_before(end);
      if (first < last) pieces.push_back({&range, &placement, &block, first, last});
    }
  }
}

// Where a piece lies in memory. It touches `rows` rows of its parameter, and its first element is in the
// first of them, at `column`. From there to its last element there are `span` cells, which include the
// padding between rows.
struct Extent {
  explicit Extent(const BlockSlice& piece)
      : stride(piece.placement->parameter->columns), columns(piece.block->columns()) {
    const int64_t first_row = piece.begin / columns, last_row = (piece.end - 1) / columns;
    rows = last_row - first_row + 1;
    column = piece.begin % columns;
    span = (rows - 1) * stride + (piece.end - 1) % columns - column + 1;
    position = block_begin(*piece.placement, *piece.block) + first_row * stride + column;
  }
  int64_t stride, columns;  // the physical and the logical length of a row
  int64_t rows, column, span;
  int64_t position;  // of the first element within the range
};

}  // namespace

ParameterSpace::ParameterSpace(std::vector<common::Parameter*> parameters, const Options& options, int rank,
                               int world_size)
    : parameters_(std::move(parameters)), options_(options), rank_(rank), world_size_(world_size) {
  if (!options_.training) options_.sharded = false;
  for (common::Parameter* parameter : parameters_) {
    for (const common::Block& block : parameter->blocks)
      TORCH_INTERNAL_ASSERT(
          block.row + block.rows() <= parameter->rows && block.columns() <= parameter->columns, block.name,
          " does not fit into ", parameter->name);
    const common::ParameterTraits& traits = parameter->traits;
    auto range = std::find_if(ranges_.begin(), ranges_.end(), [&](const FlatRange& r) {
      return r.bucket == parameter->bucket && r.traits == traits;
    });
    if (range == ranges_.end()) {
      range = ranges_.emplace(ranges_.end());
      range->bucket = parameter->bucket;
      range->traits = traits;
    }
    const auto smaller_element =
        static_cast<int64_t>(std::min(c10::elementSize(value_type(options_.precision, traits)),
                                      c10::elementSize(state_type(options_.precision, traits))));
    const int64_t offset = round_up(range->size, alignment_bytes / smaller_element);
    range->placements.push_back({parameter, offset});
    range->size = offset + parameter->numel();
  }
  for (FlatRange& range : ranges_) allocate(range);
}

void ParameterSpace::allocate(FlatRange& range) const {
  const auto value_options = at::device(options_.device).dtype(value_type(options_.precision, range.traits));
  const auto state_options = at::device(options_.device).dtype(state_type(options_.precision, range.traits));
  range.size = round_up(range.size, world_size_ * slice_alignment);
  range.owned_begin = options_.sharded ? range.size / world_size_ * rank_ : 0;
  range.owned_end = options_.sharded ? range.size / world_size_ * (rank_ + 1) : range.size;

  range.values = at::zeros({range.size}, value_options);
  if (options_.training) {
    const int64_t owned_size = range.owned_end - range.owned_begin;
    range.gradients = at::zeros({range.size}, state_options);
    range.masters = value_options.dtype() == state_options.dtype() ? range.owned(range.values)
                                                                   : at::zeros({owned_size}, state_options);
    range.moment1 = at::zeros({owned_size}, state_options);
    range.moment2 = at::zeros({owned_size}, state_options);
  }
  for (const auto& [parameter, offset] : range.placements) {
    std::vector<int64_t> shape{parameter->rows};
    if (parameter->columns > 1) shape.push_back(parameter->columns);
    const auto view = [&, position = offset, size = parameter->numel()](const at::Tensor& flat) {
      return flat.narrow(0, position, size).view(shape);
    };
    parameter->value = view(range.values).detach().set_requires_grad(options_.training);
    parameter->gradient = options_.training ? view(range.gradients) : at::Tensor();
  }
}

void ParameterSpace::initialise(uint64_t seed) {
  for (FlatRange& range : ranges_) {
    const at::Tensor drawn = at::zeros({range.size}, at::kDouble);
    for (const FlatRange::Placement& placement : range.placements)
      for (const common::Block& block : placement.parameter->blocks) {
        const int64_t columns = block.columns(), stride = placement.parameter->columns;
        double* const begin = drawn.data_ptr<double>() + block_begin(placement, block);
        const int64_t rows_per_thread = std::max<int64_t>(1, 4096 / columns);
        at::parallel_for(0, block.rows(), rows_per_thread, [&](int64_t first, int64_t last) {
          for (int64_t row = first; row < last; ++row)
            common::initial_values(block, seed, row * columns, (row + 1) * columns, begin + row * stride);
        });
      }
    // The values are rounded from the masters' type, as they are after an update.
    const at::Tensor state = drawn.to(state_type(options_.precision, range.traits));
    range.values.copy_(state);
    if (has_own_masters(range)) range.masters.copy_(range.owned(state));
  }
}

void ParameterSpace::zero_gradients() {
  for (FlatRange& range : ranges_) range.gradients.zero_();
}

void ParameterSpace::reduce_gradients(Communicator& communicator) {
  communicator.group_begin();
  for (const FlatRange& range : ranges_) {
    if (options_.sharded)
      communicator.reduce_scatter(range.gradients, range.owned(range.gradients));
    else
      communicator.all_reduce(range.gradients);
  }
  communicator.group_end();
}

void ParameterSpace::gather_values(Communicator& communicator) {
  if (!options_.sharded) return;
  communicator.group_begin();
  for (const FlatRange& range : ranges_) communicator.all_gather(range.owned(range.values), range.values);
  communicator.group_end();
}

void ParameterSpace::round_masters() {
  for (const FlatRange& range : ranges_)
    if (has_own_masters(range)) range.owned(range.values).copy_(range.masters);
}

bool ParameterSpace::has_own_masters(const FlatRange& range) const {
  return range.masters.defined() && !range.masters.is_alias_of(range.values);
}

std::vector<BlockSlice> ParameterSpace::pieces_to_save(int rank, int world_size) const {
  std::vector<BlockSlice> pieces;
  for (const FlatRange& range : ranges_)
    append_pieces(range, range.size * rank / world_size, range.size * (rank + 1) / world_size, pieces);
  return pieces;
}

std::vector<BlockSlice> ParameterSpace::owned_pieces() const {
  std::vector<BlockSlice> pieces;
  for (const FlatRange& range : ranges_) append_pieces(range, range.owned_begin, range.owned_end, pieces);
  return pieces;
}

at::Tensor ParameterSpace::cells(const BlockSlice& piece, StateArray array) const {
  const FlatRange& range = *piece.range;
  const at::Tensor& state = array == StateArray::moment1   ? range.moment1
                            : array == StateArray::moment2 ? range.moment2
                            : options_.training            ? range.masters
                                                           : range.values;
  TORCH_INTERNAL_ASSERT(state.defined(), "moments exist only in training");
  const Extent extent(piece);
  TORCH_INTERNAL_ASSERT(piece.begin < piece.end && extent.position >= range.owned_begin &&
                            extent.position + extent.span <= range.owned_end,
                        "rank ", rank_, " does not own elements ", piece.begin, " to ", piece.end, " of ",
                        piece.block->name);
  return state.narrow(0, extent.position - range.owned_begin, extent.span);
}

size_t cell_count(const BlockSlice& piece) {
  return static_cast<size_t>(Extent(piece).span);
}

void copy_without_padding(const BlockSlice& piece, size_t element_size, std::span<const std::byte> cells,
                          std::span<std::byte> elements) {
  const Extent extent(piece);
  TORCH_INTERNAL_ASSERT(cells.size() == static_cast<size_t>(extent.span) * element_size &&
                        elements.size() == static_cast<size_t>(piece.end - piece.begin) * element_size);
  const auto bytes = [&](int64_t count) { return static_cast<size_t>(count) * element_size; };
  int64_t columns = std::min(extent.columns - extent.column, piece.end - piece.begin);  // of the first row
  while (!elements.empty()) {
    std::memcpy(elements.data(), cells.data(), bytes(columns));
    elements = elements.subspan(bytes(columns));
    if (elements.empty()) break;
    cells = cells.subspan(bytes(columns + extent.stride - extent.columns));
    columns = std::min(extent.columns, static_cast<int64_t>(elements.size() / element_size));
  }
}

at::Tensor ParameterSpace::read(const BlockSlice& piece, StateArray array) const {
  const at::Tensor on_host =
      cells(piece, array).to(at::kCPU, state_type(options_.precision, piece.range->traits));
  const at::Tensor elements = at::empty({piece.end - piece.begin}, on_host.scalar_type());
  copy_without_padding(piece, on_host.element_size(),
                       {static_cast<const std::byte*>(on_host.const_data_ptr()), on_host.nbytes()},
                       {static_cast<std::byte*>(elements.data_ptr()), elements.nbytes()});
  return elements;
}

void ParameterSpace::write(const BlockSlice& piece, StateArray array, const at::Tensor& elements) {
  TORCH_INTERNAL_ASSERT(elements.numel() == piece.end - piece.begin);
  const Extent extent(piece);
  const auto type = state_type(options_.precision, piece.range->traits);
  const at::Tensor logical = at::empty({extent.rows * extent.columns}, type);
  logical.narrow(0, extent.column, elements.numel()).copy_(elements);
  const at::Tensor rows = at::zeros({extent.rows, extent.stride}, type);
  rows.narrow(1, 0, extent.columns).copy_(logical.view({extent.rows, extent.columns}));
  cells(piece, array).copy_(rows.view(-1).narrow(0, extent.column, extent.span));
}

ParameterSpace::Memory ParameterSpace::memory() const {
  const auto bytes = [](const at::Tensor& tensor) {
    return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
  };
  Memory memory;
  for (const FlatRange& range : ranges_) {
    memory.values += bytes(range.values);
    memory.gradients += bytes(range.gradients);
    memory.masters += has_own_masters(range) ? bytes(range.masters) : 0;
    memory.moments += bytes(range.moment1) + bytes(range.moment2);
  }
  return memory;
}

}  // namespace sisa::parallel
