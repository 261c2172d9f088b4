#include "checkpoint/export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <iterator>
#include <string>

#include "checkpoint/master_file.h"
#include "checkpoint/safetensors.h"
#include "tests/checkpoint/run_folder.h"
#include "tests/launcher/refusal.h"

namespace sisa::tests {
namespace {

namespace fs = std::filesystem;
using checkpoint::Array;
using checkpoint::Disk;
using checkpoint::SafetensorsFile;
using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;

class Export : public RunFolder {
 protected:
  Export() { save(3); }

  void write(c10::ScalarType type, const Disk& disk = {}) const {
    checkpoint::export_safetensors(folder / "step-3", checkpoint::read_master(folder / "step-3"), file, type,
                                   disk);
  }
  int64_t files() const {
    return std::distance(fs::directory_iterator(run), fs::directory_iterator()) - 1;  // but `checkpoints`
  }

  fs::path file = run / "a.safetensors";
};

TEST_F(Export, HoldsEveryParameterWhole) {
  on_root([&] {
    for (const auto type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
      write(type);  // a file of that name is replaced
      const SafetensorsFile exported(file);
      const auto contents = checkpoint::read_master(folder / "step-3");
      ASSERT_EQ(exported.tensors().size(), contents.arrays.size());
      for (const Array& array : contents.arrays) {
        ASSERT_TRUE(exported.tensors().contains(array.name)) << array.name;
        EXPECT_EQ(exported.tensors().at(array.name).shape, array.shape) << array.name;
        const at::Tensor right =
            expected(array.name, parallel::StateArray::weights, 0, array.numel()).to(at::kFloat).to(type);
        EXPECT_TRUE(exported.read(array.name, 0, array.numel()).equal(right)) << array.name;
      }
      EXPECT_EQ(files(), 1);
    }
  });
}

TEST_F(Export, TellsWhereTheRunStood) {
  on_root([&] {
    write(at::kFloat);
    const SafetensorsFile exported(file);
    EXPECT_EQ(exported.metadata().at("format"), "pt");
    const checkpoint::RunState told = checkpoint::state_from_metadata(exported), right = state(3);
    EXPECT_EQ(told.step, right.step);
    EXPECT_EQ(told.updates, right.updates);
    EXPECT_EQ(told.samples, right.samples);
    EXPECT_EQ(told.tokens, right.tokens);
    EXPECT_EQ(told.recipe, right.recipe);
  });
}

// Whichever call fails, the error names the disk's reason and no file is left.
TEST_F(Export, AFailingDiskLeavesNoFile) {
  on_root([&] {
    int calls = 0;
    Disk counting;
    counting.write = [&](int fd, const void* data, size_t size, off_t offset) {
      ++calls;
      return ::pwrite(fd, data, size, offset);
    };
    write(at::kFloat, counting);
    EXPECT_EQ(calls, 8);  // the header and seven tensors
    fs::remove(file);
    for (int failing = 1; failing <= calls; ++failing) {
      Disk full;
      full.write = [&, left = failing](int fd, const void* data, size_t size,
                                       off_t offset) mutable -> ssize_t {
        if (--left > 0) return ::pwrite(fd, data, size, offset);
        errno = ENOSPC;
        return -1;
      };
      EXPECT_THAT(
          refusal([&] { write(at::kFloat, full); }),
          AllOf(HasSubstr("Cannot write"), HasSubstr("a.safetensors"), EndsWith("No space left on device")));
      EXPECT_EQ(files(), 0) << failing;
    }
    Disk broken;
    broken.sync = [](int) {
      errno = EIO;
      return -1;
    };
    EXPECT_THAT(refusal([&] { write(at::kFloat, broken); }), EndsWith("Input/output error"));
    EXPECT_EQ(files(), 0);
  });
}

TEST_F(Export, CountersThatAreNone) {
  on_root([&] {
    for (const std::string text : {"", "-1", "1.5", "ten", "5 ", "9223372036854775808"}) {
      checkpoint::SafetensorsWriter(file, {}, at::kFloat, {{"tokens", text}}).finish();
      EXPECT_EQ(refusal([&] { checkpoint::state_from_metadata(SafetensorsFile(file)); }),
                file.string() + " has in its metadata the tokens '" + text +
                    "'; a whole number from 0 on was expected. Export it again, or take that entry out.");
    }
    checkpoint::SafetensorsWriter(file, {}, at::kFloat, {{"tokens", "9223372036854775807"}, {"by", "us"}})
        .finish();
    const checkpoint::RunState told = checkpoint::state_from_metadata(SafetensorsFile(file));
    EXPECT_EQ(told.tokens, INT64_MAX);
    EXPECT_EQ(told.step, 0);
    EXPECT_EQ(told.recipe, "");
  });
}

}  // namespace
}  // namespace sisa::tests
