// Saves a run while it trains.
//
// Training waits only while its state is copied to host memory. Background threads do all that touches the
// disk, since a disk may be slow, or a file server may not answer at all: one of the root prepares the folder,
// then one of each rank writes the rank's copy to its file, and at last one of the root writes the master
// file, forces everything to the disk, gives the folder its name and deletes the checkpoints that the
// retention rules do not keep. These threads call neither MPI nor NCCL nor CUDA. The ranks agree on the
// progress of a save in poll(), which their main threads call between steps.
//
//   Saver saver(store);
//   saver.start(state, space, {.retention = {.keep_last = 3}});
//   … a step … if (auto report = saver.poll()) …
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
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
  bool moments = true;       // false: only weights, a third of the bytes, from which no training can resume
  bool keep = false;         // keep the checkpoint for ever, whatever the rules of later saves are
  Retention retention = {};  // applied after the save; the checkpoint just written is always kept
};

struct SaveReport {
  int64_t step = 0;
  bool amends = false;  // add_held_out_loss: the members below but `remarks` have no meaning
  bool moments = true;
  int64_t bytes = 0;                 // of all files together
  double seconds = 0;                // from the start until the folder got its name
  double seconds_blocked = 0;        // how long training waited for the save on the slowest rank
  std::vector<std::string> remarks;  // harmless failures, such as that of a deletion
};

class Saver {
 public:
  explicit Saver(const Store& store);  // the store must outlive the saver
  // Waits for the background threads, for ever if the disk does not answer. A save that is not finished is
  // abandoned; the next save removes its files.
  ~Saver();

  // All members but the getters are collective. If a rank fails (a full disk, a folder without write permission
  // …), all ranks throw the same Error, nothing of the checkpoint is left, and the next save may begin. A
  // checkpoint of the same step is replaced.

  // Copies the state and starts to write it. No save may be running. The host memory of the copy is kept for
  // the next save. `space` must outlive the save, but may change as soon as this returns.
  void start(const RunState& state, const parallel::ParameterSpace& space, const SaveOptions& options = {});
  bool running() const { return save_ != nullptr; }
  int64_t step() const;  // that the running save is of
  // The report of the running save if all ranks are done with it, otherwise nothing.
  std::optional<SaveReport> poll();
  // As poll() found it: for how many seconds the rank that waits the longest for its disk has waited for the
  // call that it is in. A call writes at most 16 MiB, so that a disk that is merely slow answers often; only
  // forcing a whole file to the disk may take long. The same on all ranks; 0 if no save is running.
  double seconds_stalled() const { return seconds_stalled_; }
  // Waits for the running save. The ranks meet in poll() all the time, so that none waits for another long;
  // `while_waiting`, which may be collective, is called between two polls.
  SaveReport finish(const std::function<void()>& while_waiting = [] {});
  SaveReport save(const RunState& state, const parallel::ParameterSpace& space,
                  const SaveOptions& options = {});  // start and finish

  // Adds the held-out loss of a step to its checkpoint and applies `retention` anew. This is a save of its
  // own, whose turn comes in poll(), but it writes no more than a new master file. If it fails, as it does if
  // there is no such checkpoint, it leaves the checkpoint as it was, and the report has a remark.
  void add_held_out_loss(int64_t step, double nats_per_token, const Retention& retention);

 private:
  using Clock = std::chrono::steady_clock;
  enum class Phase { preparing, writing, publishing };
  struct Published {
    bool moments = true;
    int64_t bytes = 0;
    double seconds = 0;
    std::vector<std::string> remarks;
  };
  struct Save {
    Contents contents;  // without sources until they are gathered
    Retention retention;
    std::filesystem::path temporary, target;
    std::vector<std::string> remarks;  // of the root
    bool amends = false;               // adds a loss to a checkpoint and writes no other
    Clock::time_point started = Clock::now();
    double seconds_blocked = 0;
    Phase phase = Phase::preparing;
    std::future<void> prepared;                     // on the root
    std::future<std::vector<StoredSlice>> written;  // the file of this rank
    std::future<Published> published;               // on the root
    bool ready() const;                             // this rank is done with its part of the phase
  };
  // They run in background threads of the root.
  void prepare(int64_t bytes);
  Published publish();
  Published amend();
  void delete_superfluous(std::vector<std::string>& remarks) const;
  // Does a part of the save. If it throws, the save is abandoned on all ranks.
  template <typename Work>
  void or_abandon(const Work& work);
  // Whether all ranks are done with the phase; updates seconds_stalled_.
  bool everywhere_ready();
  std::optional<SaveReport> next_phase();

  const Store& store_;
  // When this rank's disk last answered or was first asked, since the clock's epoch.
  std::shared_ptr<std::atomic<Clock::rep>> heard_;
  const Disk disk_;  // that of the store, whose calls also tell heard_
  double seconds_stalled_ = 0;
  int64_t last_sequence_ = 0;  // of the saves of this object; the root's
  Snapshot snapshot_;
  std::unique_ptr<Save> save_;
};

}  // namespace sisa::checkpoint
