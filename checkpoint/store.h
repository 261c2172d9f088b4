// The checkpoints of a run.
//
// They are in one folder (docs/checkpoint-format.md):
//
//   latest                       text: the name of the newest checkpoint, for people and scripts
//   step-500/master.h5           state, recipe, index, and every array as a virtual dataset
//   step-500/rank-00000.h5 …     what each rank wrote
//
// A save (checkpoint/saver.h) writes to a temporary folder, forces every file to the disk, the master file
// last, and renames the folder in one step. A folder with the name step-N was therefore complete at that
// time, and a save that fails or is killed leaves earlier checkpoints unchanged. The newest checkpoint is
// found from the folders themselves; the program never reads `latest`.
//
//   Store store(output / "checkpoints", world);
//   if (auto entry = store.latest_sound().sound) state = store.load(*entry, space, communicator);
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
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
  bool moments = true;  // false: read only the weights, to start another run from them
};

// A folder with the name step-N, complete or not.
struct Entry {
  int64_t step = 0;
  std::filesystem::path path = {};
  // Why the checkpoint is not complete. Empty if the master file is undamaged and all files have their full
  // length.
  std::string problem = {};
  // The problem is that the checkpoint could not be read: no permission, an input/output error, a format of a
  // newer program. It may be sound, so nothing may delete it.
  bool unreadable = false;
  int64_t sequence =
      0;  // the number of the save; of two complete checkpoints the later one has the higher number
  double written = 0;  // time in seconds since 1970, UTC
  int64_t bytes = 0;
  bool has_moments = false;
  bool kept = false;  // for ever: no retention rule deletes it
  int64_t tokens = 0;
  std::optional<double> held_out_loss = {};
  bool complete() const { return problem.empty(); }
};

// What reading a whole checkpoint finds, a sentence for each fault.
struct Verdict {
  std::vector<std::string> damage;      // content that is not what was written
  std::vector<std::string> unreadable;  // what could not be read, so that nothing is known about it
  // A run that trains here deleted or replaced the checkpoint meanwhile: the findings mean nothing.
  bool gone = false;
  bool sound() const { return damage.empty() && unreadable.empty() && !gone; }
  // "is damaged: …" or "cannot be read: …", the first fault and how many others there are; only if there is one.
  std::string summary() const;
};

// The search for a checkpoint to go on from.
struct Search {
  // The newest checkpoint with moments in which verify() finds no fault.
  std::optional<Entry> sound = {};
  // Those passed over, a sentence such as "step-500 is damaged: …" for each, the newest first: all that are
  // newer than `sound` or, without one, all.
  std::vector<std::string> damaged = {}, unreadable = {};
};

class Store {
 public:
  // `folder` need not exist before the first save. `world` must outlive the store.
  Store(std::filesystem::path folder, const parallel::World& world, Disk disk = {});

  // The following members are not collective and show the folder as it is now.

  // All checkpoints, the incomplete ones first and then the oldest first; none if there is no folder. Throws
  // SystemError if the folder cannot be read: a run that took this for "none" would start from the beginning.
  std::vector<Entry> list() const;
  std::optional<Entry> latest() const;  // the newest complete checkpoint
  Entry find(int64_t step) const;       // throws Error naming the steps of the checkpoints that exist
  // A description for people: the state, the arrays with their shapes, and the recipe.
  std::string inspect(const Entry& entry) const;

  // Collective. Reads a checkpoint into `space`, at any number of ranks, sharded or replicated, in any
  // precision, and gathers the values. They have the bits that were saved if the number types are the same,
  // and are rounded otherwise. A space that is not for training takes only the weights. The checksum of every
  // dataset that is read is checked. Throws Error naming a damaged dataset, and also for a checkpoint of
  // another model, without the moments that `space` needs, or that was deleted meanwhile; the content of
  // `space` is then unspecified.
  RunState load(const Entry& entry, parallel::ParameterSpace& space, parallel::Communicator& communicator,
                const LoadOptions& options = {}) const;

  // Collective; the ranks share the work. Reads the whole checkpoint and checks every dataset's checksum, the
  // HDF5 metadata of the ranks' files, and the mappings of the master file. The verdict is the same on all
  // ranks; its sentences name the array.
  Verdict verify(const Entry& entry) const;

  // Collective. Begins again if a checkpoint is deleted or replaced while it is read, as a run that trains in
  // the folder does.
  Search latest_sound() const;

  const std::filesystem::path& folder() const { return folder_; }
  const parallel::World& world() const { return world_; }
  const Disk& disk() const { return disk_; }

 private:
  Entry describe(const std::filesystem::path& path, int64_t step) const;
  std::optional<Search> search() const;  // nothing if a checkpoint was deleted or replaced while it was read

  // What master files say, by their paths. One that has not changed since is not read again at each save.
  class Masters;
  std::filesystem::path folder_;
  const parallel::World& world_;
  Disk disk_;
  std::shared_ptr<Masters> masters_;
};

}  // namespace sisa::checkpoint
