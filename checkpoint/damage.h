// What is thrown where the content of a checkpoint is wrong.
#pragma once

#include "common/error.h"

namespace sisa::checkpoint {

// A checkpoint's files are not what was written: one is missing, too short, has a wrong checksum or contradicts
// the others. Reading them again would find the same. A system call that failed (no permission, an
// input/output error) is a SystemError that is no Damage: the checkpoint may be sound and readable later.
class Damage : public SystemError {
 public:
  using SystemError::SystemError;
};

}  // namespace sisa::checkpoint
