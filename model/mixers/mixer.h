// A mixer is the one thing in which the systems differ: it moves information along the sequence.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/parameter.h"
#include "common/precision.h"
#include "model/config.h"
#include "model/mixers/mixer_costs.h"

namespace sisa::model {

// What a layer's parts are built from.
struct LayerContext {
  const ModelConfig& config;  // completed
  int64_t index;              // of the layer
  std::string bucket;         // "layers.3"
  std::string prefix;         // of its parameters' names: "layers.3."
  common::Precision precision;
  int64_t pad_to;  // physical rows and widths are multiples of this
  at::ScalarType compute() const { return common::compute_type(precision); }
  at::ScalarType statistics() const { return common::statistics_type(precision); }
  int64_t padded(int64_t n) const { return (n + pad_to - 1) / pad_to * pad_to; }
};

// What a mixer remembers of the tokens that it has seen, for each sequence of a batch.
class MixerCache {
 public:
  virtual ~MixerCache() = default;
  // Takes up the sequences of `other`, of the same mixer, after its own; lengths may differ.
  virtual void join(const MixerCache& other) = 0;
};

// A number for each head, for people who watch a run: "half-life", "tokens".
struct Reading {
  std::string name;   // snake_case
  at::Tensor values;  // (H) on the CPU
};

// Something that a mixer counts while it trains.
struct Counter {
  std::string name;   // snake_case, in metrics.jsonl: "limited_pairs"
  std::string label;  // behind the number on the screen: "pairs limited"
  // What the training form does otherwise than the definition wherever this counts, as a sentence that begins
  // with the number: "(token, head) pairs decay beyond …". Empty: what is counted is part of the definition.
  std::string departure;
  at::Tensor count;  // an int64 scalar on the model's device
};

class Mixer {
 public:
  virtual ~Mixer() = default;
  // In the order in which they are stored.
  virtual std::vector<common::Parameter*> parameters() = 0;
  // The name of the norm before the mixer in its layer, as in the official code.
  virtual std::string norm_name() const { return "attn_norm"; }
  // Whether a SwiGLU follows in this layer, where the network has any.
  virtual bool has_feed_forward() const { return true; }

  // For training: whole sequences. x: the normed residual stream, (B, T, d_model) in the compute type.
  // Returns what is added to the stream, in the same shape and type.
  virtual at::Tensor forward(const at::Tensor& x) = 0;

  // What `forward` leaves to LibTorch's operations, since kernels of our own (operations/fused.h) do not fit
  // the mixer's sizes or the GPU: names for people. x: as `forward` takes it, of any length.
  virtual std::vector<std::string> left_to_libtorch(const at::Tensor& /*x*/) { return {}; }

  // For evaluation. An empty cache, or null for a mixer that needs a sequence whole.
  virtual std::unique_ptr<MixerCache> make_cache() const = 0;
  // x (B, T, d_model) continues the B sequences in `cache`, which takes it up; an empty cache has any number
  // of them. In pieces of any length the result is that of the whole sequence. Without a graph.
  virtual at::Tensor extend(const at::Tensor& x, MixerCache& cache) = 0;

  // What training on sequences of `length` tokens, and remembering them, costs. A mixer that says nothing does
  // not compile: utilisation would otherwise be that of attention.
  virtual MixerCosts costs(int64_t length) const = 0;

  // What was counted in `forward` since the last call; evaluations that use the training form do not count.
  virtual std::vector<Counter> take_counters() { return {}; }
  // What a mixer has to say about itself on the input x of `forward`.
  virtual std::vector<Reading> read(const at::Tensor& /*x*/) { return {}; }
};

// For System::make_mixer.
template <typename Kind>
std::unique_ptr<Mixer> make_mixer(const LayerContext& context) {
  return std::make_unique<Kind>(context);
}

}  // namespace sisa::model
