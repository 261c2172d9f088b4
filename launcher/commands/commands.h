// The program's commands: what each is told and where it runs.
//
// All `run_…` are collective and return the exit status. They throw parallel::SharedError for a mistake that
// every rank reports alike (what may fail goes through World::together); anything else ends the run by
// MPI_Abort.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "checkpoint/retention.h"
#include "common/quantity.h"
#include "data/tokens/manifest.h"
#include "model/generate.h"
#include "parallel/world.h"

namespace sisa::launcher {

struct TrainArguments {
  std::filesystem::path recipe;                 // "": that of the checkpoint in `from`
  std::vector<std::filesystem::path> overlays;  // recipes to lay over it
  std::vector<std::string> overrides;           // "section.key=value"
  std::filesystem::path output;                 // "": the recipe's run.output
  std::string from;                             // RUN or RUN@STEP, whose state begins the run; "": none
  std::string resume = "auto";                  // auto, never or a step's number
  std::optional<common::Quantity> stop_after;   // steps, tokens or seconds
};

struct EvaluateArguments {
  std::string run;                     // RUN or RUN@STEP
  std::vector<std::string> overrides;  // of the recipe in the checkpoint: "run.device=cpu"
  bool monitors = false;               // show also what the model says about itself
};

struct GenerateArguments {
  std::string run;                                  // RUN or RUN@STEP
  std::vector<std::string> overrides;               // as of evaluate
  std::vector<std::string> prompts;                 // and then the contents of
  std::vector<std::filesystem::path> prompt_files;  // of both together at least one
  model::GenerateOptions options;                   // ranges not yet checked
};

struct PlanArguments {
  std::filesystem::path recipe;
  std::vector<std::filesystem::path> overlays;
  std::vector<std::string> overrides;
  int64_t ranks = 0;  // 0: as many as run this command
  bool print_recipe = false;
};

struct DoctorArguments {};

struct DataPrepareArguments {
  std::vector<std::string> inputs;  // files; "-": standard input
  std::string tokenizer;            // a file, or "bytes"
  std::filesystem::path output;
  double validation = 0.01;  // share of documents held out, 0 to 0.5
  bool skip_errors = false;  // pass over documents that cannot be read
  bool deduplicate = false;  // drop documents whose text came before
  int threads = 0;           // of each rank; 0: the cores of a host are shared among its ranks
};
struct DataEncodeArguments {
  std::string tokenizer;
};
struct DataDecodeArguments {
  std::string tokenizer;
};
struct DataInspectArguments {
  std::filesystem::path path;        // whatever data::TokenDataset opens
  std::string tokenizer;             // a file, or "bytes"; "": the dataset's own, if it can be found
  std::optional<data::Split> split;  // absent: both
  int64_t first = 0, count = 64;     // the tokens of each split that are shown
  bool check = true;                 // read everything
  bool counts = false;               // show the most frequent ids
};

struct CheckpointListArguments {
  std::string run;
};
struct CheckpointVerifyArguments {
  std::string run;  // RUN: its newest checkpoint; RUN@STEP
};
struct CheckpointInspectArguments {
  std::string run;
};
struct CheckpointPruneArguments {
  std::string run;
  checkpoint::Retention retention;  // keep_last 0: every sound checkpoint stays
  bool damaged = false;             // what is not sound goes too
  bool dry_run = false;             // only say what would go
};
struct CheckpointDiffArguments {
  std::string a, b;  // RUN or RUN@STEP
};
struct CheckpointExportArguments {
  std::string run;                     // RUN or RUN@STEP
  std::filesystem::path output;        // must not exist
  bool hugging_face = false;           // a folder for `transformers`; else a safetensors file
  c10::ScalarType type = c10::kFloat;  // of the numbers
  std::string tokenizer;               // of the folder: a file, or "bytes"; "": the recipe's
};
struct CheckpointImportArguments {
  std::filesystem::path file;          // safetensors
  std::filesystem::path recipe;        // "": that in the file's metadata
  std::vector<std::string> overrides;  // of the recipe
  std::filesystem::path output;        // the new run's folder
};
struct CheckpointProbeArguments {
  std::string run;               // RUN or RUN@STEP
  std::filesystem::path output;  // safetensors file; replaced if it is there
  int64_t sequences = 2;         // B
  int64_t length = 64;           // T, tokens of each
  uint64_t seed = 1;             // of the tokens
};

using Command = std::variant<TrainArguments, EvaluateArguments, GenerateArguments, PlanArguments,
                             DoctorArguments, DataPrepareArguments, DataEncodeArguments, DataDecodeArguments,
                             DataInspectArguments, CheckpointListArguments, CheckpointVerifyArguments,
                             CheckpointInspectArguments, CheckpointPruneArguments, CheckpointDiffArguments,
                             CheckpointExportArguments, CheckpointImportArguments, CheckpointProbeArguments>;

int run_train(const TrainArguments& arguments, const parallel::World& world);
int run_evaluate(const EvaluateArguments& arguments, const parallel::World& world);
int run_generate(const GenerateArguments& arguments, const parallel::World& world);
int run_plan(const PlanArguments& arguments, const parallel::World& world);
int run_doctor(const DoctorArguments& arguments, const parallel::World& world);
int run_data_prepare(const DataPrepareArguments& arguments, const parallel::World& world);
int run_data_encode(const DataEncodeArguments& arguments, const parallel::World& world);
int run_data_decode(const DataDecodeArguments& arguments, const parallel::World& world);
int run_data_inspect(const DataInspectArguments& arguments, const parallel::World& world);
int run_checkpoint_list(const CheckpointListArguments& arguments, const parallel::World& world);
int run_checkpoint_verify(const CheckpointVerifyArguments& arguments, const parallel::World& world);
int run_checkpoint_inspect(const CheckpointInspectArguments& arguments, const parallel::World& world);
int run_checkpoint_prune(const CheckpointPruneArguments& arguments, const parallel::World& world);
// Returns success if both hold the same state and arrays, bit for bit, else failure.
int run_checkpoint_diff(const CheckpointDiffArguments& arguments, const parallel::World& world);
int run_checkpoint_export(const CheckpointExportArguments& arguments, const parallel::World& world);
int run_checkpoint_import(const CheckpointImportArguments& arguments, const parallel::World& world);
// Writes what the network computes in fp64 on random tokens (B, T + 1): `tokens`, `logits` (B, T, vocab_size)
// by the form that evaluates, `loss`, the mean cross entropy, and its `gradients/NAME` by the form that
// trains.
int run_checkpoint_probe(const CheckpointProbeArguments& arguments, const parallel::World& world);

}  // namespace sisa::launcher
