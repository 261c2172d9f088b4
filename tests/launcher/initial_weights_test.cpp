// Weights from a safetensors file and from a checkpoint, into every kind of space.
// tests/program/init_from_test.py has the program's.
#include "launcher/run/initial_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "checkpoint/contents.h"
#include "tests/checkpoint/run_folder.h"

namespace sisa::launcher {
namespace {

namespace fs = std::filesystem;
using common::Precision;
using testing::AllOf;
using testing::HasSubstr;
using tests::ToyModel;
using tests::world;

class InitialWeights : public tests::RunFolder {
 protected:
  static inline const std::vector<Precision> precisions = {Precision::fp32, Precision::fp64, Precision::bf16,
                                                           Precision::bf16_pure};

  // A safetensors file of the toy model's expected weights in `type`, called `dtype` there.
  fs::path write(c10::ScalarType type, const std::string& dtype,
                 const std::function<void(const std::string&, at::Tensor&)>& change = {}) {
    nlohmann::json header;
    std::string data;
    for (const auto& [name, shape] : checkpoint::arrays_of(toy().space)) {
      at::Tensor elements =
          tests::expected(name, parallel::StateArray::weights, 0, checkpoint::Array{name, shape}.numel())
              .to(type);
      if (change) change(name, elements);
      const size_t begin = data.size();
      data.append(static_cast<const char*>(elements.data_ptr()), elements.nbytes());
      header[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
    }
    const std::string text = header.dump();
    const uint64_t length = text.size();
    on_root([&] {
      std::ofstream(run / "a.safetensors", std::ios::binary)
          << std::string(reinterpret_cast<const char*>(&length), sizeof length) << text << data;
    });
    return run / "a.safetensors";
  }

  void expect_loaded(const std::string& reference, Precision saved_as) {
    for (const Precision precision : precisions)
      for (const bool sharded : {true, false})
        for (const bool training : {true, false}) {
          SCOPED_TRACE(testing::Message() << static_cast<int>(precision) << sharded << training);
          ToyModel model = toy({.precision = precision, .sharded = sharded, .training = training});
          load_initial_weights(reference, model.space, *communicator, world());
          model.expect_values(saved_as);
        }
  }

  std::string refusal(const std::string& reference, Precision precision = Precision::fp32) {
    ToyModel model = toy({.precision = precision});
    return error_of([&] { load_initial_weights(reference, model.space, *communicator, world()); });
  }
};

TEST_F(InitialWeights, OfASafetensorsFile) {
  expect_loaded(write(c10::kDouble, "F64"), Precision::fp64);
  expect_loaded(write(c10::kFloat, "F32"), Precision::fp32);
  ToyModel model = toy();
  EXPECT_EQ(load_initial_weights(run / "a.safetensors", model.space, *communicator, world()),
            run / "a.safetensors");
}

TEST_F(InitialWeights, OfACheckpoint) {
  save(1);
  save(2);
  expect_loaded(run, Precision::fp32);
  expect_loaded(run.string() + "@1", Precision::fp32);
  ToyModel model = toy();
  EXPECT_EQ(load_initial_weights(run, model.space, *communicator, world()), folder / "step-2");
  for (const parallel::FlatRange& range : model.space.ranges()) {
    EXPECT_FALSE(range.moment1.any().item<bool>());
    EXPECT_FALSE(range.moment2.any().item<bool>());
  }
}

TEST_F(InitialWeights, NoNumber) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    write(c10::kFloat, "F32", [=](const std::string& name, at::Tensor& elements) {
      if (name == "layers.0.W_K.weight") elements[89] = bad;
    });
    EXPECT_THAT(refusal(run / "a.safetensors"),
                HasSubstr(fmt::format(
                    "a.safetensors holds {} at element 89 of layers.0.W_K.weight; a finite number, in "
                    "this precision as float32, was expected. Name a file of sound weights",
                    bad)));
  }
}

TEST_F(InitialWeights, NumbersTooLargeForThePrecision) {
  write(c10::kDouble, "F64", [](const std::string& name, at::Tensor& elements) {
    if (name == "final_norm.weight") elements[3] = -1e300;
  });
  EXPECT_THAT(refusal(run / "a.safetensors"), HasSubstr("holds -1e+300 at element 3 of final_norm.weight"));
  EXPECT_THAT(refusal(run / "a.safetensors", Precision::bf16_pure), HasSubstr("as bfloat16, was expected"));
  ToyModel model = toy({.precision = Precision::fp64});
  load_initial_weights(run / "a.safetensors", model.space, *communicator, world());
}

TEST_F(InitialWeights, AFileThatOneRankSeesOtherwise) {
  write(c10::kFloat, "F32");
  ToyModel model = toy();
  const fs::path file = run / (world().rank() + 1 == world().size() ? "gone.safetensors" : "a.safetensors");
  EXPECT_THAT(
      error_of([&] { load_initial_weights(file, model.space, *communicator, world()); }),
      HasSubstr("run.init_from is " + (run / "gone.safetensors").string() +
                ", and there is no such file or folder. Name a safetensors file, or a run's folder as RUN or "
                "RUN@STEP."));
}

TEST_F(InitialWeights, RunsThatHaveNoSuchCheckpoint) {
  EXPECT_THAT(refusal(run), HasSubstr("has no checkpoint yet"));
  save(1);
  EXPECT_THAT(refusal(run.string() + "@7"), HasSubstr("There is no checkpoint of step 7"));
  EXPECT_THAT(refusal(run.string() + "@x"), HasSubstr("does not name a step"));
}

}  // namespace
}  // namespace sisa::launcher
