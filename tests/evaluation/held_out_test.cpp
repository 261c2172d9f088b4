#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "data/prepare/prepare.h"
#include "data/tasks/registry.h"
#include "data/tokenizer/make_tokenizer.h"
#include "evaluation/registry.h"
#include "tests/evaluation/small_model.h"

namespace sisa::tests {
namespace {

class HeldOutScorers : public testing::Test {
 protected:
  HeldOutScorers() {
    std::filesystem::create_directories(folder_);
    {
      std::ofstream text(folder_ / "text.txt");
      for (int i = 0; i < 400; ++i) text << "line " << i * i << " of a text\n";
    }
    data::prepare({.inputs = {folder_ / "text.txt"}, .output = folder_ / "data", .validation = 0.3},
                  *data::make_tokenizer("bytes"));
    datasets_.push_back(data::TokenDataset::open(folder_ / "data", data::Split::validation));
  }
  ~HeldOutScorers() override { std::filesystem::remove_all(folder_); }

  // The scorers of all windows and tasks, without the bigram model.
  evaluation::Scorers scorers(const data::HeldOut& held_out, int64_t micro_batch) {
    auto all = evaluation::make_scorers({.model = bound_.model,
                                         .device = at::kCPU,
                                         .micro_batch = micro_batch,
                                         .held_out = held_out,
                                         .num_windows = held_out.num_windows(),
                                         .open_training_text = {}});
    std::erase_if(all, [](const auto& scorer) { return scorer->role() == evaluation::Role::baseline; });
    return all;
  }

  std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / ("held-out-" + std::to_string(getpid()));
  std::vector<data::TokenDataset> datasets_;
  BoundModel bound_ = small_model(257);
};

TEST_F(HeldOutScorers, SharesAddUpWhateverTheBatch) {
  const data::HeldOut held_out(std::move(datasets_), 32);
  ASSERT_GT(held_out.size(), 20);
  const auto score = [&](int64_t begin, int64_t end, int64_t micro_batch) {
    const auto all = scorers(held_out, micro_batch);
    EXPECT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0]->size(), held_out.size());
    return all[0]->score(begin, end);
  };
  const int64_t n = held_out.size();
  const auto whole = score(0, n, 4), one = score(0, 7, 1), other = score(7, n, 100);
  EXPECT_EQ(whole["tokens"], static_cast<double>(n * 32));
  EXPECT_EQ(one["tokens"] + other["tokens"], whole["tokens"]);
  EXPECT_NEAR(one["nats"] + other["nats"], whole["nats"], 1e-9 * whole["nats"]);
  EXPECT_NEAR(whole["nats"] / whole["tokens"], std::log(257.0), 0.5);  // an untrained model
  EXPECT_EQ(score(3, 3, 4)["tokens"], 0);
}

TEST_F(HeldOutScorers, EachTaskHasItsOwnAndTextKnowsItsBytes) {
  const data::TaskShape shape{.vocab_size = 257, .sequence_length = 32};
  std::vector<data::TaskSamples> tasks;
  for (const char* name : {"mqar", "parity"}) {
    data::TaskOptions options{.name = name, .held_out = 10};
    for (const data::TaskKey& key : data::find_task(name)->keys) options.values[key.name] = key.default_value;
    if (options.values.contains("num_pairs")) options.values["num_pairs"] = 3;
    tasks.emplace_back(options, shape, /*seed=*/1, data::Split::validation);
  }
  const data::HeldOut held_out(std::move(datasets_), 32, std::move(tasks));
  const auto all = scorers(held_out, 4);
  ASSERT_EQ(all.size(), 3u);

  const auto text = all[0]->score(0, all[0]->size());
  EXPECT_EQ(all[0]->name(), "text");
  EXPECT_FALSE(text.has("answers"));
  ASSERT_EQ(all[0]->headline(text).size(), 1u);
  EXPECT_EQ(all[0]->headline(text)[0].name, "nats_per_byte");
  EXPECT_DOUBLE_EQ(std::get<double>(all[0]->headline(text)[0].value),
                   text["nats"] / text["tokens"] * held_out.tokens_per_byte());

  const auto mqar = all[1]->score(0, all[1]->size()), parity = all[2]->score(0, all[2]->size());
  EXPECT_EQ(all[1]->name(), "mqar");
  EXPECT_EQ(all[2]->name(), "parity");
  EXPECT_EQ(mqar["answers"], 10 * 3);
  EXPECT_EQ(parity["answers"], 10 * 32);
  EXPECT_EQ(parity["tokens"], 10 * 32);
  EXPECT_LE(parity["correct"], parity["answers"]);
  EXPECT_TRUE(all[2]->headline(parity).empty());
}

}  // namespace
}  // namespace sisa::tests
