#include "common/parameter.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "common/precision.h"

namespace sisa::common {
namespace {

// A stored matrix of 6 x 8 with two blocks, 3 x 5 at row 0 and 2 x (2, 4) at row 4.
Parameter two_blocks() {
  Parameter p;
  p.name = "projections";
  p.rows = 6;
  p.columns = 8;
  p.blocks = {{"a", {3, 5}, 0, normal(0.02)}, {"b", {2, 2, 4}, 4, constant(1)}};
  return p;
}

std::vector<double> draw(const Block& block, uint64_t seed, int64_t begin, int64_t end) {
  std::vector<double> values(static_cast<size_t>(end - begin));
  initial_values(block, seed, begin, end, values.data());
  return values;
}

TEST(ParameterTest, CountsLogicalElementsOnly) {
  Parameter p = two_blocks(), q = two_blocks();
  EXPECT_EQ(p.numel(), 48);
  EXPECT_EQ(p.block("a").numel(), 15);
  EXPECT_EQ(p.block("b").columns(), 8);
  EXPECT_EQ(p.block("b").numel(), 16);
  EXPECT_EQ(count_elements({&p, &q}), 62);
  EXPECT_EQ(count_elements({}), 0);
}

TEST(ParameterTest, AnUnknownBlockIsOurMistake) {
  EXPECT_THROW(two_blocks().block("c"), c10::Error);
}

TEST(ParameterTest, ViewsShareTheStoredMemory) {
  const Parameter p = two_blocks();
  const at::Tensor stored = at::arange(48, at::kDouble).view({6, 8});
  const at::Tensor a = p.view(stored, p.block("a")), b = p.view(stored, p.block("b"));
  EXPECT_EQ(a.sizes(), (std::vector<int64_t>{3, 5}));
  EXPECT_EQ(b.sizes(), (std::vector<int64_t>{2, 2, 4}));
  EXPECT_EQ(a[2][4].item<double>(), 2 * 8 + 4);
  EXPECT_EQ(b[1][1][3].item<double>(), 47);
  a.fill_(-1);
  b.fill_(-2);
  EXPECT_EQ(stored.sum().item<double>(),
            -15 - 2 * 16 + (5 + 6 + 7) + (13 + 14 + 15) + (21 + 22 + 23) + 8 * 27.5);
}

TEST(ParameterTest, ViewsVectors) {
  Parameter p;
  p.rows = 8;
  p.blocks = {{"norm", {5}, 0, constant(1)}, {"bias", {2, 1}, 6, constant(0)}};
  const at::Tensor stored = at::arange(8, at::kDouble);
  EXPECT_EQ(p.view(stored, p.block("norm")).sizes(), (std::vector<int64_t>{5}));
  const at::Tensor bias = p.view(stored, p.block("bias"));
  EXPECT_EQ(bias.sizes(), (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(bias[1][0].item<double>(), 7);

  Parameter matrix;  // a vector stored as the one column of a padded matrix
  matrix.rows = 4;
  matrix.columns = 2;
  matrix.blocks = {{"v", {3}, 1, constant(0)}};
  const at::Tensor v = matrix.view(at::arange(8, at::kDouble).view({4, 2}), matrix.block("v"));
  EXPECT_EQ(v.sizes(), (std::vector<int64_t>{3}));
  EXPECT_EQ(v[2].item<double>(), 6);
}

TEST(ParameterTest, InitialValuesDoNotDependOnHowTheyAreCut) {
  const Block block = two_blocks().block("a");
  const std::vector<double> whole = draw(block, 1, 0, 15);
  for (int64_t cut = 0; cut <= 15; ++cut) {
    std::vector<double> parts = draw(block, 1, 0, cut);
    const std::vector<double> rest = draw(block, 1, cut, 15);
    parts.insert(parts.end(), rest.begin(), rest.end());
    EXPECT_EQ(parts, whole) << cut;
  }
}

TEST(ParameterTest, InitialValuesDependOnSeedAndNameAlone) {
  Block block = two_blocks().block("a");
  const std::vector<double> values = draw(block, 1, 0, 15);
  EXPECT_NE(draw(block, 2, 0, 15), values);
  block.row = 3;  // where it is stored does not matter
  EXPECT_EQ(draw(block, 1, 0, 15), values);
  block.name = "other";
  EXPECT_NE(draw(block, 1, 0, 15), values);
}

TEST(ParameterTest, NormalHasItsMoments) {
  const int64_t n = 200'000;
  const Block block{"W", {n}, 0, normal(0.02)};
  double sum = 0, squares = 0, fourth = 0;
  for (const double x : draw(block, 3, 0, n)) {
    const double z = x / 0.02;
    ASSERT_TRUE(std::isfinite(z));
    sum += z;
    squares += z * z;
    fourth += z * z * z * z;
  }
  // Standard errors: 1, sqrt(2) and sqrt(96) over sqrt(n); bounds at five of them.
  EXPECT_NEAR(sum / n, 0, 0.012);
  EXPECT_NEAR(squares / n, 1, 0.016);
  EXPECT_NEAR(fourth / n, 3, 0.11);
  EXPECT_EQ(draw({"c", {2}, 0, constant(-5)}, 1, 0, 2), (std::vector<double>{-5, -5}));
}

TEST(PrecisionTest, TypesPerMode) {
  using enum Precision;
  struct Row {
    Precision precision;
    c10::ScalarType compute, statistics, matrix, vector, never_bf16, state, never_bf16_state;
  };
  const auto f64 = c10::kDouble, f32 = c10::kFloat, b16 = c10::kBFloat16;
  for (const Row& row :
       {Row{bf16, b16, f32, b16, f32, f32, f32, f32}, Row{bf16_pure, b16, f32, b16, b16, f32, b16, f32},
        Row{fp32, f32, f32, f32, f32, f32, f32, f32}, Row{fp64, f64, f64, f64, f64, f64, f64, f64}}) {
    EXPECT_EQ(compute_type(row.precision), row.compute);
    EXPECT_EQ(statistics_type(row.precision), row.statistics);
    const ParameterTraits matrix = {.kind = ParameterKind::matrix}, vector = {.kind = ParameterKind::vector};
    EXPECT_EQ(value_type(row.precision, matrix), row.matrix);
    EXPECT_EQ(value_type(row.precision, vector), row.vector);
    EXPECT_EQ(state_type(row.precision, matrix), row.state);
    EXPECT_EQ(state_type(row.precision, vector), row.state);
    for (const ParameterKind kind : {ParameterKind::matrix, ParameterKind::vector}) {
      const ParameterTraits never_bf16 = {.kind = kind, .never_bf16 = true};
      EXPECT_EQ(value_type(row.precision, never_bf16), row.never_bf16);
      EXPECT_EQ(state_type(row.precision, never_bf16), row.never_bf16_state);
    }
  }
}

TEST(ParameterTraitsTest, AreEqualOnlyIfAllMembersAre) {
  const ParameterTraits traits;
  EXPECT_EQ(traits, ParameterTraits());
  EXPECT_NE(traits, (ParameterTraits{.kind = ParameterKind::vector}));
  EXPECT_NE(traits, (ParameterTraits{.never_bf16 = true}));
  EXPECT_NE(traits, (ParameterTraits{.never_decays = true}));
  EXPECT_NE(traits, (ParameterTraits{.lr_scale = 0.1}));
}

}  // namespace
}  // namespace sisa::common
