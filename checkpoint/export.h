// Exports a checkpoint's weights as a safetensors file, with the state of its run as metadata.
#pragma once

#include <c10/core/ScalarType.h>

#include <filesystem>

#include "checkpoint/contents.h"
#include "checkpoint/disk.h"
#include "checkpoint/safetensors.h"

namespace sisa::checkpoint {

// Writes the weights of the checkpoint in `folder` to `output`, with their names and logical shapes, rounded
// to `type`: double, float, half or bfloat16. If the precision has fp32 master weights, these are exported.
// Only one array at a time is in memory. Throws SystemError if the checkpoint is damaged or the disk fails,
// and Error if a number is not finite in `type`. `output` does not exist then.
void export_safetensors(const std::filesystem::path& folder, const Contents& contents,
                        const std::filesystem::path& output, c10::ScalarType type, const Disk& disk = {});

// The counters and the recipe that export_safetensors wrote to the file's metadata. What is absent, as in
// files of other programs, is 0 or "". Throws Error if a counter is not a whole number >= 0.
RunState state_from_metadata(const SafetensorsFile& file);

}  // namespace sisa::checkpoint
