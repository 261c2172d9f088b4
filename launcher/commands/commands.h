// The table of commands: the command line and `main` know the commands from here alone. To add one, write
// NAME.h and NAME.cpp in this folder, and add its header and its arguments below.
//
// A command is a struct of arguments, whose defaults hold where the user gives nothing. It has the `name`
// that the user types, such as "checkpoint diff", and these functions beside it:
//
//   void add_options(Options& options, NameArguments& arguments);
//     Says what the command does, which options it has and where their values go. Needs no MPI.
//   int run(const NameArguments& arguments, const parallel::World& world);
//     Collective. Returns the exit status. Throws parallel::SharedError for a mistake that every rank reports
//     alike (what may fail goes through World::together); any other exception ends the run by MPI_Abort.
//   const char* out_of_memory_advice(const NameArguments& arguments);
//     Optional: what the user can do when memory ran out.
//   Facts facts_to_agree_on(const NameArguments& arguments, const std::string& typed);
//     Optional: what all ranks must have been told alike before `run` is called (run/agreement.h), `typed`
//     being the command line. Without it, the whole command line.
#pragma once

#include <string>
#include <variant>

#include "launcher/commands/checkpoint.h"
#include "launcher/commands/checkpoint_diff.h"
#include "launcher/commands/checkpoint_export.h"
#include "launcher/commands/checkpoint_import.h"
#include "launcher/commands/checkpoint_probe.h"
#include "launcher/commands/checkpoint_prune.h"
#include "launcher/commands/data_encode.h"
#include "launcher/commands/data_inspect.h"
#include "launcher/commands/data_prepare.h"
#include "launcher/commands/doctor.h"
#include "launcher/commands/evaluate.h"
#include "launcher/commands/generate.h"
#include "launcher/commands/plan.h"
#include "launcher/commands/train.h"
#include "launcher/run/agreement.h"

namespace sisa::launcher {

// One command with what it was told. `sisa --help` shows the commands in this order.
using Command = std::variant<
    // of one word
    TrainArguments, EvaluateArguments, GenerateArguments, PlanArguments, DoctorArguments,
    // data
    DataPrepareArguments, DataEncodeArguments, DataDecodeArguments, DataInspectArguments,
    // checkpoint
    CheckpointListArguments, CheckpointVerifyArguments, CheckpointInspectArguments, CheckpointPruneArguments,
    CheckpointDiffArguments, CheckpointExportArguments, CheckpointImportArguments, CheckpointProbeArguments>;

// The advice of commands that have none of their own.
template <typename Arguments>
const char* out_of_memory_advice(const Arguments&) {
  return "Let other programs use less, or take a machine that has more.";
}

// The same of what ranks must have been told alike.
template <typename Arguments>
Facts facts_to_agree_on(const Arguments&, const std::string& typed) {
  return {{"the command line", "`" + typed + "`"}};
}

}  // namespace sisa::launcher
