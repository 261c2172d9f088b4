#include "parallel/parameter_space.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <map>

#include "parallel/communicator.h"
#include "tests/mpi_world.h"
#include "tests/parallel/sample.h"

namespace sisa::tests {
namespace {

using common::Precision;
using parallel::BlockSlice;
using parallel::FlatRange;
using parallel::ParameterSpace;
using parallel::StateArray;

// The order of ranges decides how checkpoints are divided among files, and in which order norms are summed.
TEST(ParameterSpace, HasARangeForEachBucketAndTraitsInOrderOfFirstUse) {
  Sample sample;
  const ParameterSpace space(sample.pointers(), {}, 0, 1);
  std::vector<std::vector<std::string>> ranges;
  for (const FlatRange& range : space.ranges()) {
    ranges.emplace_back();
    for (const FlatRange::Placement& placement : range.placements) {
      ranges.back().push_back(placement.parameter->name);
      EXPECT_EQ(placement.parameter->bucket, range.bucket);
      EXPECT_EQ(placement.parameter->traits, range.traits);
    }
  }
  using Names = std::vector<std::string>;
  EXPECT_THAT(ranges,
              testing::ElementsAre(Names{"embedding.embedding"}, Names{"layers.0.norm"},
                                   Names{"layers.0.query", "layers.0.convolution"}, Names{"layers.0.lambda"},
                                   Names{"layers.1.up"}, Names{"layers.1.decay_bias"}));
  EXPECT_EQ(space.num_parameters(), 13 * 5 + 5 + 6 + 7 * 5 + 3 * 8 + 10 + 3 + 32 + 30 * 70 + 9);
}

TEST(ParameterSpace, AlignsAndPads) {
  for (const Precision precision : all_precisions)
    for (int world_size = 1; world_size <= 8; ++world_size)
      for (int rank = 0; rank < world_size; ++rank) {
        Sample sample;
        const ParameterSpace space(sample.pointers(), {.precision = precision}, rank, world_size);
        for (const FlatRange& range : space.ranges()) {
          EXPECT_EQ(range.size % (64 * world_size), 0);
          EXPECT_EQ(range.owned_begin, range.size / world_size * rank);
          EXPECT_EQ(range.owned_end, range.size / world_size * (rank + 1));
          EXPECT_EQ(range.masters.numel(), range.size / world_size);
          int64_t end = 0;
          for (const auto& [parameter, offset] : range.placements) {
            EXPECT_GE(offset, end) << parameter->name << " overlaps the one before";
            end = offset + parameter->numel();
            EXPECT_EQ(offset * range.values.element_size() % 256, 0);
            EXPECT_EQ(offset * range.gradients.element_size() % 256, 0);
            EXPECT_EQ(parameter->value.scalar_type(), value_type(precision, parameter->traits));
            EXPECT_EQ(parameter->gradient.scalar_type(), state_type(precision, parameter->traits));
            EXPECT_TRUE(parameter->value.is_leaf() && parameter->value.requires_grad());
            EXPECT_FALSE(parameter->gradient.requires_grad());
            EXPECT_EQ(parameter->value.sizes(), parameter->gradient.sizes());
            EXPECT_EQ(parameter->value.dim(), parameter->columns > 1 ? 2 : 1);
          }
          EXPECT_LE(end, range.size);
        }
      }
}

TEST(ParameterSpace, BindsViewsOfItsRanges) {
  Sample sample;
  ParameterSpace space(sample.pointers(), {}, 0, 1);
  for (FlatRange& range : space.ranges()) {
    range.values.copy_(at::arange(range.size));
    range.gradients.copy_(at::arange(range.size));
    for (const auto& [parameter, offset] : range.placements) {
      const at::Tensor expected = at::arange(offset, offset + parameter->numel(), at::kFloat);
      EXPECT_TRUE(at::equal(parameter->value.detach().reshape(-1), expected));
      EXPECT_TRUE(at::equal(parameter->gradient.reshape(-1), expected));
    }
  }
  space.zero_gradients();
  for (const FlatRange& range : space.ranges()) EXPECT_EQ(range.gradients.count_nonzero().item<int64_t>(), 0);
}

TEST(ParameterSpace, HoldsMastersWhereTypesDiffer) {
  for (const Precision precision : all_precisions) {
    Sample sample;
    const ParameterSpace space(sample.pointers(), {.precision = precision}, 1, 2);
    int64_t values = 0, gradients = 0, masters = 0, moments = 0;
    for (const FlatRange& range : space.ranges()) {
      const bool own = precision == Precision::bf16 && range.traits.kind == common::ParameterKind::matrix;
      EXPECT_EQ(range.masters.is_alias_of(range.values), !own);
      values += range.size * range.values.element_size();
      gradients += range.size * range.gradients.element_size();
      masters += own ? range.size / 2 * 4 : 0;
      moments += range.size * range.moment1.element_size();
    }
    const auto memory = space.memory();
    EXPECT_EQ(memory.values, values);
    EXPECT_EQ(memory.gradients, gradients);
    EXPECT_EQ(memory.masters, masters);
    EXPECT_EQ(memory.moments, moments);
  }
}

TEST(ParameterSpace, HoldsOnlyValuesOutsideTraining) {
  Sample sample;
  const ParameterSpace space(sample.pointers(), {.training = false}, 1, 2);
  for (const FlatRange& range : space.ranges()) {
    EXPECT_FALSE(range.gradients.defined() || range.masters.defined() || range.moment1.defined());
    EXPECT_EQ(range.owned_end - range.owned_begin, range.size);
  }
  EXPECT_FALSE(sample.pointers()[0]->gradient.defined());
  EXPECT_FALSE(sample.pointers()[0]->value.requires_grad());
  EXPECT_EQ(space.memory().gradients + space.memory().masters + space.memory().moments, 0);
}

TEST(ParameterSpace, DrawsTheSameWeightsEverywhere) {
  for (const Precision precision : all_precisions) {
    Sample plain(false);
    ParameterSpace reference(plain.pointers(), {.precision = precision}, 0, 1);
    reference.initialise(7);
    for (const auto& [rank, world_size] : std::vector<std::pair<int, int>>{{0, 2}, {4, 5}, {2, 8}}) {
      Sample padded;
      ParameterSpace space(padded.pointers(), {.precision = precision}, rank, world_size);
      space.initialise(7);
      EXPECT_TRUE(padding_is_zero(space));
      for (size_t i = 0; i < plain.pointers().size(); ++i) {
        const common::Parameter &a = *plain.pointers()[i], &b = *padded.pointers()[i];
        for (size_t j = 0; j < a.blocks.size(); ++j)
          EXPECT_TRUE(at::equal(elements(a, a.value, a.blocks[j]), elements(b, b.value, b.blocks[j])));
      }
      for (const FlatRange& range : space.ranges())
        EXPECT_TRUE(at::equal(range.owned(range.values), range.masters.to(range.values.scalar_type())));
    }
    Sample other;
    ParameterSpace space(other.pointers(), {.precision = precision}, 0, 1);
    space.initialise(8);
    EXPECT_FALSE(at::equal(
        elements(*plain.pointers()[0], plain.pointers()[0]->value, plain.pointers()[0]->blocks[0]),
        elements(*other.pointers()[0], other.pointers()[0]->value, other.pointers()[0]->blocks[0])));
  }
}

TEST(Pieces, CoverEveryElementOnce) {
  for (const bool sharded : {true, false})
    for (const bool padded : {true, false})
      for (int world_size = 1; world_size <= 8; ++world_size) {
        Sample sample(padded);
        std::map<std::string, std::vector<int>> seen;
        for (const common::Parameter* p : sample.pointers())
          for (const common::Block& b : p->blocks) seen[b.name].resize(static_cast<size_t>(b.numel()));
        for (int rank = 0; rank < world_size; ++rank) {
          const ParameterSpace space(sample.pointers(), {.sharded = sharded}, rank, world_size);
          for (const BlockSlice& piece : space.pieces_to_save(rank, world_size))
            for (int64_t i = piece.begin; i < piece.end; ++i)
              ++seen.at(piece.block->name).at(static_cast<size_t>(i));
          int64_t owned = 0;
          for (const BlockSlice& piece : space.owned_pieces()) owned += piece.end - piece.begin;
          if (!sharded) {
            EXPECT_EQ(owned, space.num_parameters());
          }
        }
        for (const auto& [name, counts] : seen)
          EXPECT_THAT(counts, testing::Each(1)) << name << " with " << world_size << " ranks";
      }
}

// Writes numbers to all pieces of a space and reads them again, whole and in parts.
void check_round_trip(ParameterSpace& space, StateArray array) {
  const auto number = [](const BlockSlice& piece) {
    return at::arange(piece.begin + 1, piece.end + 1, at::kDouble)
        .remainder(251)
        .to(state_type(Precision::fp32, piece.range->traits));
  };
  for (const BlockSlice& piece : space.owned_pieces()) space.write(piece, array, number(piece));
  for (const BlockSlice& piece : space.owned_pieces()) {
    const at::Tensor read = space.read(piece, array);
    EXPECT_TRUE(read.is_contiguous() && read.dim() == 1 && read.is_cpu());
    EXPECT_EQ(read.scalar_type(), state_type(space.options().precision, piece.range->traits));
    EXPECT_TRUE(at::equal(read.to(at::kFloat), number(piece))) << piece.block->name;
    const int64_t size = piece.end - piece.begin;
    for (const auto& [skip, drop] :
         std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {1, 0}, {size / 3, size / 4}}) {
      if (skip + drop >= size) continue;
      BlockSlice part = piece;
      part.begin += skip;
      part.end -= drop;
      EXPECT_TRUE(at::equal(space.read(part, array).to(at::kFloat), number(part))) << piece.block->name;
    }
  }
}

TEST(Pieces, AreReadAsWritten) {
  for (const Precision precision : all_precisions)
    for (const bool sharded : {true, false}) {
      Sample sample;
      ParameterSpace space(sample.pointers(), {.precision = precision, .sharded = sharded}, 1, 3);
      for (const auto array : {StateArray::weights, StateArray::moment1, StateArray::moment2})
        check_round_trip(space, array);
      space.round_masters();
      EXPECT_TRUE(padding_is_zero(space));
    }
  Sample sample;
  ParameterSpace values_only(sample.pointers(), {.precision = Precision::bf16, .training = false}, 1, 3);
  check_round_trip(values_only, StateArray::weights);
  EXPECT_TRUE(padding_is_zero(values_only));
}

// What one set of ranks saves, another loads: the values come out the same.
TEST(Pieces, CarryWeightsToAnotherNumberOfRanks) {
  for (const Precision precision : all_precisions) {
    Sample plain(false), padded;
    std::map<std::string, at::Tensor> file;
    for (const common::Parameter* p : plain.pointers())
      for (const common::Block& b : p->blocks) file[b.name] = at::zeros({b.numel()}, at::kDouble);
    for (int rank = 0; rank < 5; ++rank) {
      ParameterSpace saved(plain.pointers(), {.precision = precision}, rank, 5);
      saved.initialise(3);
      for (const BlockSlice& piece : saved.pieces_to_save(rank, 5))
        file[piece.block->name]
            .narrow(0, piece.begin, piece.end - piece.begin)
            .copy_(saved.read(piece, StateArray::weights));
    }
    const auto communicator = parallel::make_communicator(world(), at::kCPU);
    ParameterSpace loaded(padded.pointers(), {.precision = precision}, world().rank(), world().size());
    for (const BlockSlice& piece : loaded.owned_pieces())
      loaded.write(piece, StateArray::weights,
                   file[piece.block->name].narrow(0, piece.begin, piece.end - piece.begin));
    loaded.round_masters();
    loaded.gather_values(*communicator);
    Sample fresh;
    ParameterSpace expected(fresh.pointers(), {.precision = precision}, 0, 1);
    expected.initialise(3);
    for (size_t i = 0; i < fresh.pointers().size(); ++i)
      EXPECT_TRUE(at::equal(fresh.pointers()[i]->value, padded.pointers()[i]->value));
  }
}

TEST(ParameterSpace, SumsGradientsOverRanks) {
  const auto communicator = parallel::make_communicator(world(), at::kCPU);
  for (const Precision precision : all_precisions)
    for (const bool sharded : {true, false}) {
      Sample sample;
      ParameterSpace space(sample.pointers(), {.precision = precision, .sharded = sharded}, world().rank(),
                           world().size());
      set_gradients(space, world().rank(), 1);
      space.reduce_gradients(*communicator);
      if (sharded)
        for (const FlatRange& range : space.ranges())
          communicator->all_gather(range.owned(range.gradients), range.gradients);
      for (const common::Parameter* p : sample.pointers())
        for (const common::Block& block : p->blocks) {
          at::Tensor sum = at::zeros({block.numel()}, at::kDouble);
          for (int r = 0; r < world().size(); ++r) sum += gradient_of(block, r, 1).view(-1);
          EXPECT_TRUE(at::equal(elements(*p, p->gradient, block).to(at::kDouble), sum)) << block.name;
        }
    }
}

}  // namespace
}  // namespace sisa::tests
