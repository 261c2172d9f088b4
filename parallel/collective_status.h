// Which collective call a rank is in, for a thread that watches the one that communicates.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

namespace sisa::parallel {

// A rank that waits for a peer in a collective call cannot speak for itself. World and Communicator therefore
// open a Scope around every call that waits for other ranks, and any thread may read the result at any time:
// reading takes no lock, so a rank that hangs cannot make its reader hang.
//
//   const CollectiveStatus::Scope scope(status, "all_reduce");  // as long as the call lasts
//
// Only the thread that constructed this object, the main thread, may call set_step or open a Scope.
class CollectiveStatus {
 public:
  using Clock = std::chrono::steady_clock;

  struct Snapshot {
    const char* name = nullptr;  // of the call, e.g. "all_reduce"; nullptr: the rank is in no such call
    int64_t step = -1;           // the training step that is under way; -1 before the first
    Clock::time_point since;     // when the call began or, in no call, when the last one ended
  };
  // Members belong together: a snapshot never mixes two moments. May be called from any thread.
  Snapshot read() const;

  // The training step, counted from 1, that the following calls belong to.
  void set_step(int64_t step);

  // A collective call, from construction to destruction. Scopes may be nested: the innermost one counts, and
  // the outer one counts again, since its own beginning, when the inner one ends.
  class Scope {
   public:
    Scope(CollectiveStatus& status, const char* name);  // `name`: a string literal
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope();

   private:
    CollectiveStatus& status_;
    Snapshot outer_;
  };

 private:
  Snapshot own() const;  // for the owner, which needs no protection from itself
  void write(const Snapshot& snapshot);
  void require_owner() const;

  const std::thread::id owner_ = std::this_thread::get_id();
  // A sequence lock: the owner makes version_ odd while it changes the members below, and a reader tries
  // again if version_ was odd or has changed meanwhile. The owner never waits between its two changes of
  // version_.
  std::atomic<uint64_t> version_{0};
  std::atomic<const char*> name_{nullptr};
  std::atomic<int64_t> step_{-1};
  std::atomic<Clock::rep> since_{Clock::now().time_since_epoch().count()};
};

}  // namespace sisa::parallel
