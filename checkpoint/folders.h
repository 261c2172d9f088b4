// The folders of a run's checkpoints: their names and how they are deleted. 1234 is the number of a process.
//
//   step-500                   a checkpoint that was complete when it got this name
//   step-500.tmp-1234          a checkpoint that is being written, or what a killed run left of it
//   step-500.tmp-1234-deleted  a checkpoint that is being deleted, or what a killed run left of it
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/disk.h"

namespace sisa::checkpoint {

std::string folder_name(int64_t step);                       // "step-500"
std::optional<int64_t> step_of(const std::string& name);     // 500 for "step-500"; nothing for other names
std::string temporary_name(const std::string& folder_name);  // "step-500.tmp-1234", for this process
int64_t folder_bytes(const std::filesystem::path& path);     // the size of a folder's files, or of a file

// Deletes the folder of a checkpoint or a temporary one. A checkpoint is renamed first, so that it is not
// taken for a checkpoint when it is half deleted. A failure is not thrown but added to `remarks` as a
// sentence.
void delete_folder(const std::filesystem::path& path, const Disk& disk, std::vector<std::string>& remarks);
// Temporary files and folders in a run's folder of checkpoints. Killed runs left them, unless a run is
// writing them at the moment.
std::vector<std::filesystem::path> leftovers(const std::filesystem::path& folder);
void delete_leftovers(const std::filesystem::path& folder, const Disk& disk,
                      std::vector<std::string>& remarks);

}  // namespace sisa::checkpoint
