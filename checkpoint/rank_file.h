// The file of one rank. It contains the rank's slice of every array as a 1-D dataset whose bytes are
// contiguous.
//
// HDF5 creates the file without its data in memory and says at which offset each dataset's bytes belong.
// File::write then writes them there, one slice after another, so that a full disk is an ordinary error and
// no other caller of HDF5 has to wait for a long write. Reading uses the index of the master file and does
// not need HDF5.
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

// What is saved as one dataset.
struct Slice {
  parallel::BlockSlice piece;
  parallel::StateArray array;
};

// What `rank` of `world_size` ranks saves; without `moments` only its weights.
std::vector<Slice> slices_to_save(const parallel::ParameterSpace& space, int rank, int world_size,
                                  bool moments);
// An upper bound of the file's size in bytes.
int64_t rank_file_bytes(const parallel::ParameterSpace& space, const std::vector<Slice>& slices);

// Copies of a rank's slices in host memory. Training waits while they are taken and goes on while they are
// written.
class Snapshot {
 public:
  // Copies the slices as they are now. On a GPU the copies go to pinned memory, and the call waits for them.
  // The memory is kept for the next call.
  void take(const parallel::ParameterSpace& space, std::vector<Slice> slices);
  const std::vector<Slice>& slices() const { return slices_; }
  c10::ScalarType type(size_t slice) const { return types_[slice]; }
  // The elements of a slice without padding, in `buffer`. May be called on any thread; calls neither LibTorch
  // nor CUDA.
  std::span<const std::byte> elements(size_t slice, std::vector<std::byte>& buffer) const;

 private:
  std::vector<Slice> slices_;
  std::vector<c10::ScalarType> types_;  // of each slice
  std::vector<int64_t> begins_;         // the offset in bytes of each slice in memory_, then the end
  at::Tensor memory_;                   // of the type kByte
};

// Writes folder/rank-NNNNN.h5, which must not exist, and forces it to the disk. Throws SystemError.
std::vector<StoredSlice> write_rank_file(const std::filesystem::path& folder, int rank,
                                         const Snapshot& snapshot, const Disk& disk);

// Reads any interval of any array of a checkpoint from the files that contain it.
class Reader {
 public:
  Reader(std::filesystem::path folder, const Contents& contents);  // `contents` must outlive the reader
  // The logical elements [begin, end) as a 1-D tensor of the stored type. Reads every dataset that contains
  // some of them completely and checks its checksum. Throws Damage naming a damaged dataset.
  at::Tensor read(parallel::StateArray array, const std::string& name, int64_t begin, int64_t end) const;

 private:
  std::filesystem::path folder_;
  std::map<std::pair<parallel::StateArray, std::string>, std::vector<const StoredSlice*>> sources_;
};

// Reads the weights that this rank owns and, with `moments`, their moments into `space`, and converts number
// types where they differ. The caller must call round_masters and gather_values afterwards.
void read_into(const Reader& reader, parallel::ParameterSpace& space, bool moments);

// One sentence, naming the array, for each fault of a rank's file. Reads the whole file. Throws SystemError if
// that fails, so that nothing is known about the content.
std::vector<std::string> damage_of_rank_file(const std::filesystem::path& folder, const std::string& file,
                                             const Contents& contents);

}  // namespace sisa::checkpoint
