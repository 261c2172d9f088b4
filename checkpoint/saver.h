// Saves a run while it trains.
//
// Training waits only while its state is copied to host memory. A background thread of each rank writes that
// copy to the rank's file. When all ranks are done, a background thread of the root writes the master file,
// forces everything to the disk, gives the folder its name and deletes the checkpoints that the retention
// rules do not keep. The background threads call neither MPI nor NCCL nor CUDA. The ranks agree on the
// progress of a save in poll(), which their main threads call between steps.
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
  bool moments = true;       // false: only weights, a third of the bytes, from which no training can resume
  bool keep = false;         // keep the checkpoint for ever, whatever the rules of later saves are
  Retention retention = {};  // applied after the save; the checkpoint just written is always kept
};

struct SaveReport {
  int64_t step = 0;
  bool moments = true;
  int64_t bytes = 0;                 // of all files together
  double seconds = 0;                // from the start until the folder got its name
  double seconds_blocked = 0;        // how long training waited for the save on the slowest rank
  std::vector<std::string> remarks;  // harmless failures, such as that of a deletion
};

class Saver {
 public:
  explicit Saver(const Store& store);  // the store must outlive the saver
  // Waits for the background threads. A save that is not finished is abandoned; the next save removes its
  // files.
  ~Saver();

  // All members but running() are collective. If a rank fails (a full disk, a folder without write permission
  // …), all ranks throw the same Error, nothing of the checkpoint is left, and the next save may begin. A
  // checkpoint of the same step is replaced.

  // Copies the state and starts to write it. No save may be running. The host memory of the copy is kept for
  // the next save. `space` must outlive the save, but may change as soon as this returns.
  void start(const RunState& state, const parallel::ParameterSpace& space, const SaveOptions& options = {});
  bool running() const { return save_ != nullptr; }
  // The report of the running save if all ranks are done with it, otherwise nothing.
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
    Contents contents;  // without sources until they are gathered
    Retention retention;
    std::filesystem::path temporary, target;
    std::vector<std::string> remarks;  // of the root
    Clock::time_point started = Clock::now();
    double seconds_blocked = 0;
    bool publishing = false;                        // whether the files of all ranks are written
    std::future<std::vector<StoredSlice>> written;  // the file of this rank
    std::future<Published> published;               // on the root
  };
  // Called on the root alone.
  void prepare(int64_t bytes);
  Published publish() const;
  // Runs a phase of the save. If it throws, the save is abandoned on all ranks.
  template <typename Phase>
  void or_abandon(const Phase& phase);
  bool everywhere(bool ready) const;  // whether `ready` is true on all ranks; collective

  const Store& store_;
  Snapshot snapshot_;
  std::unique_ptr<Save> save_;
};

}  // namespace sisa::checkpoint
