// Questions with several answers of differing lengths, scored by the likelihood of each: a scorer as
// HellaSwag or ARC need it, through the interface and the ranks that every evaluation uses.
#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/log_softmax.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/tasks/task.h"
#include "evaluation/scorer.h"
#include "launcher/run/evaluation.h"
#include "tests/evaluation/small_model.h"
#include "tests/mpi_world.h"

namespace sisa::tests {
namespace {

using evaluation::Evaluation;
using evaluation::Metric;
using evaluation::Role;
using evaluation::Score;
using evaluation::Sums;

using Ids = std::vector<int64_t>;

struct Question {
  Ids context;                     // at least one token
  std::vector<Ids> continuations;  // at least one token each
  size_t right = 0;
};

// Sums: correct, the questions whose right continuation has the smallest cross entropy a token, of answers;
// nats and tokens of the right continuations.
class MultipleChoice : public evaluation::Scorer {
 public:
  MultipleChoice(model::LanguageModel& model, std::vector<Question> questions)
      : Scorer("multiple choice", Role::downstream), model_(model), questions_(std::move(questions)) {}

  int64_t size() const override { return static_cast<int64_t>(questions_.size()); }

  Sums score(int64_t begin, int64_t end) override {
    Sums sums({"correct", "answers", "nats", "tokens"});
    for (int64_t i = begin; i < end; ++i) {
      const Question& question = questions_[static_cast<size_t>(i)];
      std::vector<double> per_token;
      for (const Ids& continuation : question.continuations)
        per_token.push_back(nats(question.context, continuation) / static_cast<double>(continuation.size()));
      const auto best = std::min_element(per_token.begin(), per_token.end()) - per_token.begin();
      const auto length = static_cast<double>(question.continuations[question.right].size());
      sums["correct"] += static_cast<size_t>(best) == question.right;
      sums["answers"] += 1;
      sums["nats"] += per_token[question.right] * length;
      sums["tokens"] += length;
    }
    return sums;
  }

  std::vector<Metric> metrics(const Sums& totals) const override {
    return {accuracy(totals), loss(totals), tokens(totals)};
  }

 private:
  // Cross entropy of the continuation after the context.
  double nats(const Ids& context, const Ids& continuation) {
    Ids inputs = context, targets(context.size() - 1, data::no_target);
    inputs.insert(inputs.end(), continuation.begin(), continuation.end() - 1);
    targets.insert(targets.end(), continuation.begin(), continuation.end());
    const auto length = static_cast<int64_t>(inputs.size());
    const auto row = [&](Ids& ids) { return at::from_blob(ids.data(), {1, length}, at::kLong); };
    return model_.token_losses(row(inputs), row(targets)).sum(at::kDouble).item<double>();
  }

  model::LanguageModel& model_;
  std::vector<Question> questions_;
};

// Every length differs, of contexts and of continuations.
std::vector<Question> make_questions(int64_t count, int64_t vocab_size) {
  int64_t next = 1;
  const auto ids = [&](int64_t length) {
    Ids result;
    for (int64_t i = 0; i < length; ++i) result.push_back((next = next * 48271 % 2147483647) % vocab_size);
    return result;
  };
  std::vector<Question> questions;
  for (int64_t i = 0; i < count; ++i) {
    Question question{
        .context = ids(1 + i * 5 % 13), .continuations = {}, .right = static_cast<size_t>(i % 4)};
    for (int64_t k = 0; k < 4; ++k) question.continuations.push_back(ids(1 + (i + 3 * k) % 7));
    questions.push_back(std::move(question));
  }
  return questions;
}

class MultipleChoiceScorer : public testing::Test {
 protected:
  static constexpr int64_t vocab_size = 61;
  MultipleChoiceScorer() { stir(bound_); }
  static void expect_equal(Sums actual, Sums expected) {
    for (const char* name : {"correct", "answers", "tokens"}) EXPECT_EQ(actual[name], expected[name]) << name;
    EXPECT_NEAR(actual["nats"], expected["nats"], 1e-12 * expected["nats"]);
  }
  BoundModel bound_ = small_model(vocab_size);
  std::vector<Question> questions_ = make_questions(23, vocab_size);
  MultipleChoice scorer_{bound_.model, questions_};
};

TEST_F(MultipleChoiceScorer, FindsWhatTheLogitsSay) {
  double correct = 0, nats = 0;
  for (const Question& question : questions_) {
    std::vector<double> per_token;
    for (const Ids& continuation : question.continuations) {
      Ids all = question.context;
      all.insert(all.end(), continuation.begin(), continuation.end());
      const at::Tensor tokens = at::from_blob(all.data(), {1, static_cast<int64_t>(all.size())}, at::kLong);
      const at::Tensor log_p = at::log_softmax(bound_.model.logits(tokens)[0], 1);
      double sum = 0;
      for (size_t i = question.context.size(); i < all.size(); ++i)
        sum -= log_p[static_cast<int64_t>(i) - 1][all[i]].item<double>();
      per_token.push_back(sum / static_cast<double>(continuation.size()));
    }
    const double right = per_token[question.right];
    correct += right == *std::min_element(per_token.begin(), per_token.end());
    nats += right * static_cast<double>(question.continuations[question.right].size());
  }
  const Sums whole = scorer_.score(0, scorer_.size());
  EXPECT_EQ(whole["answers"], 23);
  EXPECT_EQ(whole["correct"], correct);
  EXPECT_GT(correct, 0);
  EXPECT_LT(correct, 23);
  EXPECT_NEAR(whole["nats"], nats, 1e-9 * nats);
}

TEST_F(MultipleChoiceScorer, AddsUpHoweverItIsCut) {
  const int64_t n = scorer_.size();
  const Sums whole = scorer_.score(0, n);
  for (int64_t cut = 0; cut <= n; ++cut) {
    Sums sums = scorer_.score(0, cut);
    sums += scorer_.score(cut, n);
    expect_equal(sums, whole);
  }
  Sums one_by_one = scorer_.score(0, 0);
  for (int64_t i = 0; i < n; ++i) one_by_one += scorer_.score(i, i + 1);
  expect_equal(one_by_one, whole);
}

// Under mpirun with 1, 2 and 3 ranks: fewer questions than ranks as well.
TEST_F(MultipleChoiceScorer, IsTheSameOnAnyNumberOfRanks) {
  const Score score = launcher::score_on_ranks(scorer_, world());
  expect_equal(score.totals, scorer_.score(0, scorer_.size()));
  EXPECT_EQ(describe(score.metrics), describe(scorer_.metrics(scorer_.score(0, scorer_.size()))));

  MultipleChoice two(bound_.model, make_questions(2, vocab_size));
  expect_equal(launcher::score_on_ranks(two, world()).totals, two.score(0, 2));
}

TEST_F(MultipleChoiceScorer, IsShownAndRecordedBesideTheHeldOutLoss) {
  Evaluation result;
  Score text{.name = "text", .role = Role::held_out, .totals = Sums({"nats", "tokens"})};
  text.totals["nats"] = 3;
  text.totals["tokens"] = 2;
  text.metrics = {loss(text.totals), tokens(text.totals)};
  result.add(text);
  const Score score = launcher::score_on_ranks(scorer_, world());
  result.add(score);
  const auto fields = launcher::evaluation_json(result);
  EXPECT_EQ(fields["loss"], 1.5);  // of the text alone
  ASSERT_EQ(fields["parts"].size(), 2u);
  EXPECT_EQ(fields["parts"][1]["name"], "multiple choice");
  EXPECT_EQ(fields["parts"][1]["accuracy"], score.totals["correct"] / 23);
  const auto rows = launcher::evaluation_rows(result);
  const auto row =
      std::find_if(rows.begin(), rows.end(), [](const auto& r) { return r.first == "multiple choice"; });
  ASSERT_NE(row, rows.end());
  EXPECT_EQ(row->second, describe(score.metrics));
}

}  // namespace
}  // namespace sisa::tests
