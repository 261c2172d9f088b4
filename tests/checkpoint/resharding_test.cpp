// Checkpoints that N ranks save and M ranks load, in one process that acts as all ranks one after another.
#include <ATen/detail/CUDAHooksInterface.h>  // deviceCount, also in builds without CUDA
#include <gtest/gtest.h>

#include "checkpoint/master_file.h"
#include "checkpoint/rank_file.h"
#include "common/precision_names.h"
#include "tests/checkpoint/run_folder.h"

namespace sisa::tests {
namespace {

namespace fs = std::filesystem;
using common::Precision;

class Resharding : public RunFolder {
 protected:
  // Writes a checkpoint as `world_size` ranks would.
  void write_as(int world_size, const ToyModel::Options& options) {
    fs::create_directories(folder);
    checkpoint::Contents contents;
    contents.state = state(1);
    contents.world_size = world_size;
    contents.precision = common::precision_name(options.precision);
    contents.arrays = checkpoint::arrays_of(ToyModel(options, 0, 1).space);
    for (int rank = 0; rank < world_size; ++rank) {
      ToyModel model(options, rank, world_size);
      model.fill();
      checkpoint::Snapshot snapshot;
      snapshot.take(model.space, checkpoint::slices_to_save(model.space, rank, world_size, options.training));
      for (auto& source : checkpoint::write_rank_file(folder, rank, snapshot, disk))
        contents.sources.push_back(source);
    }
    checkpoint::write_master(folder, contents, disk);
  }

  void expect_readable_by(int world_size, const ToyModel::Options& options, Precision saved_as) {
    const checkpoint::Contents contents = checkpoint::read_master(folder);
    const checkpoint::Reader reader(folder, contents);
    for (int rank = 0; rank < world_size; ++rank) {
      ToyModel model(options, rank, world_size);
      checkpoint::check_same_model(contents, model.space, folder.string());
      checkpoint::read_into(reader, model.space, options.training);
      model.expect_filled(saved_as);
    }
  }

  checkpoint::Disk disk{.sync = [](int) { return 0; }};  // a hundred files: speed over durability
};

// The layouts alternate between padded and unpadded and between sharded and replicated, so that every pair
// occurs.
TEST_F(Resharding, EveryPairOfOneToEightRanks) {
  if (!world().is_root()) return;
  for (int from = 1; from <= 8; ++from) {
    write_as(from, {.sharded = from % 3 != 0, .pad_to = from % 2 ? 8 : 1});
    for (int to = 1; to <= 8; ++to) {
      SCOPED_TRACE(testing::Message() << from << " to " << to << " ranks");
      expect_readable_by(to, {.sharded = to % 4 != 0, .pad_to = to > 4 ? 1 : 16}, Precision::fp32);
    }
    fs::remove_all(folder);
  }
}

TEST_F(Resharding, EveryPairOfPrecisions) {
  if (!world().is_root()) return;
  for (const auto from : {Precision::fp32, Precision::fp64, Precision::bf16, Precision::bf16_pure}) {
    write_as(2, {.precision = from});
    for (const auto to : {Precision::fp32, Precision::fp64, Precision::bf16, Precision::bf16_pure})
      expect_readable_by(3, {.precision = to}, from);
    fs::remove_all(folder);
  }
}

TEST_F(Resharding, BetweenAGpuAndTheCpu) {
  if (at::detail::getCUDAHooks().deviceCount() == 0) GTEST_SKIP() << "no GPU";
  if (!world().is_root()) return;
  const at::Device gpu(at::kCUDA, 0);
  for (const auto precision : {Precision::bf16, Precision::fp32}) {
    write_as(2, {.precision = precision, .device = gpu});
    expect_readable_by(3, {.precision = precision}, precision);
    fs::remove_all(folder);
    write_as(3, {.precision = precision});
    expect_readable_by(2, {.precision = precision, .device = gpu}, precision);
    fs::remove_all(folder);
  }
}

TEST_F(Resharding, WeightsAloneFromAndIntoASpaceThatDoesNotTrain) {
  if (!world().is_root()) return;
  write_as(3, {.training = false});
  EXPECT_FALSE(checkpoint::read_master(folder).has_moments());
  expect_readable_by(2, {.training = false}, Precision::fp32);
  fs::remove_all(folder);
  write_as(3, {.precision = Precision::bf16});
  expect_readable_by(1, {.training = false}, Precision::bf16);
}

TEST_F(Resharding, ThousandsOfArraysFitTheFilesHeaders) {
  if (!world().is_root()) return;
  write_as(2, {.extra_layers = 1500});
  expect_readable_by(1, {.extra_layers = 1500}, Precision::fp32);
}

TEST_F(Resharding, RanksWithNothingToHoldAreFine) {
  if (!world().is_root()) return;
  write_as(40, {});
  expect_readable_by(2, {}, Precision::fp32);
}

}  // namespace
}  // namespace sisa::tests
