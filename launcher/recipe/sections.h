// A run's recipe: plain structs, one per section of the YAML file. What each key means, its range and its
// unit stand in one table (keys.cpp), from which reading, --set, printing, suggestions and
// docs/recipes.md come.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "common/precision.h"
#include "common/quantity.h"
#include "data/tasks/task.h"
#include "launcher/recipe/schedule.h"
#include "model/config.h"
#include "parallel/adamw.h"

namespace sisa::launcher {

enum class Determinism { strict, fast };

struct RunSection {
  std::filesystem::path output;  // the run's folder; "": not given
  uint64_t seed = 1;             // of initial weights, of the order of the data and of the samples of tasks
  std::string device = "cpu";    // cpu or cuda
  int64_t threads = 0;           // per rank; 0: cores of the host / ranks on it
  common::Precision precision = common::Precision::fp32;  // not given: bf16 on cuda
  Determinism determinism = Determinism::strict;          // not given: fast on cuda
  bool fused = true;                                      // our own kernels, for bf16 on cuda
  std::filesystem::path init_from;                        // safetensors file or RUN[@STEP]; "": none
};

struct Source {
  std::filesystem::path path;  // raw text, or tokens (data::TokenDataset::open); "": a task
  double weight = 1;           // share of the samples, relative to the other sources
  data::TaskOptions task;      // without a name: a path
  bool is_task() const { return !task.name.empty(); }
};

// What is held out of training: a share of the text, or what a file or folder holds.
struct HeldOutText {
  double share = 0.01;
  std::filesystem::path path = {};  // "": the share counts
};

struct DataSection {
  std::string tokenizer;           // "bytes" or a file; "": not given
  std::vector<Source> sources;     // empty: not given
  int64_t sequence_length = 2048;  // tokens of a sample
  HeldOutText validation;          // a share of each raw text; or text or tokens of its own
};

// The defaults of this section and the next are the published recipe's for 152M parameters (spec section 0).
struct TrainSection {
  int64_t max_tokens = 5'000'000'000;
  int64_t batch = 524'288;  // tokens a step, over all ranks
  int64_t micro_batch = 4;  // samples that a rank runs at once, at most
  int64_t recompute = 0;    // layers whose activations are not kept for the backward pass
  ScheduleKind schedule = ScheduleKind::cosine;
  common::Quantity warmup = {500, common::Unit::steps};  // steps or tokens
  WarmupStart warmup_start = WarmupStart::zero;
  double cooldown = 0.2;  // share of all steps, of the schedule wsd
};

struct OptimizerSection : parallel::AdamWOptions {
  bool sharded = true;  // false: every rank holds the whole optimizer state
  // The learning rates of the system's own (model::LearningRate), by name, at the schedule's peak.
  std::map<std::string, double> learning_rates;
};

// Chosen steps, or numbers of tokens, of a run.
struct SavePoints {
  bool doubling = false;             // steps 1, 2, 4, 8 …
  std::vector<common::Quantity> at;  // otherwise: steps or tokens
};

struct CheckpointSection {
  common::Quantity every = {500, common::Unit::steps};  // steps, tokens or seconds; 0: at the end only
  bool asynchronous = true;                             // false: training waits for the disk
  int64_t keep_last = 3;                                // checkpoints
  int64_t keep_every = 0;                               // tokens; 0: none is kept for its place
  bool keep_best = false;                               // by held-out loss
  SavePoints save_at;
  int64_t patience = 120;  // seconds that the disk may take to answer
};

struct EvaluationSection {
  common::Quantity every = {500, common::Unit::steps};  // steps or tokens; 0: at the end only
  int64_t tokens = 0;                                   // held-out tokens of text scored, at most; 0: all
};

struct LogSection {
  int64_t every = 1;          // steps between two lines on the screen
  common::Quantity monitors;  // steps or tokens between two readings of the model's monitors; 0: none
};

struct Recipe {
  RunSection run;
  model::ModelConfig model;
  DataSection data;
  TrainSection train;
  OptimizerSection optimizer;
  CheckpointSection checkpoint;
  EvaluationSection evaluation;
  LogSection log;

  // Where each key that was given and counts stands, for messages: "model.d_ff" -> "recipe.yaml:12" or
  // "--set".
  std::map<std::string, std::string> origins;

  data::TaskShape task_shape() const { return {model.vocab_size, data.sequence_length}; }
  int64_t samples_per_step() const { return train.batch / data.sequence_length; }
  int64_t total_steps() const { return train.max_tokens / train.batch; }  // 9,536 for 5B tokens at 524,288
  // Tokens are what a run has done: the steps that are left, and the place in the schedule, follow from them,
  // also where train.batch has changed on the way.
  int64_t steps_left(int64_t tokens) const;  // after so many tokens; total_steps() == steps_left(0)
  int64_t schedule_step(int64_t tokens) const { return tokens / train.batch; }
  int64_t warmup_steps() const;    // rounded up
  int64_t cooldown_steps() const;  // 0 unless the schedule is wsd
  Schedule schedule() const;
};

}  // namespace sisa::launcher
