// The program: reads the command line, opens the world, runs the command and reports what went wrong, once.
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <new>
#include <variant>

#include "common/error.h"
#include "launcher/command_line.h"
#include "launcher/commands/commands.h"
#include "parallel/world.h"

namespace sisa::launcher {
namespace {

struct Dispatch {
  const parallel::World& world;
  int operator()(const TrainArguments& arguments) const { return run_train(arguments, world); }
  int operator()(const EvaluateArguments& arguments) const { return run_evaluate(arguments, world); }
  int operator()(const GenerateArguments& arguments) const { return run_generate(arguments, world); }
  int operator()(const PlanArguments& arguments) const { return run_plan(arguments, world); }
  int operator()(const DoctorArguments& arguments) const { return run_doctor(arguments, world); }
  int operator()(const DataPrepareArguments& arguments) const { return run_data_prepare(arguments, world); }
  int operator()(const DataEncodeArguments& arguments) const { return run_data_encode(arguments, world); }
  int operator()(const DataDecodeArguments& arguments) const { return run_data_decode(arguments, world); }
  int operator()(const DataInspectArguments& arguments) const { return run_data_inspect(arguments, world); }
  int operator()(const CheckpointListArguments& arguments) const {
    return run_checkpoint_list(arguments, world);
  }
  int operator()(const CheckpointVerifyArguments& arguments) const {
    return run_checkpoint_verify(arguments, world);
  }
  int operator()(const CheckpointInspectArguments& arguments) const {
    return run_checkpoint_inspect(arguments, world);
  }
  int operator()(const CheckpointPruneArguments& arguments) const {
    return run_checkpoint_prune(arguments, world);
  }
  int operator()(const CheckpointDiffArguments& arguments) const {
    return run_checkpoint_diff(arguments, world);
  }
  int operator()(const CheckpointExportArguments& arguments) const {
    return run_checkpoint_export(arguments, world);
  }
  int operator()(const CheckpointImportArguments& arguments) const {
    return run_checkpoint_import(arguments, world);
  }
  int operator()(const CheckpointProbeArguments& arguments) const {
    return run_checkpoint_probe(arguments, world);
  }
};

// Whether a launcher started this process as one of several, whose messages would otherwise pile up.
bool started_as_a_rank() {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"})
    if (std::getenv(variable) != nullptr) return true;
  return false;
}

int print(const CommandLine& line) {
  fmt::print(line.status == common::success ? stdout : stderr, "{}", line.text);
  return line.status;
}

// An exception that other ranks do not know of: they may wait for this one for ever.
int fail_alone(const parallel::World& world, const std::string& text, int status) {
  if (world.size() == 1) {
    fmt::print(stderr, "{}\n", text);
    return status;
  }
  fmt::print(stderr, "Rank {} ({}): {}\n", world.rank(), world.host(), text);
  std::fflush(nullptr);
  world.abort(status);
}

// What to do if memory ran out.
struct Advice {
  const char* operator()(const TrainArguments&) const {
    return "For activations, lower train.micro_batch or raise train.recompute; for weights and optimizer, "
           "use more ranks with optimizer.sharded: true (`sisa plan RECIPE --ranks N` shows them).";
  }
  const char* operator()(const EvaluateArguments&) const { return "Lower train.micro_batch by --set."; }
  const char* operator()(const GenerateArguments&) const {
    return "Give fewer or shorter prompts, or lower --max-tokens.";
  }
  template <typename Other>
  const char* operator()(const Other&) const {
    return "Let other programs use less, or take a machine that has more.";
  }
};
int fail_out_of_memory(const parallel::World& world, const Command& command, std::string found) {
  found.erase(found.find_last_not_of(". \n") + 1);
  return fail_alone(world, fmt::format("Memory ran out: {}. {}", found, std::visit(Advice{}, command)),
                    common::failure);
}

int run(const Command& command, const parallel::World& world) {
  try {
    return std::visit(Dispatch{world}, command);
  } catch (const parallel::SharedError& error) {
    if (world.is_root()) fmt::print(stderr, "{}\n", error.what());
    return error.status();
  } catch (const Error& error) {
    return fail_alone(world, error.what(), error.status());
  } catch (const std::bad_alloc&) {
    return fail_out_of_memory(world, command, "an allocation of this machine's failed");
  } catch (const c10::OutOfMemoryError& error) {  // a GPU's
    return fail_out_of_memory(world, command, error.what_without_backtrace());
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    const size_t cpu = text.find("DefaultCPUAllocator");  // whose failure has no type of its own
    if (cpu != std::string::npos) return fail_out_of_memory(world, command, text.substr(cpu));
    return fail_alone(world, fmt::format("Internal error, please report it: {}", text), common::failure);
  } catch (const std::exception& error) {
    return fail_alone(world, fmt::format("Internal error, please report it: {}", error.what()),
                      common::failure);
  }
}

}  // namespace
}  // namespace sisa::launcher

int main(int argc, char** argv) {
  using namespace sisa::launcher;
  std::ios::sync_with_stdio(false);  // `data encode` asks whether more of standard input is there
  try {
    const CommandLine line = parse_command_line(argc, argv);
    if (!line.command && !started_as_a_rank()) return print(line);
    // Its destructor lets all ranks meet before any returns: the first to end with an error would have the
    // others killed.
    const sisa::parallel::World world;
    if (line.command) return run(*line.command, world);
    return world.is_root() ? print(line) : line.status;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return sisa::common::failure;
  }
}
