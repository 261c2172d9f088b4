// Alone in its file: all that a new commit recompiles.
#include <sisa_commit.h>  // SISA_COMMIT; written when the program is built

#include "launcher/run/version.h"

namespace sisa::launcher {

std::string commit() {
  return SISA_COMMIT;
}

}  // namespace sisa::launcher
