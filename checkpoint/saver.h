// Saves a run while it trains.
//
// Training waits for a copy of its state into host memory only. A background thread of each rank writes that
// copy as the rank's file; when all are done the root's thread writes the master, forces all to the disk,
// gives the folder its name and deletes what the retention lets go. Those threads call neither MPI nor NCCL
// nor CUDA; the ranks agree on how far they are in `poll`, which the main threads call between steps.
//
//   Saver saver(store);
//   saver.start(state, space, {.retention = {.keep_last = 3}});
//   … a step … if (auto report = saver.poll()) …
#pragma once

#include <chrono>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/rank_file.h"
#include "checkpoint/retention.h"
#include "checkpoint/store.h"
#include "parallel/parameter_space.h"

namespace sisa::checkpoint {

struct SaveOptions {
  bool moments = true;       // false: weights only, a third of the bytes; cannot resume training
  bool keep = false;         // for ever, whatever later saves let go
  Retention retention = {};  // applied afterwards; the checkpoint just written always stays
};

struct SaveReport {
  int64_t step = 0;
  bool moments = true;
  int64_t bytes = 0;                 // of all files
  double seconds = 0;                // from the start until the folder had its name
  double seconds_blocked = 0;        // of these, training waited; the slowest rank's
  std::vector<std::string> remarks;  // what went wrong without harm: a failed deletion, …
};

class Saver {
 public:
  explicit Saver(const Store& store);  // which must outlive it
  // Waits for the threads; what they were writing is abandoned, and cleared by the next save.
  ~Saver();

  // All members but `running` are collective. If a rank fails (a full disk, a folder that cannot be written
  // to …) all ranks throw the same Error, no trace is left, and the next save may begin. A checkpoint of the
  // same step is replaced.

  // Copies the state and begins to write. No save may be running. Host memory for the copy is kept for the
  // next save. `space` must outlive the save; it may change at once.
  void start(const RunState& state, const parallel::ParameterSpace& space, const SaveOptions& options = {});
  bool running() const { return save_ != nullptr; }
  // The report of a running save once all ranks are done with it; until then nothing.
  std::optional<SaveReport> poll();
  SaveReport finish();  // waits for the running save
  SaveReport save(const RunState& state, const parallel::ParameterSpace& space,
                  const SaveOptions& options = {});  // start and finish

 private:
  using Clock = std::chrono::steady_clock;
  struct Published {
    bool moments = true;
    int64_t bytes = 0;
    double seconds = 0;
    std::vector<std::string> remarks;
  };
  struct Save {
    Contents contents;  // without sources, until they are gathered
    Retention retention;
    std::filesystem::path temporary, target;
    std::vector<std::string> remarks;  // the root's
    Clock::time_point started = Clock::now();
    double seconds_blocked = 0;
    bool publishing = false;                   // all ranks' files are written
    std::future<std::vector<Source>> written;  // this rank's file
    std::future<Published> published;          // the root's
  };
  // Of the root alone.
  void prepare(int64_t bytes);
  Published publish() const;
  // Runs a phase of the save; if it throws, the save is over on all ranks.
  template <typename Phase>
  void or_abandon(const Phase& phase);
  bool everywhere(bool ready) const;  // collective

  const Store& store_;
  Snapshot snapshot_;
  std::unique_ptr<Save> save_;
};

}  // namespace sisa::checkpoint
