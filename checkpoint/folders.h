// The folders of a run's checkpoints: their names, and how they go.
//
//   step-500                  a checkpoint that was complete once
//   step-500.tmp-1234         one being written, or what a killed run left of it
//   step-500.tmp-1234-deleted one being deleted, likewise
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/disk.h"

namespace sisa::checkpoint {

std::string folder_name(int64_t step);                       // "step-500"
std::optional<int64_t> step_of(const std::string& name);     // 500 for "step-500"; nothing for any other name
std::string temporary_name(const std::string& folder_name);  // of this process
int64_t folder_bytes(const std::filesystem::path& path);     // of its files; of a file, its own

// Deletes a folder, of a checkpoint or temporary; a checkpoint first loses its name, since half-deleted it
// must not be taken for one. What fails becomes a remark.
void delete_folder(const std::filesystem::path& path, const Disk& disk, std::vector<std::string>& remarks);
// What killed runs left in the folder of checkpoints; also what a run is writing there now.
std::vector<std::filesystem::path> leftovers(const std::filesystem::path& folder);
void delete_leftovers(const std::filesystem::path& folder, const Disk& disk,
                      std::vector<std::string>& remarks);

}  // namespace sisa::checkpoint
