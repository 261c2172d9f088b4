// Commands as `main` runs them, alone and under mpirun: what they print, on the root only, and their status.
#include "launcher/commands/commands.h"

#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "checkpoint/saver.h"
#include "checkpoint/store.h"
#include "common/error.h"
#include "common/file.h"
#include "tests/launcher/refusal.h"
#include "tests/mpi_world.h"

namespace sisa::launcher {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using tests::refusal;
using tests::world;

struct Outcome {
  int status;
  std::string text;  // the root's standard output; empty on the other ranks
};

template <typename Command>
Outcome outcome_of(Command command) {
  testing::internal::CaptureStdout();
  int status = -1;
  const std::string error = refusal([&] { status = command(); });
  Outcome outcome{status, testing::internal::GetCapturedStdout()};
  EXPECT_EQ(error, "");
  if (!world().is_root()) {
    EXPECT_EQ(outcome.text, "");
  }
  return outcome;
}

// A folder that all ranks share, gone afterwards.
class Commands : public testing::Test {
 protected:
  Commands() {
    std::string name = fmt::format("sisa-commands-{}", getpid());
    world().broadcast(name);
    folder_ = fs::temp_directory_path() / name;
    fs::create_directories(folder_);
    world().barrier();
  }
  ~Commands() override {
    world().barrier();
    if (world().is_root()) fs::remove_all(folder_);
    world().barrier();
  }
  fs::path write(const std::string& name, const std::string& text) {
    if (world().is_root()) std::ofstream(folder_ / name) << text;
    world().barrier();
    return folder_ / name;
  }
  fs::path folder_;
};

// Gives `text` to whoever reads standard input.
class StandardInput {
 public:
  explicit StandardInput(const std::string& text) : stream_(text), former_(std::cin.rdbuf(stream_.rdbuf())) {
    std::cin.clear();
  }
  ~StandardInput() { std::cin.rdbuf(former_); }

 private:
  std::istringstream stream_;
  std::streambuf* former_;
};

TEST_F(Commands, PlanPrintsRecipeAndTable) {
  const fs::path recipe = write("r.yaml", "model: {vocab_size: 257, d_model: 32, num_heads: 2, d_ff: 48}\n");
  const Outcome both = outcome_of(
      [&] { return run(PlanArguments{.recipe = recipe, .overrides = {"run.seed=5"}, .ranks = 8}, world()); });
  EXPECT_EQ(both.status, common::success);
  const Outcome only =
      outcome_of([&] { return run(PlanArguments{.recipe = recipe, .print_recipe = true}, world()); });
  if (!world().is_root()) return;
  EXPECT_THAT(both.text, AllOf(HasSubstr("\n  seed: 5\n"), HasSubstr("9,536 steps"), HasSubstr("8 (cpu)"),
                               HasSubstr("moments")));
  EXPECT_THAT(only.text, AllOf(HasSubstr("\n  seed: 1\n"), Not(HasSubstr("moments"))));
}

TEST_F(Commands, MistakesAreSharedByAllRanks) {
  EXPECT_THROW(run(PlanArguments{.recipe = folder_ / "absent.yaml"}, world()), parallel::SharedError);
  const fs::path recipe = write("r.yaml", "train: {batch: 4096}\n");
  EXPECT_THAT(refusal([&] { run(PlanArguments{.recipe = recipe, .ranks = 3}, world()); }),
              HasSubstr("2 samples a step, too few for 3 ranks"));
  EXPECT_THROW(run(DataInspectArguments{folder_ / "absent"}, world()), parallel::SharedError);
  EXPECT_THROW(run(CheckpointListArguments{(folder_ / "absent").string()}, world()), parallel::SharedError);
}

TEST_F(Commands, DoctorFindsAWorkingMachine) {
  const Outcome outcome = outcome_of([] { return run(DoctorArguments{}, world()); });
  EXPECT_EQ(outcome.status, common::success) << outcome.text;
  if (!world().is_root()) return;
  for (const char* subject : {"LibTorch", "MPI", "cores", "memory", "GPUs", "HDF5", "limits"}) {
    const size_t first = outcome.text.find(fmt::format(" {} ", subject));
    EXPECT_NE(first, std::string::npos) << subject;
  }
  EXPECT_THAT(outcome.text, AllOf(HasSubstr(fmt::format("{} on {}", world().size(), world().host())),
                                  HasSubstr("Ready to train.")));
}

TEST_F(Commands, DoctorFindsAFolderThatCannotBeWritten) {
  const fs::path former = fs::current_path();
  const fs::path gone = folder_ / fmt::format("gone-{}", world().rank());
  fs::create_directories(gone);
  fs::current_path(gone);
  fs::remove(gone);
  const Outcome outcome = outcome_of([] { return run(DoctorArguments{}, world()); });
  fs::current_path(former);
  EXPECT_EQ(outcome.status, common::failure);
  if (world().is_root()) {
    EXPECT_THAT(outcome.text, AllOf(HasSubstr("problem  HDF5"), HasSubstr("Something is wrong")));
  }
}

TEST_F(Commands, EncodeAndDecodeAreInverse) {
  const std::string lines = "{\"text\":\"Hi, \xc3\xa4!\"}\n{\"text\":\"\"}\n";
  Outcome encoded{}, decoded{};
  {
    const StandardInput input(lines);
    encoded = outcome_of([] { return run(DataEncodeArguments{"bytes"}, world()); });
  }
  if (world().is_root()) {
    EXPECT_EQ(encoded.text, "[72,105,44,32,195,164,33]\n[]\n");
  }
  {
    const StandardInput input(encoded.text);
    decoded = outcome_of([] { return run(DataDecodeArguments{"bytes"}, world()); });
  }
  if (world().is_root()) {
    EXPECT_EQ(decoded.text, lines);
  }
}

TEST_F(Commands, EncodeAndDecodeNameTheLine) {
  const auto encode = [](const std::string& text) {
    const StandardInput input(text);
    testing::internal::CaptureStdout();
    const std::string said = refusal([] { run(DataEncodeArguments{"bytes"}, world()); });
    testing::internal::GetCapturedStdout();
    return said;
  };
  const auto decode = [](const std::string& text) {
    const StandardInput input(text);
    testing::internal::CaptureStdout();
    const std::string said = refusal([] { run(DataDecodeArguments{"bytes"}, world()); });
    testing::internal::GetCapturedStdout();
    return said;
  };
  EXPECT_THAT(encode("{\"text\": \"a\"}\n{\"txt\": 1}\n"),
              HasSubstr("line 2: column 1: the object has no field 'text', but"));
  EXPECT_THAT(encode("not json\n"), HasSubstr("line 1: column 1: 'n' stands where an object should begin"));
  EXPECT_THAT(decode("[1, -2]\n"), HasSubstr("line 1: -2 is no token id"));
  EXPECT_THAT(decode("[1]\n{}\n"), HasSubstr("line 2: expected an array of token ids"));
  EXPECT_THAT(decode("[300]\n"), HasSubstr("line 1: "));
  EXPECT_THAT(decode("[255]\n"), HasSubstr("line 1: its ids stand for bytes that are no UTF-8"));
  EXPECT_THAT(decode("[1\n"), HasSubstr("line 1: expected an array of token ids"));
}

TEST_F(Commands, PrepareAndInspect) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += fmt::format("{{\"text\": \"document {}\"}}\n", i);
  const fs::path input = write("t.jsonl", text), output = folder_ / "data";
  const Outcome prepared = outcome_of([&] {
    return run(
        DataPrepareArguments{
            .inputs = {input.string()}, .tokenizer = "bytes", .output = output, .validation = {0.1}},
        world());
  });
  const Outcome inspected = outcome_of([&] { return run(DataInspectArguments{output}, world()); });
  EXPECT_EQ(prepared.status, common::success);
  EXPECT_THAT(inspected.text, StartsWith(prepared.text));
  if (world().is_root()) {
    EXPECT_THAT(inspected.text, HasSubstr("every checksum and token id is right; it begins \"document 0\""));
    EXPECT_THAT(inspected.text, AllOf(HasSubstr("bytes"), HasSubstr("257"), HasSubstr("validation"),
                                      HasSubstr("10% asked for")));
  }
}

TEST_F(Commands, RanksThatSeeOtherInputsAreRefused) {
  if (world().size() == 1) GTEST_SKIP() << "there is no other rank";
  const fs::path inputs[] = {write("0.txt", "a text"), write("1.txt", "another text")};
  const std::string own = inputs[world().rank() == 0 ? 0 : 1].string();
  EXPECT_THAT(refusal([&] {
                run(DataPrepareArguments{.inputs = {own}, .tokenizer = "bytes", .output = folder_ / "data"},
                    world());
              }),
              AllOf(HasSubstr("Rank 1"), HasSubstr("sees other inputs than rank 0")));
  EXPECT_FALSE(fs::exists(folder_ / "data"));
}

TEST_F(Commands, Checkpoints) {
  common::Parameter parameter{.name = "w", .bucket = "embedding", .rows = 8, .columns = 4};
  parameter.blocks = {{.name = "w.weight", .shape = {8, 4}, .initial = common::normal(1)}};
  parallel::ParameterSpace space({&parameter}, {}, world().rank(), world().size());
  space.initialise(1);
  checkpoint::Store store(folder_ / "checkpoints", world());
  const std::string folder = folder_.string();
  EXPECT_THAT(refusal([&] { run(CheckpointVerifyArguments{folder}, world()); }),
              HasSubstr("holds no checkpoint"));
  for (const int64_t step : {5, 10}) checkpoint::Saver(store).save({.step = step}, space);

  const Outcome list = outcome_of([&] { return run(CheckpointListArguments{folder}, world()); });
  const Outcome inspect = outcome_of([&] { return run(CheckpointInspectArguments{folder + "@5"}, world()); });
  const Outcome sound = outcome_of([&] { return run(CheckpointVerifyArguments{folder + "@5"}, world()); });
  EXPECT_EQ(sound.status, common::success);
  EXPECT_THAT(refusal([&] { run(CheckpointInspectArguments{folder + "@7"}, world()); }),
              AllOf(HasSubstr("5"), HasSubstr("10")));
  if (world().is_root()) {
    EXPECT_THAT(list.text, AllOf(HasSubstr("step         5"), HasSubstr("step        10"), HasSubstr("UTC")));
    EXPECT_THAT(inspect.text, HasSubstr("w.weight"));
    EXPECT_THAT(sound.text, HasSubstr("step-5: sound"));
    const fs::path file = folder_ / "checkpoints/step-10/rank-00000.h5";
    std::string bytes = common::read_file(file);
    for (char& byte : bytes) byte = static_cast<char>(byte ^ 1);
    std::ofstream(file, std::ios::binary) << bytes;
  }
  world().barrier();
  const Outcome damaged = outcome_of([&] { return run(CheckpointVerifyArguments{folder}, world()); });
  EXPECT_EQ(damaged.status, common::failure);
  if (world().is_root()) {
    EXPECT_THAT(damaged.text, AllOf(HasSubstr("step-5: sound"), HasSubstr("step-10 is damaged:\n"),
                                    HasSubstr("rank-00000.h5"), Not(HasSubstr("step-10: sound"))));
  }
}

}  // namespace
}  // namespace sisa::launcher
