#include "evaluation/held_out.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "data/prepare/prepare.h"
#include "data/tokenizer/make_tokenizer.h"
#include "tests/model/bound_model.h"

namespace sisa::tests {
namespace {

TEST(HeldOut, SharesAddUpWhateverTheBatch) {
  const auto folder = std::filesystem::path(testing::TempDir()) / ("held-out-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  {
    std::ofstream text(folder / "text.txt");
    for (int i = 0; i < 400; ++i) text << "line " << i * i << " of a text\n";
  }
  data::prepare({.inputs = {folder / "text.txt"}, .output = folder / "data", .validation = 0.3},
                *data::make_tokenizer("bytes"));
  std::vector<data::TokenDataset> datasets;
  datasets.push_back(data::TokenDataset::open(folder / "data", data::Split::validation));
  const data::HeldOut held_out(std::move(datasets), 32);
  ASSERT_GT(held_out.size(), 20);

  model::ModelConfig config;
  config.vocab_size = 257;
  config.d_model = 16;
  config.num_heads = 2;
  config.num_layers = 1;
  config.d_ff = 16;
  config.d_state = 4;
  BoundModel bound(config, common::Precision::fp64);
  const auto score = [&](int64_t begin, int64_t end, int64_t batch) {
    return evaluation::score_held_out(bound.model, held_out, begin, end, batch, at::kCPU);
  };
  const int64_t n = held_out.size();
  const auto whole = score(0, n, 4), one = score(0, 7, 1), other = score(7, n, 100);
  EXPECT_EQ(whole.tokens, n * 32);
  EXPECT_EQ(one.tokens + other.tokens, whole.tokens);
  EXPECT_NEAR(one.nats + other.nats, whole.nats, 1e-9 * whole.nats);
  EXPECT_NEAR(whole.nats / static_cast<double>(whole.tokens), std::log(257.0), 0.5);  // an untrained model
  EXPECT_EQ(score(3, 3, 4).tokens, 0);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace sisa::tests
