// Synthetic tasks: generated samples, each of which has exactly one right answer.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/random.h"

namespace sisa::data {

// The target of a position at which nothing is predicted.
inline constexpr int64_t no_target = -1;

// The random numbers of one sample. Each call takes the next ones of the sample's stream.
class Draws {
 public:
  Draws(uint64_t seed, uint64_t stream) : random_(seed, stream) {}
  int64_t below(int64_t bound);  // uniform on [0, bound), bound > 0
  // Uniform on [first, last], first <= last.
  int64_t between(int64_t first, int64_t last) { return first + below(last - first + 1); }
  double uniform();  // in the open interval (0, 1)
  // `count` different numbers from [0, bound), count <= bound. Every ordered choice is equally likely.
  std::vector<int64_t> distinct(int64_t count, int64_t bound);

 private:
  common::RandomStream random_;
  uint64_t next_ = 0;
};

// How the samples of a task are made from random numbers. Each subclass has a file of its own in this folder.
class Task {
 public:
  virtual ~Task() = default;
  // The number of predicted tokens, which is the same in every sample; at least 1.
  virtual int64_t num_targets() const = 0;
  // Makes one sample: both spans have `sequence_length` elements. On entry the content of `inputs` is
  // undefined and all `targets` are no_target.
  virtual void generate(Draws draws, std::span<int64_t> inputs, std::span<int64_t> targets) const = 0;
};

// What a recipe says of a task.
struct TaskOptions {
  std::string name;                      // one of task_kinds()
  std::map<std::string, double> values;  // of all keys of that kind; a choice is its index among the choices
  int64_t samples = 0;                   // how many are trained on, again and again; 0: no sample comes twice
  int64_t held_out = 1000;               // how many samples are held out
};

// The sizes of the model and of a sample, which a task must fit.
struct TaskShape {
  int64_t vocab_size;       // the model's
  int64_t sequence_length;  // tokens of a sample
};

}  // namespace sisa::data
