// The checkpoints of a run.
//
// They stand in one folder (docs/checkpoint-format.md):
//
//   latest                       text: the name of the newest one, for people and scripts
//   step-500/master.h5           state, recipe, index; every array whole, as virtual datasets
//   step-500/rank-00000.h5 …     what each rank wrote
//
// A save (checkpoint/saver.h) writes into a temporary folder, forces every file to the disk, the master last,
// and gives the folder its name in one step: whatever is called step-N was complete once, and a save that
// fails or is killed leaves the earlier checkpoints as they were. What counts as newest is read from the
// folders and never from `latest`.
//
//   Store store(output / "checkpoints", world);
//   if (auto entry = store.latest_sound(&skipped)) state = store.load(*entry, space, communicator);
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/contents.h"
#include "checkpoint/disk.h"
#include "parallel/communicator.h"
#include "parallel/parameter_space.h"
#include "parallel/world.h"

namespace sisa::checkpoint {

struct LoadOptions {
  bool moments = true;  // false: weights only, to start another run from them
};

// A folder step-N, complete or not.
struct Entry {
  int64_t step = 0;
  std::filesystem::path path = {};
  std::string problem =
      {};                // why it is not complete; empty: the master is sound and all files have their length
  int64_t sequence = 0;  // of two complete ones the higher was written later
  double written = 0;    // seconds since 1970, UTC
  int64_t bytes = 0;
  bool has_moments = false;
  bool kept = false;  // for ever
  int64_t tokens = 0;
  std::optional<double> held_out_loss = {};
  bool complete() const { return problem.empty(); }
};

class Store {
 public:
  // `folder` need not exist before the first save. `world` must outlive the store.
  Store(std::filesystem::path folder, const parallel::World& world, Disk disk = {});

  // Not collective; they look at the folder as it is now.
  // The oldest first, incomplete ones before all others; none where there is no folder. Throws SystemError
  // if it cannot be read: a run that took that for "none" would start anew.
  std::vector<Entry> list() const;
  std::optional<Entry> latest() const;  // the newest complete one
  Entry find(int64_t step) const;       // throws Error naming the steps that there are
  // For people: state, arrays with shapes, recipe.
  std::string inspect(const Entry& entry) const;

  // Collective. Fills `space`, at any number of ranks, sharded or replicated, in any precision, and gathers
  // its values. Bit for bit what was saved where number types agree, else rounded. A space that is not for
  // training takes the weights alone. Every dataset that is read has its checksum checked: throws Error
  // naming a damaged one, and also for a checkpoint of another model or without the moments that `space`
  // needs; `space` is then unspecified.
  RunState load(const Entry& entry, parallel::ParameterSpace& space, parallel::Communicator& communicator,
                const LoadOptions& options = {}) const;

  // Collective; the ranks share the work. Reads everything: the checksum of every dataset, the ranks' files'
  // own headers, the master's mappings. What is wrong, a sentence each, naming the array; equal on all ranks;
  // empty: sound.
  std::vector<std::string> verify(const Entry& entry) const;

  // Collective. The newest checkpoint with moments that verify() finds sound. `skipped` takes a sentence for
  // each later one that is not.
  std::optional<Entry> latest_sound(std::vector<std::string>* skipped = nullptr) const;

  const std::filesystem::path& folder() const { return folder_; }
  const parallel::World& world() const { return world_; }
  const Disk& disk() const { return disk_; }

 private:
  std::filesystem::path folder_;
  const parallel::World& world_;
  Disk disk_;
};

}  // namespace sisa::checkpoint
