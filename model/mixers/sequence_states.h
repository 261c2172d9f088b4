// Where sequences stand: what a mixer keeps of all their tokens in tensors whose size does not grow with
// them.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>

#include <map>
#include <string>

#include "model/mixers/mixer.h"

namespace sisa::model {

// By name, (B, …) each. A state is replaced and never changed in place.
class SequenceStates {
 public:
  at::Tensor& operator[](const std::string& name) { return tensors_[name]; }  // undefined: no tokens yet
  // Takes up the sequences of `other` after its own; both have the same names, or one of them no tokens.
  void join(const SequenceStates& other) {
    for (const auto& [name, theirs] : other.tensors_) {
      if (!theirs.defined()) continue;
      at::Tensor& ours = tensors_[name];
      ours = ours.defined() ? at::cat({ours, theirs}) : theirs;
    }
  }

 private:
  std::map<std::string, at::Tensor> tensors_;
};

// The cache of a mixer that keeps nothing else.
class StateCache final : public MixerCache {
 public:
  void join(const MixerCache& other) override { states.join(dynamic_cast<const StateCache&>(other).states); }
  SequenceStates states;
};

}  // namespace sisa::model
