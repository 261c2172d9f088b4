// The master file of a checkpoint. It contains the run's state, the recipe, the index of the ranks' files,
// and HDF5 virtual datasets that present every array of those files as one dataset with its name and logical
// shape.
//
// It is written last, so that a folder without one is not a checkpoint. Its first 512 bytes are a line of
// text with a checksum of all the others. The program itself never reads through virtual datasets, because
// HDF5 returns fill values (here NaN) without an error where a file is missing.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/contents.h"
#include "checkpoint/disk.h"

namespace sisa::checkpoint {

inline constexpr int64_t format_version = 1;

// Writes folder/master.h5, which must not exist, and forces it to the disk. Throws SystemError.
void write_master(const std::filesystem::path& folder, const Contents& contents, const Disk& disk);
// The same beside the file that is there, which it then replaces in one step: whatever happens, the checkpoint
// keeps a whole master file.
void replace_master(const std::filesystem::path& folder, const Contents& contents, const Disk& disk);

// Throws Damage if the master file is missing or damaged, SystemError if it cannot be read, and Error if a
// newer version wrote it.
Contents read_master(const std::filesystem::path& folder);

// One sentence, naming the array, for each virtual dataset of the master file that does not match the index.
std::vector<std::string> damage_of_virtual_datasets(const std::filesystem::path& folder,
                                                    const Contents& contents);

}  // namespace sisa::checkpoint
