// A folder that all ranks share during one test.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <system_error>

#include "checkpoint/saver.h"
#include "common/error.h"
#include "parallel/communicator.h"
#include "tests/checkpoint/toy_model.h"
#include "tests/mpi_world.h"

namespace sisa::tests {

class RunFolder : public testing::Test {
 protected:
  RunFolder() {
    std::string path = (std::filesystem::temp_directory_path() / "sisa-checkpoint-XXXXXX").string();
    if (world().is_root()) path = ::mkdtemp(path.data());
    world().broadcast(path);
    run = path;
    folder = run / "checkpoints";
  }
  ~RunFolder() override {
    world().barrier();
    std::error_code ignored;
    if (world().is_root()) std::filesystem::remove_all(run, ignored);
  }

  // Runs `work` on the root while the others wait.
  void on_root(const std::function<void()>& work) {
    world().barrier();
    if (world().is_root()) work();
    world().barrier();
  }

  ToyModel toy(const ToyModel::Options& options = {}) const {
    return ToyModel(options, world().rank(), world().size());
  }

  static checkpoint::RunState state(int64_t step) {
    return {
        .step = step,
        .updates = step - 1,
        .samples = 8 * step,
        .tokens = 800 * step,
        .recipe = "run:\n  seed: 1\nmodel:\n  system: sisa\n  d_model: 10\ntrain:\n  max_tokens: 5B tokens\n",
        .code_version = "test",
        .extra = R"({"best": 1.5})"};
  }

  checkpoint::SaveReport save(int64_t step, const checkpoint::SaveOptions& options = {}) {
    const checkpoint::Store store(folder, world());
    return checkpoint::Saver(store).save(state(step), toy().fill().space, options);
  }

  // The message of the Error that `work` must throw, the same one on all ranks.
  static std::string error_of(const std::function<void()>& work) {
    std::string text;
    try {
      work();
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      text = error.what();
    }
    for (const std::string& other : world().all_gather(text)) EXPECT_EQ(other, text);
    return text;
  }

  // Changes one bit of a file.
  static void flip_bit(const std::filesystem::path& file, int64_t byte);

  std::filesystem::path run, folder;
  std::unique_ptr<parallel::Communicator> communicator = parallel::make_mpi_communicator(world());
};

inline void RunFolder::flip_bit(const std::filesystem::path& file, int64_t byte) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(byte);
  const auto changed = static_cast<char>(stream.get() ^ 4);
  stream.seekp(byte);
  stream.put(changed);
  ASSERT_TRUE(stream.flush());
}

}  // namespace sisa::tests
