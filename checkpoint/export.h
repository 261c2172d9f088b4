// A checkpoint's weights as a safetensors file, with the state of its run as metadata.
#pragma once

#include <c10/core/ScalarType.h>

#include <filesystem>

#include "checkpoint/contents.h"
#include "checkpoint/disk.h"
#include "checkpoint/safetensors.h"

namespace sisa::checkpoint {

// Writes the weights of the checkpoint in `folder` to `output`, under their own names in their logical shapes
// and rounded to `type`: double, float, half or bfloat16. Weights are the fp32 masters where the precision
// has them. One array at a time is in memory. Throws SystemError if the checkpoint is damaged or the disk
// fails, Error if a number is not finite in `type`; there is no `output` then.
void export_safetensors(const std::filesystem::path& folder, const Contents& contents,
                        const std::filesystem::path& output, c10::ScalarType type, const Disk& disk = {});

// The counters and the recipe that export_safetensors wrote into the file's metadata; what is absent, as from
// other programs, is 0 or "". Throws Error for a counter that is no whole number from 0 on.
RunState state_from_metadata(const SafetensorsFile& file);

}  // namespace sisa::checkpoint
