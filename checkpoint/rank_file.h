// One rank's file: its slices of every array, each a 1-D dataset whose bytes lie in one run.
//
// HDF5 makes the file's frame in memory and says where each dataset's bytes go; they are written there by
// checked writes, one slice after another. So a full disk is an ordinary error, and no other caller of HDF5
// waits behind a long write. Reading goes by the master's index
// and needs no HDF5 at all.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/contents.h"
#include "checkpoint/disk.h"
#include "parallel/parameter_space.h"

namespace sisa::checkpoint {

// What becomes one dataset.
struct Slice {
  parallel::Piece piece;
  parallel::StateArray array;
};

// What `rank` of `world_size` saves; without `moments` its weights only.
std::vector<Slice> slices_to_save(const parallel::ParameterSpace& space, int rank, int world_size,
                                  bool moments);
// An upper bound of the file's size.
int64_t rank_file_bytes(const parallel::ParameterSpace& space, const std::vector<Slice>& slices);

// Copies of a rank's slices in host memory, taken while training waits, written while it goes on.
class Snapshot {
 public:
  // Slices [0, slices.size()) as they are now. On a GPU the copies are pinned, and this waits for them. The
  // memory is kept for the next time.
  void take(const parallel::ParameterSpace& space, std::vector<Slice> slices);
  const std::vector<Slice>& slices() const { return slices_; }
  c10::ScalarType type(size_t slice) const { return types_[slice]; }
  // A slice's elements without padding, in `buffer`. Runs on any thread and calls neither LibTorch nor CUDA.
  std::span<const std::byte> elements(size_t slice, std::vector<std::byte>& buffer) const;

 private:
  std::vector<Slice> slices_;
  std::vector<c10::ScalarType> types_;  // of each
  std::vector<int64_t> begins_;         // of each slice's cells within memory_, and the end; bytes
  at::Tensor memory_;                   // bytes
};

// Writes folder/rank-NNNNN.h5, which must not exist, and forces it to the disk.
std::vector<Source> write_rank_file(const std::filesystem::path& folder, int rank, const Snapshot& snapshot,
                                    const Disk& disk);

// Reads any interval of any array of a checkpoint, whatever files hold it.
class Reader {
 public:
  Reader(std::filesystem::path folder, const Contents& contents);  // `contents` must outlive the reader
  // Logical elements [begin, end), 1-D, in their stored type. Reads, and checks the checksum of, every
  // dataset that holds some of them; throws SystemError naming a damaged one.
  at::Tensor read(parallel::StateArray array, const std::string& name, int64_t begin, int64_t end) const;

 private:
  std::filesystem::path folder_;
  std::map<std::pair<parallel::StateArray, std::string>, std::vector<const Source*>> sources_;  // by `begin`
};

// Fills what this rank holds of weights and, if `moments`, of moments, converting number types where they
// differ. Afterwards: round_masters and gather_values.
void read_into(const Reader& reader, parallel::ParameterSpace& space, bool moments);

// What is wrong with a rank's file: a sentence each, naming the array. Reads all of it.
std::vector<std::string> damage_of_rank_file(const std::filesystem::path& folder, const std::string& file,
                                             const Contents& contents);

}  // namespace sisa::checkpoint
