// Parameter counts of the published sizes, without allocating any.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "model/costs.h"
#include "model/mixers/registry.h"

namespace sisa::tests {
namespace {

using model::ModelConfig;

struct Row {
  const char* system;
  int64_t d_model, num_heads, num_layers, d_state, d_ff, parameters;
};

// The project's budgets: the published widths with a vocabulary of 50,277.
constexpr Row rows[] = {
    {"transformer", 512, 8, 6, 0, 2048, 50'914'304},     {"sisa", 512, 8, 6, 16, 1939, 50'917'472},
    {"sisa", 512, 8, 6, 32, 1832, 50'914'400},           {"sisa", 512, 8, 6, 64, 1619, 50'917'472},
    {"sisa", 512, 8, 6, 128, 1192, 50'914'400},          {"transformer", 768, 12, 12, 0, 3072, 151'878'144},
    {"sisa", 768, 12, 12, 16, 2908, 151'878'432},        {"sisa", 768, 12, 12, 32, 2748, 151'878'432},
    {"sisa", 768, 12, 12, 64, 2428, 151'878'432},        {"sisa", 768, 12, 12, 128, 1788, 151'878'432},
    {"transformer", 1024, 16, 24, 0, 2944, 369'252'352}, {"sisa", 1024, 16, 24, 16, 2725, 369'228'544},
    {"sisa", 1024, 16, 24, 32, 2512, 369'253'120},       {"sisa", 1024, 16, 24, 64, 2085, 369'228'544},
    {"sisa", 1024, 16, 24, 128, 1232, 369'253'120},
};

ModelConfig config_of(const Row& row) {
  ModelConfig c;
  c.system = row.system;
  c.d_model = row.d_model;
  c.settings["num_heads"] = row.num_heads;
  c.num_layers = row.num_layers;
  c.d_ff = row.d_ff;
  if (row.d_state > 0) c.settings["d_state"] = row.d_state;
  return c;
}

TEST(Counts, PublishedSizes) {
  for (const Row& row : rows)
    EXPECT_EQ(model::num_parameters(config_of(row)), row.parameters) << row.system << " " << row.d_ff;
}

// Spec 1.3: millions, at 2,048 tokens and 152M parameters.
TEST(Counts, ForwardFlops) {
  const double expected[] = {341.5, 346.2, 350.9, 360.4, 379.3};
  for (size_t i = 0; i < 5; ++i)
    EXPECT_NEAR(model::forward_flops(config_of(rows[5 + i]), 2048) / 1e6, expected[i], 0.06)
        << rows[5 + i].d_state;
}

// Counted by hand, pass by pass, in the order in which a layer works: bytes for each of d, d_ff, state
// channels, angles, alphas and heads of a token.
TEST(Counts, ActivationBytesAreThoseOfThePasses) {
  const double d = 768, L = 12, H = 12, V = 50277;
  const int64_t length = 2048;
  // The first norm adds nothing; the last has no gradient of its sum; head with logits; embedding.
  const double ends = -4 * d + 14 * d + (6 * (d + V) + 4 * V) + 22 * d;
  // Norms 2 16, projections 24, channels 8 + 10, attention 8 + 20, W_O 12, feed-forward's products 12.
  const double with_d = 32 + 24 + 18 + 28 + 12 + 12, with_f = 34, with_heads = 16;
  const ModelConfig transformer = config_of(rows[5]);
  EXPECT_DOUBLE_EQ(model::activation_bytes(transformer, length),
                   L * (with_d * d + with_f * 3072 + with_heads * H) + ends);

  // Projections 12, channels 8 + 16, attention 4 + 12; gates read x once more; amplitudes.
  const double with_state = 12 + 24 + 16, with_angles = 34, with_alphas = 50;
  ModelConfig sisa = config_of(rows[6]);  // d_state 16
  const double state = with_d * d + with_f * 2908 + (with_heads + 4) * H + with_state * 16 * H,
               gates = 2 * d + with_angles * 8 * H + with_alphas * H;
  EXPECT_DOUBLE_EQ(model::activation_bytes(sisa, length), L * (state + gates) + ends);
  sisa.settings["rotation"] = "none";
  EXPECT_DOUBLE_EQ(model::activation_bytes(sisa, length), L * (state + gates - with_angles * 8 * H) + ends);
  sisa.settings["decay"] = "none";
  EXPECT_DOUBLE_EQ(model::activation_bytes(sisa, length), L * state + ends);

  ModelConfig narrow = transformer;
  narrow.d_ff = 0;
  EXPECT_DOUBLE_EQ(model::activation_bytes(narrow, length),
                   L * ((with_d - 16 - 12) * d + with_heads * H) + ends);

  // Forward again: norms 8 + 8, projections 8, channels 8, attention 8, W_O 4, feed-forward 4 and 12.
  EXPECT_DOUBLE_EQ(
      model::activation_bytes(transformer, length, 2) - model::activation_bytes(transformer, length),
      2 * (48 * d + 12 * 3072 + 4 * H) - 4 * d);
}

// 12 bytes a weight, the head's for every 8,192 tokens; two more for each layer that goes forward again.
TEST(Counts, WeightBytes) {
  const ModelConfig config = config_of(rows[5]);
  const double layers = 12.0 * (4 * 768 * 768 + 3 * 768 * 3072), head = 50277.0 * 768;
  EXPECT_DOUBLE_EQ(model::weight_bytes(config, 2048), 12 * (layers + head));
  EXPECT_DOUBLE_EQ(model::weight_bytes(config, 8193), 12 * (layers + 2 * head));
  EXPECT_DOUBLE_EQ(model::weight_bytes(config, 2048, 12), 14 * layers + 12 * head);
}

TEST(Counts, MatchFindsTheWidthBack) {
  for (const Row& row : rows) {
    ModelConfig c = config_of(row);
    c.d_ff = 7;  // takes no part
    EXPECT_EQ(model::match_d_ff(c, row.parameters), row.d_ff);
  }
}

TEST(Counts, MatchRefusesTooFew) {
  try {
    model::match_d_ff(config_of(rows[0]), 1000);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("1,000"), testing::HasSubstr("d_ff")));
  }
}

struct Wrong {
  const char* what;
  void (*change)(ModelConfig&);
  const char* says;
};

TEST(Config, RefusesWhatMakesNoNetwork) {
  const Wrong wrongs[] = {
      {"unknown system", [](ModelConfig& c) { c.system = "sissa"; }, "Did you mean 'sisa'?"},
      {"no layers", [](ModelConfig& c) { c.num_layers = 0; }, "model.num_layers is 0"},
      {"negative width", [](ModelConfig& c) { c.d_model = -768; }, "model.d_model is -768"},
      {"no vocabulary", [](ModelConfig& c) { c.vocab_size = 0; }, "model.vocab_size is 0"},
      {"negative SwiGLU", [](ModelConfig& c) { c.d_ff = -1; }, "model.d_ff is -1"},
      {"no heads", [](ModelConfig& c) { c.settings["num_heads"] = 0; }, "model.num_heads is 0"},
      {"heads that do not divide", [](ModelConfig& c) { c.settings["num_heads"] = 7; },
       "model.num_heads = 7"},
      {"odd head", [](ModelConfig& c) { c.d_model = 12; }, "must be even"},
      {"RoPE base", [](ModelConfig& c) { c.settings["rope_base"] = 0; }, "model.rope_base is 0"},
      {"odd state", [](ModelConfig& c) { c.settings["d_state"] = 5; }, "model.d_state is 5"},
      {"offset", [](ModelConfig& c) { c.settings["offset"] = "none"; }, "causal or minimax"},
      {"decay", [](ModelConfig& c) { c.settings["decay"] = "some"; }, "learned or none"},
      {"rotation", [](ModelConfig& c) { c.settings["rotation"] = "some"; }, "learned or none"},
      {"lambda", [](ModelConfig& c) { c.settings["lambda"] = "free"; }, "learned or fixed"},
      {"clamp", [](ModelConfig& c) { c.settings["clamp"] = 100; }, "model.clamp is 100"},
      {"segments", [](ModelConfig& c) { c.settings["max_segments"] = -1; }, "model.max_segments is -1"},
      {"causal offset", [](ModelConfig& c) { c.settings["causal_offset"] = -60; },
       "model.causal_offset is -60"},
  };
  model::completed({});
  for (const Wrong& wrong : wrongs) {
    ModelConfig c;
    wrong.change(c);
    try {
      model::completed(c);
      ADD_FAILURE() << wrong.what << " was accepted";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(wrong.says));
    }
  }
}

}  // namespace
}  // namespace sisa::tests
