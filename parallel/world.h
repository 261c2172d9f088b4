// One run on many processes: the life of MPI, this process's place among the others, and small agreements
// between processes.
#pragma once

#include <climits>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/error.h"
#include "parallel/collective_status.h"

namespace sisa::parallel {

// What `World::together` throws. Every rank throws the same error, so the root alone may report it, and all
// ranks can end in an orderly way. Any other exception may be thrown by this rank only.
class SharedError : public common::Error {
 public:
  using common::Error::Error;
};

// Owns MPI from construction to destruction, with MPI_THREAD_FUNNELED: only the main thread calls MPI or
// NCCL. At most one World exists. One process that was started without mpirun is a world of one and no
// special case. Every member except the getters and `abort` is collective: all ranks call it, in the same
// order, from their main threads.
//
// If another rank has died or does not come, a collective call may block for ever, since MPI has no
// time-outs. A call that MPI reports as failed throws SystemError with the call, the rank, the host and MPI's
// text. How such a wait ends is described in parallel/communicator.h.
class World {
 public:
  World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World();  // barrier and MPI_Finalize; after an exception on this rank only, call `abort` instead

  int rank() const { return rank_; }
  int size() const { return size_; }
  int local_rank() const { return local_rank_; }  // number among the ranks of this host
  int local_size() const { return local_size_; }
  const std::string& host() const { return host_; }
  // The cores that this rank can keep busy while the other ranks of the host do the same, by affinity masks and
  // control groups; at least 1.
  int core_share() const { return core_share_; }
  bool is_root() const { return rank_ == 0; }
  // This rank's part [begin, end) of `count` things: [r count / n, (r + 1) count / n).
  std::pair<int64_t, int64_t> share(int64_t count) const {
    return {rank_ * count / size_, (rank_ + 1) * count / size_};
  }

  void barrier() const;
  enum class Reduction { sum, max, min };
  void all_reduce(std::span<int64_t> values, Reduction reduction) const;
  void all_reduce(std::span<double> values, Reduction reduction) const;
  // Replaces the text of every rank by the root's, of any length.
  void broadcast(std::string& text, int root = 0) const;
  // The same with the root's numbers.
  void broadcast(std::vector<int64_t>& numbers, int root = 0) const;
  // Returns the texts of all ranks, in order of rank, on every rank. They may differ in length and have any
  // length. One MPI call moves at most max_bytes bytes, which must be at least size().
  std::vector<std::string> all_gather(const std::string& text, int max_bytes = INT_MAX) const;

  // Runs `work`, which must call nothing collective, on every rank. If it throws on some ranks, all ranks
  // throw the same SharedError: that of the lowest failing rank, preceded by its name unless every rank
  // failed with the same text. A mistake that only one rank can see thus ends the run everywhere, with one
  // message and without a hang.
  void together(const std::function<void()>& work) const;

  // Ends every process of the run at once, with this exit status: for errors that the other ranks cannot know
  // of and would wait for. May be called from any thread, also while the main thread is blocked in a
  // collective call. (MPI_THREAD_FUNNELED does not promise that. Open MPI's MPI_Abort asks mpirun to kill the
  // processes and needs nothing that a blocked call holds; tests/parallel/abort_program.cpp shows it.)
  [[noreturn]] void abort(int status) const;

  // Which collective call this rank is in, of World and of every Communicator.
  CollectiveStatus& collective_status() const { return collective_status_; }

 private:
  mutable CollectiveStatus collective_status_;  // the calls that it describes are const
  int rank_ = 0, size_ = 1, local_rank_ = 0, local_size_ = 1;
  int core_share_ = 1;
  std::string host_;
};

}  // namespace sisa::parallel
