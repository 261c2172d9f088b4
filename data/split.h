// The two parts of every source: what is trained on and what is held out.
#pragma once

#include <string>

namespace sisa::data {

enum class Split { train, validation };

inline std::string split_name(Split split) {
  return split == Split::train ? "train" : "validation";
}

}  // namespace sisa::data
