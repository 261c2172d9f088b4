// Which checkpoint of a run is opened, and what is made of it.
#include "launcher/run/opened_run.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "checkpoint/saver.h"
#include "checkpoint/store.h"
#include "common/parameter.h"
#include "common/precision.h"
#include "launcher/recipe/recipe.h"
#include "model/language_model.h"
#include "parallel/parameter_space.h"
#include "tests/checkpoint/run_folder.h"

namespace sisa::launcher {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using tests::world;

class OpenedRunTest : public tests::RunFolder {
 protected:
  int64_t step_opened() { return OpenedRun(run, world()).checkpoint.step; }
  std::string refusal(const std::string& reference) {
    return error_of([&] { OpenedRun(reference, world()); });
  }
  void damage(int64_t step) {
    on_root([&] { flip_bit(folder / fmt::format("step-{}", step) / "rank-00000.h5", 5000); });
  }
};

TEST_F(OpenedRunTest, TheNewestOrTheOneThatIsNamed) {
  save(1);
  save(2);
  EXPECT_EQ(step_opened(), 2);
  const OpenedRun named(run.string() + "@1", world());
  EXPECT_EQ(named.checkpoint.step, 1);
  EXPECT_EQ(named.folder.path, run);
  EXPECT_EQ(named.contents().state.samples, 8);
  EXPECT_THAT(refusal(run.string() + "@7"), HasSubstr("There is no checkpoint of step 7"));
}

TEST_F(OpenedRunTest, ReferencesThatNameNoRun) {
  EXPECT_THAT(refusal(run / "absent"),
              AllOf(HasSubstr("There is no run"), HasSubstr("absent: no such folder")));
  for (const char* step : {"", "x", "-1", "1x"})
    EXPECT_THAT(refusal(run.string() + "@" + step), HasSubstr("does not name a step"));
  const fs::path with_at = run / "a@b";
  on_root([&] { fs::create_directories(with_at); });
  EXPECT_EQ(parse_run_reference(with_at).folder.path, with_at);
  EXPECT_EQ(parse_run_reference(with_at.string() + "@3").step, 3);
}

TEST_F(OpenedRunTest, DamagedOnesArePassedOverAndTold) {
  save(1);
  save(2);
  damage(2);
  testing::internal::CaptureStderr();
  EXPECT_EQ(step_opened(), 1);
  const std::string told = testing::internal::GetCapturedStderr();
  if (world().is_root()) {
    EXPECT_THAT(told, HasSubstr("step-2"));
  } else {
    EXPECT_EQ(told, "");
  }
  damage(1);
  testing::internal::CaptureStderr();
  EXPECT_THAT(refusal(run),
              AllOf(HasSubstr("None of the checkpoints"), testing::Not(HasSubstr("sisa train"))));
  testing::internal::GetCapturedStderr();
}

TEST_F(OpenedRunTest, WeightsAloneWhereNoneCanResume) {
  save(1, {.moments = false});
  EXPECT_EQ(step_opened(), 1);
  save(2);
  save(3, {.moments = false});
  EXPECT_EQ(step_opened(), 2);
}

TEST_F(OpenedRunTest, RunsWithoutACheckpoint) {
  EXPECT_THAT(refusal(run), HasSubstr("has no checkpoint yet. Train it with `sisa train`"));
}

// A run that has saved a network of the recipe at step 5.
class OpenedNetwork : public OpenedRunTest {
 protected:
  OpenedNetwork() {
    space.initialise(recipe.run.seed);
    const checkpoint::Store store(folder, world());
    checkpoint::Saver(store).save({.step = 5, .recipe = print_recipe(recipe)}, space);
  }

  Recipe recipe = parse_recipe(
      "run: {precision: fp32, device: cpu}\n"
      "model: {vocab_size: 257, d_model: 32, num_layers: 2, num_heads: 2, d_ff: 44}\n",
      "test");
  model::LanguageModel model{recipe.model, recipe.run.precision, /*pad_to=*/8};
  parallel::ParameterSpace space{model.parameters(), {}, world().rank(), world().size()};
  at::Tensor tokens = at::arange(24).reshape({2, 12});  // (B, T)
};

TEST_F(OpenedNetwork, HasTheRecipeOfItsCheckpoint) {
  const OpenedRun opened(run, world());
  EXPECT_EQ(opened.recipe().model.d_ff, 44);
  EXPECT_EQ(opened.recipe().run.output, run);
  EXPECT_EQ(opened.recipe({"run.seed=7"}).run.seed, 7u);
  EXPECT_THAT(error_of([&] { opened.recipe({"run.devise=cpu"}); }), HasSubstr("'device'"));
}

TEST_F(OpenedNetwork, ComputesWhatWasSaved) {
  const TrainedModel trained = OpenedRun(run, world()).load_model();
  EXPECT_EQ(trained.step, 5);
  EXPECT_FALSE(trained.space->options().training);
  EXPECT_TRUE(trained.model->logits(tokens).equal(model.logits(tokens)));
  const TrainedModel wide = OpenedRun(run, world()).load_model({"run.precision=fp64"});
  EXPECT_EQ(wide.model->logits(tokens).scalar_type(), at::kDouble);
  EXPECT_THAT(error_of([&] { OpenedRun(run, world()).load_model({"model.d_model=64"}); }),
              HasSubstr("is of another model"));
}

TEST_F(OpenedNetwork, HasGradientsInFp64) {
  const TrainedModel trained = OpenedRun(run, world()).load_model_with_gradients();
  EXPECT_EQ(trained.recipe.run.precision, common::Precision::fp64);
  EXPECT_TRUE(trained.device.is_cpu());
  EXPECT_TRUE(trained.model->logits(tokens).allclose(model.logits(tokens).to(at::kDouble), 1e-4, 1e-4));
  trained.model->loss_sum(tokens, tokens).backward();
  for (const common::Parameter* parameter : trained.space->parameters()) {
    EXPECT_EQ(parameter->gradient.scalar_type(), at::kDouble) << parameter->name;
    EXPECT_TRUE(parameter->gradient.any().item<bool>()) << parameter->name;
  }
}

}  // namespace
}  // namespace sisa::launcher
