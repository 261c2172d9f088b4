// Synthetic tasks: samples that a program makes up, each of which has one right answer.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/random.h"

namespace sisa::data {

// The target where nothing is predicted.
inline constexpr int64_t no_target = -1;

// The random numbers of one sample, in the order in which they are asked for.
class Draws {
 public:
  Draws(uint64_t seed, uint64_t stream) : random_(seed, stream) {}
  int64_t below(int64_t bound);  // uniform on [0, bound), bound > 0
  int64_t between(int64_t first, int64_t last) { return first + below(last - first + 1); }
  double uniform();  // in the open interval (0, 1)
  // `count` different numbers of [0, bound), count <= bound, every ordered choice equally likely.
  std::vector<int64_t> distinct(int64_t count, int64_t bound);

 private:
  common::RandomStream random_;
  uint64_t next_ = 0;
};

// How samples are made, without the randomness. One subclass a file beside this one.
class Task {
 public:
  virtual ~Task() = default;
  // Predicted tokens, in every sample as many; at least 1.
  virtual int64_t num_targets() const = 0;
  // One sample of `sequence_length` tokens. What stands in `inputs` is undefined before; `targets` come as
  // no_target everywhere.
  virtual void generate(Draws draws, std::span<int64_t> inputs, std::span<int64_t> targets) const = 0;
};

// What a recipe says of a task.
struct TaskOptions {
  std::string name;                      // one of task_kinds()
  std::map<std::string, double> values;  // of all keys of that kind; of a choice, its place among the choices
  int64_t samples = 0;                   // that are trained on, over and over; 0: no sample comes twice
  int64_t held_out = 1000;               // samples
};

// What a task must fit into.
struct TaskShape {
  int64_t vocab_size;       // the model's
  int64_t sequence_length;  // tokens a sample
};

}  // namespace sisa::data
