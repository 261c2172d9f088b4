// Parameter counts of the published sizes, without allocating any.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "common/error.h"
#include "model/costs.h"
#include "model/mixers/registry.h"

namespace sisa::tests {
namespace {

using model::ModelConfig;

struct Row {
  const char* system;
  int64_t d_model, num_heads, num_layers, d_state, d_ff, parameters;  // d_state 0: the system's default
};

// The project's budgets: the published widths with a vocabulary of 50,277.
constexpr Row rows[] = {
    {"transformer", 512, 8, 6, 0, 2048, 50'914'304},
    {"sisa", 512, 8, 6, 16, 1939, 50'917'472},
    {"sisa", 512, 8, 6, 32, 1832, 50'914'400},
    {"sisa", 512, 8, 6, 64, 1619, 50'917'472},
    {"sisa", 512, 8, 6, 128, 1192, 50'914'400},
    {"transformer", 768, 12, 12, 0, 3072, 151'878'144},
    {"sisa", 768, 12, 12, 16, 2908, 151'878'432},
    {"sisa", 768, 12, 12, 32, 2748, 151'878'432},
    {"sisa", 768, 12, 12, 64, 2428, 151'878'432},
    {"sisa", 768, 12, 12, 128, 1788, 151'878'432},
    {"transformer", 1024, 16, 24, 0, 2944, 369'252'352},
    {"sisa", 1024, 16, 24, 16, 2725, 369'228'544},
    {"sisa", 1024, 16, 24, 32, 2512, 369'253'120},
    {"sisa", 1024, 16, 24, 64, 2085, 369'228'544},
    {"sisa", 1024, 16, 24, 128, 1232, 369'253'120},
    {"fox", 512, 8, 6, 0, 2045, 50'911'280},
    {"fox", 768, 12, 12, 0, 3068, 151'878'288},
    {"fox", 1024, 16, 24, 0, 2939, 369'277'312},
    {"fox_pro", 512, 8, 6, 0, 1868, 50'911'280},
    {"fox_pro", 768, 12, 12, 0, 2803, 151'878'288},
    {"fox_pro", 1024, 16, 24, 0, 2586, 369'277'312},
    {"mamba2", 512, 0, 14, 0, 0, 48'897'440},
    {"mamba2", 768, 0, 31, 0, 0, 152'271'160},
    {"mamba2", 1024, 0, 49, 0, 0, 368'482'528},
    {"mamba3", 512, 0, 14, 0, 0, 49'176'768},
    {"mamba3", 768, 0, 30, 0, 0, 149'878'944},
    {"mamba3", 1024, 0, 48, 0, 0, 365'526'016},
    {"jamba", 512, 8, 8, 0, 1021, 50'919'120},
    {"jamba", 768, 12, 16, 0, 1552, 151'888'112},
    {"jamba", 1024, 16, 32, 0, 1219, 369'272'960},
    {"hymba", 512, 8, 6, 0, 1348, 50'916'384},
    {"hymba", 768, 12, 12, 0, 2053, 151'883'616},
    {"hymba", 1024, 16, 24, 0, 1604, 369'253'632},
    {"falcon_h1", 512, 8, 6, 0, 1486, 50'915'288},
    {"falcon_h1", 768, 12, 12, 0, 2252, 151'877'256},
    {"falcon_h1", 1024, 16, 24, 0, 1866, 369'244'864},
};

ModelConfig config_of(const Row& row) {
  ModelConfig c;
  c.system = row.system;
  c.d_model = row.d_model;
  if (row.num_heads > 0) c.settings["num_heads"] = row.num_heads;
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

Row row_of(const std::string& system, int64_t d_model) {
  for (const Row& row : rows)
    if (row.system == system && row.d_model == d_model) return row;
  throw std::runtime_error("no row of " + system);
}

// Spec 3 to 7, at 2,048 tokens and 152M parameters: what a system adds to another, or the sum of its parts.
TEST(Counts, ForwardFlopsOfTheOtherSystems) {
  const double d = 768, H = 12, L = 12, V = 50277, length = 2048;
  const auto flops = [&](const std::string& system, int64_t d_ff = -1, int64_t chunk_length = 0) {
    ModelConfig c = config_of(row_of(system, 768));
    if (d_ff >= 0) c.d_ff = d_ff;
    if (chunk_length > 0) c.settings["chunk_length"] = chunk_length;
    return model::forward_flops(c, 2048);
  };
  const double transformer = flops("transformer", 3000);
  EXPECT_NEAR(flops("fox", 3000) - transformer, 2 * L * d * H, 1);
  EXPECT_NEAR(flops("fox_pro", 3000) - transformer, 2 * L * (d * d + 3 * d * H), 1);
  EXPECT_NEAR(flops("mamba2", -1, 256) / 1e6, 341.9, 0.06);
  const double of_mamba3 = 2 * (d * (4 * d + 2 * 64 + 3 * 24 + 16) + 2 * d * d) + 24 * 4 * 2 * 64 * 64;
  EXPECT_NEAR(flops("mamba3", -1, 64), 2 * V * d + 30 * of_mamba3, 1);

  const auto mamba = [&](double inner) {  // a layer of Mamba-2 in chunks of 64
    const double N = 64, P = 64, Q = 64, h = inner / P;
    return 2 * (d * (2 * inner + 2 * N + h) + inner * d + 4 * (inner + 2 * N)) + 2 * Q * N +
           h * (2 * Q * P + 4 * N * P);
  };
  const double seen = (length + 1) / 2, head = 2 * V * d;
  EXPECT_NEAR(flops("jamba", 1000),
              head + 16 * 2 * 3 * d * 1000 + 14 * mamba(2 * d) + 2 * (2 * 4 * d * d + 4 * d * seen), 1);
  EXPECT_NEAR(flops("falcon_h1", 1000),
              head + 12 * (2 * 3 * d * 1000 + mamba(1.5 * d) + 2 * 2.5 * d * d + 4 * d * seen), 1);
  // Hymba: 128 meta tokens go through the layers as well. Three layers see all, nine 1,024 tokens and these.
  const double positions = 2048 + 128;
  double windowed = 0;
  for (int64_t i = 0; i < 2048 + 128; ++i)
    for (int64_t j = 0; j <= i; ++j) windowed += i - j < 1024 || j < 128;
  const double weights = d * (d + d / 4 + 2 * d / 4),
               pairs = 3 * positions * (positions + 1) / 2 + 9 * windowed;
  EXPECT_NEAR(
      flops("hymba", 1000) / (head + (12 * positions * (2 * 3 * d * 1000 + mamba(2 * d) + 2 * weights) +
                                      pairs * 2 * (d + 2 * d)) /
                                         length),
      1, 1e-12);
}

// Of a sequence, in bf16 with states in fp32.
TEST(Counts, CacheBytesOfTheOtherSystems) {
  const auto bytes = [](const std::string& system) {
    return model::cache_bytes(config_of(row_of(system, 768)), 2048) * 2048;
  };
  const double d = 768, H = 12, T = 2048, N = 64;
  EXPECT_NEAR(bytes("fox"), 12 * 2 * T * (2 * d + 3 * H), 1);
  EXPECT_NEAR(bytes("fox_pro"), 12 * 2 * (T * (2 * d + 3 * H) + 2 * d), 1);
  const auto state = [&](double inner) { return 2 * 3 * (inner + 2 * N) + 4 * inner * N; };
  EXPECT_NEAR(bytes("mamba2"), 31 * state(2 * d), 1);
  EXPECT_NEAR(bytes("mamba3"), 30 * (4 * (2 * d * N + 24 * N + 2 * d) + 8 * 24 * 16), 1);
  EXPECT_NEAR(bytes("jamba"), 14 * state(2 * d) + 2 * 2 * T * 2 * d, 1);
  EXPECT_NEAR(bytes("falcon_h1"), 12 * (state(1.5 * d) + 2 * T * 2 * d / 4), 1);
  EXPECT_NEAR(bytes("hymba"), 12 * state(2 * d) + 2 * (d / 4 + d / 2) * (3 * (T + 128) + 9 * (128 + 1024)),
              1);
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
    if (row.d_ff == 0) continue;
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
      {"heads of FoX",
       [](ModelConfig& c) {
         c.system = "fox";
         c.settings["num_heads"] = 7;
       },
       "model.num_heads = 7"},
      {"channels that make no heads",
       [](ModelConfig& c) {
         c.system = "mamba2";
         c.settings["d_inner"] = 100;
       },
       "model.head_dim = 64"},
      {"heads that share too much",
       [](ModelConfig& c) {
         c.system = "jamba";
         c.settings["num_kv_heads"] = 5;
       },
       "model.num_kv_heads is 5"},
      {"a layer too many",
       [](ModelConfig& c) {
         c.system = "jamba";
         c.settings["attention_layers"] = std::vector<int64_t>{3, 12};
       },
       "the last one is 11"},
      {"a layer twice",
       [](ModelConfig& c) {
         c.system = "hymba";
         c.settings["full_attention_layers"] = std::vector<int64_t>{3, 3};
       },
       "names layer 3 twice"},
      {"no layer",
       [](ModelConfig& c) {
         c.system = "jamba";
         c.settings["attention_layers"] = std::vector<int64_t>{-1};
       },
       "model.attention_layers is -1"},
      {"values that make no heads",
       [](ModelConfig& c) {
         c.system = "hymba";
         c.settings["d_inner"] = 640;
       },
       "d_inner = 640"},
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
