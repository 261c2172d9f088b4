// The master file: shows every array whole, under its own name and in its logical shape, as HDF5 virtual
// datasets over the ranks' files, and holds the run's state, the recipe and the index of all those files.
//
// It is written last, so a folder without one is no checkpoint. Its first 512 bytes are a line of text with a
// checksum of all the others. We never read through virtual datasets: where a file is missing HDF5 gives fill
// values (NaN here) without an error.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/contents.h"
#include "checkpoint/disk.h"

namespace sisa::checkpoint {

inline constexpr int64_t format_version = 1;

// Writes folder/master.h5, which must not exist, and forces it to the disk.
void write_master(const std::filesystem::path& folder, const Contents& contents, const Disk& disk);

// Throws SystemError if the master is missing or damaged, Error if a newer version wrote it.
Contents read_master(const std::filesystem::path& folder);

// Where the master's virtual datasets do not show what the index says: a sentence each, naming the array.
std::vector<std::string> damage_of_virtual_datasets(const std::filesystem::path& folder,
                                                    const Contents& contents);

}  // namespace sisa::checkpoint
