#pragma once

#include <gmock/gmock.h>

#include <string>

#include "common/error.h"

namespace sisa::tests {

// The text of the Error that `work` throws; "" if it throws none.
template <typename Work>
std::string refusal(Work work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace sisa::tests
