// One run on many processes: MPI's life, who and where this process is, and small agreements between
// processes.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/error.h"

namespace sisa::parallel {

// What `World::together` throws: every rank throws the same, so the root alone may report it and all can
// leave in order. Any other exception may be this rank's alone.
class SharedError : public common::Error {
 public:
  using common::Error::Error;
};

// Owns MPI from construction to destruction (MPI_THREAD_FUNNELED: only the main thread calls MPI or NCCL). At
// most one exists. One process started without mpirun is a world of one, not a special case. Every member but
// the plain getters and `abort` is collective: all ranks call it, in the same order.
class World {
 public:
  World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World();  // barrier and MPI_Finalize; after an exception on this rank alone, call abort instead

  int rank() const { return rank_; }
  int size() const { return size_; }
  int local_rank() const { return local_rank_; }  // among the ranks of this host
  int local_size() const { return local_size_; }
  const std::string& host() const { return host_; }
  bool is_root() const { return rank_ == 0; }
  // The part [begin, end) of `count` things that falls to this rank: [r count / n, (r + 1) count / n).
  std::pair<int64_t, int64_t> share(int64_t count) const {
    return {rank_ * count / size_, (rank_ + 1) * count / size_};
  }

  void barrier() const;
  enum class Reduction { sum, max, min };
  void all_reduce(std::span<int64_t> values, Reduction reduction) const;
  void all_reduce(std::span<double> values, Reduction reduction) const;
  // The root's text (any length) replaces everyone's.
  void broadcast(std::string& text, int root = 0) const;
  // Every rank's text, in order of rank, on every rank.
  std::vector<std::string> all_gather(const std::string& text) const;

  // Runs `work`, which must call nothing collective, on every rank. If it throws on some, all ranks throw the
  // same SharedError: that of the lowest failing rank, with its name put before it unless every rank failed
  // with the same text. So a mistake that only one rank can see ends the run everywhere, with one message and
  // without a hang.
  void together(const std::function<void()>& work) const;

  // Ends every process of the run at once. For errors that other ranks cannot know of and would wait for.
  [[noreturn]] void abort(int status) const;

 private:
  int rank_ = 0, size_ = 1, local_rank_ = 0, local_size_ = 1;
  std::string host_;
};

}  // namespace sisa::parallel
