// The fused operations from a layer's input to attention and beyond, beside what defines them
// (fused_fixture.h).
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softplus.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <tuple>
#include <vector>

#include "model/mixers/mixer.h"
#include "model/operations/augmentation.h"
#include "model/operations/functional.h"
#include "model/operations/rope.h"
#include "tests/model/fused_fixture.h"

namespace sisa::tests {
namespace {

struct Case {
  const char* name;
  model::ModelConfig config;
  int64_t length;
  double alpha;  // of the gate's mean
};
using Cases = std::vector<Case>;
// change(config)
void add(Cases& cases, const char* name, const model::ModelConfig& config, int64_t length, double alpha,
         const std::function<void(model::ModelConfig&)>& change) {
  cases.push_back({name, config, length, alpha});
  change(cases.back().config);
}
model::ModelConfig base() {
  model::ModelConfig c;
  c.d_model = 256;
  c.settings = {{"num_heads", 4}, {"d_state", 16}};
  return model::completed(c);
}

struct FusedAttention : Fused {
  // A layer's projections and input, drawn, and what they mean in fp64.
  struct Layer {
    model::ModelConfig config;
    int64_t B = 2, T, H, d, width, angles, end, last;  // rows of the projections: see fused::HeadProjection
    bool state, decays, rotates, learns_lambda;
    Twice weight, bias, lambda;
    at::Tensor x, X;
    at::Tensor cosine, sine;
    model::fused::StateChannels channels;

    // Points into this layer.
    model::fused::HeadProjection projection() {
      const int64_t d_head = d / H;
      if (state) {
        const bool causal = config.choice("offset") == "causal";
        channels = {
            .d_state = width / H,
            .num_angles = angles,
            .offset = {.kind = causal ? model::DecayOffset::Kind::causal : model::DecayOffset::Kind::minimax,
                       .limit = config.real(causal ? "causal_offset" : "clamp"),
                       .max_segments = config.whole("max_segments")},
            .alpha_bias = decays ? &bias.gpu : nullptr,
            .lambda_raw = learns_lambda ? &lambda.gpu : nullptr,
            .fixed_lambda_raw = -1,
            .smallest_lambda = 1e-12};
      }
      return {{.num_heads = H,
               .num_kv_heads = H,
               .d_head = d_head,
               .d_value = d_head,
               .scale = 1 / std::sqrt(static_cast<double>(d_head)),
               .rope_base = config.real("rope_base")},
              end,
              last,
              state ? &channels : nullptr};
    }
  };
  Layer draw(const Case& c) const {
    at::manual_seed(5);
    const model::ModelConfig config = model::completed(c.config);
    Layer l{.config = config, .T = c.length, .H = config.whole("num_heads"), .d = config.d_model};
    l.state = config.system == "sisa";
    l.decays = l.state && config.choice("decay") == "learned";
    l.rotates = l.state && config.choice("rotation") == "learned";
    l.learns_lambda = l.state && config.choice("lambda") == "learned";
    l.width = l.state ? l.H * config.whole("d_state") : 0;
    l.angles = l.rotates ? l.width / 2 : 0;
    l.end = 3 * l.d + 2 * l.width;
    const int64_t gates = l.angles + (l.decays ? l.H : 0);
    l.last = l.end + (gates + 63) / 64 * 64;
    at::Tensor matrix = at::randn({l.last, l.d}) / 16;  // of channels: of the order of 1
    // Their products' sums, too.
    if (l.state)
      matrix.narrow(0, 3 * l.d, 2 * l.width) *=
          std::pow(16.0 / static_cast<double>(config.whole("d_state")), 0.25);
    if (l.rotates) matrix.narrow(0, l.end, l.angles) *= 0.3;
    matrix.narrow(0, l.end + gates, l.last - l.end - gates).zero_();
    l.weight = parameter(matrix);
    l.bias = parameter(at::full({l.H}, c.alpha));
    l.lambda = parameter(at::linspace(-2, 1, l.H));
    const at::Tensor a = at::randn({l.B, l.T, l.d});
    l.x = on_gpu(a);
    l.X = on_cpu(a);
    model::Rope rope(config.d_model / config.whole("num_heads"), config.real("rope_base"), at::kFloat);
    const auto [cosine, sine] = rope.tables(l.T, gpu_);
    l.cosine = cosine;
    l.sine = sine;
    return l;
  }

  // In fp64, with its graph. (B, T, H, ·)
  struct Exact {
    at::Tensor query, key, value;               // without state channels
    at::Tensor C, B, log_alpha, phase, lambda;  // undefined: none
  };
  static Exact exact(Layer& l) {
    const at::Tensor all = model::linear(l.X, l.weight.cpu);
    const auto split = [&](int64_t begin, int64_t size) {
      return all.narrow(-1, begin, size).unflatten(-1, {l.H, -1});
    };
    model::Rope rope(l.config.d_model / l.config.whole("num_heads"), l.config.real("rope_base"), at::kDouble);
    Exact e{.query = rope(split(0, l.d)), .key = rope(split(l.d, l.d)), .value = split(2 * l.d, l.d)};
    if (!l.state) return e;
    e.B = split(3 * l.d, l.width);
    e.C = split(3 * l.d + l.width, l.width);
    if (l.decays)
      e.log_alpha =
          -at::softplus(all.narrow(-1, l.end + l.angles, l.H) + model::use(l.bias.cpu, at::kDouble));
    if (l.rotates) e.phase = split(l.end, l.angles).cumsum(1);
    e.lambda = at::softplus(l.learns_lambda ? model::use(l.lambda.cpu, at::kDouble)
                                            : at::full({1}, -1, at::kDouble));
    return e;
  }

  // After both sides' backward passes.
  static void compare_gradients(const Layer& l, double tolerance, double of_gates) {
    EXPECT_LT(relative_error(l.x.grad(), l.X.grad()), tolerance);
    for (const auto& [part, begin, size, allowed] :
         std::vector<std::tuple<const char*, int64_t, int64_t, double>>{
             {"Q K V", 0, 3 * l.d, tolerance},
             {"B C", 3 * l.d, 2 * l.width, tolerance},
             {"theta", l.end, l.angles, of_gates},
             {"alpha", l.end + l.angles, l.decays ? l.H : 0, of_gates}})
      if (size > 0) {
        const at::Tensor expected = l.weight.cpu.gradient.narrow(0, begin, size);
        if (l.T > 1 || expected.abs().max().item<double>() > 1e-9) {
          EXPECT_LT(relative_error(l.weight.gpu.gradient.narrow(0, begin, size), expected), allowed) << part;
        }
      }
    if (l.decays && l.T > 1) {
      EXPECT_LT(relative_error(l.bias.gpu.gradient, l.bias.cpu.gradient), of_gates);
    }
    if (l.learns_lambda && l.T > 1) {
      EXPECT_LT(relative_error(l.lambda.gpu.gradient, l.lambda.cpu.gradient), of_gates);
    }
    const int64_t real = l.end + l.angles + (l.decays ? l.H : 0);
    if (l.last > real) {
      EXPECT_EQ(l.weight.gpu.gradient.narrow(0, real, l.last - real).abs().max().item<double>(), 0);
    }
  }
};

Cases heads_cases() {
  model::ModelConfig c = base();
  c.settings["causal_offset"] = 3;
  c.settings["max_segments"] = 1;
  Cases all;
  add(all, "transformer", c, 70, 0, [](auto& m) { use_system(m, "transformer"); });
  add(all, "one segment", c, 90, -3, [](auto&) {});
  add(all, "long", c, 1100, -6, [](auto&) {});
  add(all, "one token", c, 1, -3, [](auto&) {});
  add(all, "beyond the limit", c, 90, 0, [](auto&) {});
  add(all, "several segments", c, 90, -1, [](auto& m) { m.settings["max_segments"] = 5; });
  add(all, "beyond the last segment", c, 90, 0, [](auto& m) { m.settings["max_segments"] = 3; });
  add(all, "d_state 8", c, 30, -2, [](auto& m) { m.settings["d_state"] = 8; });
  add(all, "d_state 64", c, 60, -3, [](auto& m) { m.settings["d_state"] = 64; });
  add(all, "d_state 128", c, 60, -3, [](auto& m) { m.settings["d_state"] = 128; });
  add(all, "minimax", c, 60, -2, [](auto& m) { m.settings["offset"] = "minimax", m.settings["clamp"] = 2; });
  add(all, "no decay", c, 60, 0, [](auto& m) { m.settings["decay"] = "none"; });
  add(all, "no rotation", c, 60, -3, [](auto& m) { m.settings["rotation"] = "none"; });
  add(all, "bilinear", c, 60, 0, [](auto& m) { m.settings["decay"] = m.settings["rotation"] = "none"; });
  add(all, "fixed lambda", c, 60, -3, [](auto& m) { m.settings["lambda"] = "fixed"; });
  return all;
}

// What attention is given, from the layer's input: values, and gradients of everything that they are made of,
// where those that come back from attention are drawn at random.
TEST_F(FusedAttention, HeadsAndTheirGradients) {
  for (const Case& one : heads_cases()) {
    SCOPED_TRACE(one.name);
    Layer l = draw(one);
    const model::fused::HeadProjection projection = l.projection();
    ASSERT_NE(model::fused::service(l.x, l.weight.gpu, projection), model::fused::Service::none);
    const model::fused::Heads heads = model::fused::heads(l.x, l.weight.gpu, projection, l.cosine, l.sine);

    Exact e = exact(l);
    at::Tensor num_limited;
    if (l.state) {
      model::Exponents exponents;
      if (l.decays) {
        exponents = model::decay_exponents(e.log_alpha, l.channels.offset,
                                           l.channels.offset.num_segments(l.d / l.H, l.channels.d_state));
        num_limited = exponents.num_limited.sum();
      }
      const auto more = model::augment(e.C, e.B, exponents, e.phase, e.lambda, l.d / l.H);
      e.query = at::cat({e.query, more.query}, -1);
      e.key = at::cat({e.key, more.key}, -1);
    }
    const auto used = [&](const at::Tensor& out) { return out.narrow(-1, 0, e.query.size(-1)); };
    // A bf16 input of each exponential: its error is that of the exponent times what is exponentiated.
    EXPECT_LT(relative_error(used(heads.query), e.query), 3 * one_rounding);
    EXPECT_LT(relative_error(used(heads.key), e.key), 3 * one_rounding);
    EXPECT_LT(relative_error(heads.value, e.value), one_rounding);
    if (heads.query.size(-1) > e.query.size(-1)) {
      const int64_t spare = heads.query.size(-1) - e.query.size(-1);
      EXPECT_EQ(heads.query.narrow(-1, e.query.size(-1), spare).abs().max().item<double>(), 0);
      EXPECT_EQ(heads.key.narrow(-1, e.query.size(-1), spare).abs().max().item<double>(), 0);
    }
    ASSERT_EQ(heads.num_limited.defined(), num_limited.defined());
    if (num_limited.defined()) {
      EXPECT_NEAR(heads.num_limited.item<double>(), num_limited.item<double>(),
                  0.01 * static_cast<double>(l.B * l.T * l.H));
    }

    const auto weights = [](const at::Tensor& like) { return at::randn(like.sizes()).to(at::kBFloat16); };
    const at::Tensor wq = weights(e.query), wk = weights(e.key), wv = weights(e.value);
    (e.query * wq + e.key * wk).sum().add((e.value * wv).sum()).backward();
    const auto weighted = [&](const at::Tensor& out, const at::Tensor& w) {
      return (out * w.to(gpu_)).sum(at::kFloat);
    };
    (weighted(used(heads.query), wq) + weighted(used(heads.key), wk) + weighted(heads.value, wv)).backward();
    compare_gradients(l, 4 * one_rounding, 4 * one_rounding);
  }
}

Cases attention_cases() {
  const model::ModelConfig c = base();
  Cases all;
  add(all, "transformer", c, 150, 0, [](auto& m) { use_system(m, "transformer"); });
  add(all, "slow decay", c, 200, -5, [](auto&) {});
  add(all, "one token", c, 1, -3, [](auto&) {});
  add(all, "some exponents apart", c, 200, -1, [](auto&) {});
  add(all, "all exponents apart", c, 200, 2, [](auto&) {});
  add(all, "d_state 32", c, 140, 0, [](auto& m) { m.settings["d_state"] = 32; });
  add(all, "d_state 64", c, 140, 0, [](auto& m) { m.settings["d_state"] = 64; });
  add(all, "d_state 128", c, 140, 0, [](auto& m) { m.settings["d_state"] = 128; });
  add(all, "d_state 128 with slow decay", c, 140, -5, [](auto& m) { m.settings["d_state"] = 128; });
  add(all, "minimax within its clamp", c, 60, -4, [](auto& m) { m.settings["offset"] = "minimax"; });
  add(all, "one segment within its limit", c, 60, -2, [](auto& m) { m.settings["max_segments"] = 1; });
  add(all, "no decay", c, 60, 0, [](auto& m) { m.settings["decay"] = "none"; });
  add(all, "no rotation", c, 150, -1, [](auto& m) { m.settings["rotation"] = "none"; });
  add(all, "bilinear", c, 60, 0, [](auto& m) { m.settings["decay"] = m.settings["rotation"] = "none"; });
  add(all, "fixed lambda", c, 60, -3, [](auto& m) { m.settings["lambda"] = "fixed"; });
  return all;
}

// The layer's attention against the direct form of its scores.
TEST_F(FusedAttention, AttentionAndItsGradients) {
  for (const Case& one : attention_cases()) {
    SCOPED_TRACE(one.name);
    Layer l = draw(one);
    const model::fused::HeadProjection projection = l.projection();
    if (model::fused::service(l.x, l.weight.gpu, projection) != model::fused::Service::attention) {
      ASSERT_FALSE(emulated);
      GTEST_SKIP() << "this GPU has no attention of our own";
    }
    const model::fused::Output attended =
        model::fused::attention(l.x, l.weight.gpu, projection, l.cosine, l.sine);

    const Exact e = exact(l);
    const auto heads_first = [](const at::Tensor& x) { return x.transpose(1, 2); };
    at::Tensor scores = heads_first(e.query).matmul(heads_first(e.key).transpose(2, 3)) / std::sqrt(64.0);
    if (l.state) {
      const at::Tensor theta =  // of which phases are the sums
          l.rotates ? at::cat({e.phase.narrow(1, 0, 1), e.phase.diff(1, 1)}, 1) : at::Tensor();
      scores = scores + model::state_scores(e.C, e.B, e.log_alpha, theta, e.lambda);
    }
    const at::Tensor later = at::arange(l.T).unsqueeze(0).gt(at::arange(l.T).unsqueeze(1));
    const at::Tensor expected =
        heads_first(scores.masked_fill(later, -INFINITY).softmax(-1).matmul(heads_first(e.value))).flatten(2);
    EXPECT_LT(relative_error(attended.output, expected), 2e-2);
    if (l.decays) {
      EXPECT_EQ(attended.num_limited.item<int64_t>(), 0);
    }

    const at::Tensor w = at::randn(expected.sizes()).to(at::kBFloat16);
    (expected * w).sum().backward();
    (attended.output * w.to(gpu_)).sum(at::kFloat).backward();
    // Gates' gradients are small differences of large sums: with gradients of query and key in bf16, or taken
    // with channels that attention did not see, alpha's bias would be off by its whole size where decay is
    // fast.
    compare_gradients(l, 3e-2, 0.1);
  }
}

// What decays by more than exponents can say, 40 to 80 nats within a block of 16 tokens, is limited and
// counted.
TEST_F(FusedAttention, CountsWhatItLimits) {
  Cases one;
  add(one, "", base(), 64, 8, [](auto&) {});
  Layer l = draw(one.front());
  const model::fused::HeadProjection projection = l.projection();
  if (model::fused::service(l.x, l.weight.gpu, projection) != model::fused::Service::attention) GTEST_SKIP();
  const auto attended = model::fused::attention(l.x, l.weight.gpu, projection, l.cosine, l.sine);
  EXPECT_GT(attended.num_limited.item<int64_t>(), l.B * l.T * l.H / 8);
  EXPECT_TRUE(attended.output.isfinite().all().item<bool>());
}

// The monitor says of each head what training counts over all, also where the model is loaded to be read
// alone.
TEST_F(FusedAttention, MonitorsReadWhatTrainingLimits) {
  for (const int64_t max_segments : {0, 1})
    for (const Precision precision : {Precision::bf16, Precision::bf16_pure}) {
      SCOPED_TRACE(testing::Message() << max_segments << " " << static_cast<int>(precision));
      model::ModelConfig c = base();
      c.vocab_size = 61;
      c.num_layers = 1;
      c.d_ff = 0;
      c.settings["alpha_bias"] = 4;
      c.settings["max_segments"] = max_segments;
      BoundModel bound(c, precision, 64, 1, gpu_);
      const at::Tensor ids = at::randint(61, {1, 60}, at::kLong).to(gpu_);
      (void)bound.model.loss_sum(ids, ids);
      const double counted = take_limited(bound.model).item<double>();
      if (precision == Precision::bf16 || max_segments == 1) {  // else there are segments enough
        EXPECT_GT(counted, 10);
      }

      model::LanguageModel loaded(c, precision, 64);
      parallel::ParameterSpace space(loaded.parameters(), {precision, gpu_, /*training=*/false, false}, 0, 1);
      space.initialise(1);
      for (model::LanguageModel* model : {&bound.model, &loaded}) {
        const auto readings = model->read(ids).front();
        const auto share = std::find_if(readings.begin(), readings.end(),
                                        [](const model::Reading& r) { return r.name == "limited_share"; });
        ASSERT_NE(share, readings.end());
        EXPECT_NEAR(share->values.sum().item<double>() * 60, counted, 0.01 * counted);
      }
    }
}

}  // namespace
}  // namespace sisa::tests
