#include "evaluation/sums.h"

#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "evaluation/evaluation.h"

namespace sisa::evaluation {
namespace {

using testing::ElementsAre;

TEST(Sums, AddByNameAndTakeUpNewNames) {
  Sums a({"nats", "tokens"}), b({"tokens", "correct"});
  a["nats"] = 0.5;
  a["tokens"] = 2;
  b["tokens"] = 3;
  b["correct"] = 1;
  a += b;
  EXPECT_THAT(a.values(), ElementsAre(0.5, 5, 1));
  EXPECT_TRUE(a.has("correct"));
  EXPECT_FALSE(b.has("nats"));
  EXPECT_THROW(b["nats"], c10::Error);
  EXPECT_THAT((Sums() += b).values(), ElementsAre(3, 1));
}

Score score(const std::string& name, Role role, double nats, double tokens,
            std::optional<double> correct = {}) {
  Score score{.name = name, .role = role, .totals = Sums({"nats", "tokens"})};
  score.totals["nats"] = nats;
  score.totals["tokens"] = tokens;
  if (correct) {
    Sums answers({"correct", "answers"});
    answers["correct"] = *correct;
    answers["answers"] = tokens;
    score.totals += answers;
  }
  score.seconds = 1;
  return score;
}

TEST(Evaluation, CountsEveryHeldOutTokenTheSameAndNothingElse) {
  Evaluation result;
  EXPECT_EQ(result.held_out_tokens(), 0);
  EXPECT_FALSE(result.held_out_loss());
  EXPECT_TRUE(result.headline().empty());

  result.add(score("lambada", Role::downstream, 100, 10, 3));
  EXPECT_FALSE(result.held_out_loss());
  result.add(score("text", Role::held_out, 6, 4));
  EXPECT_EQ(result.held_out_loss(), 1.5);
  EXPECT_FALSE(result.has_answers());
  result.add(score("mqar", Role::held_out, 1, 8, 6));
  result.add(score("parity", Role::held_out, 5, 4, 0));
  result.add(score("bigram model", Role::baseline, 1000, 4));
  EXPECT_EQ(result.held_out_tokens(), 16);
  EXPECT_EQ(result.held_out_loss(), 12. / 16);
  EXPECT_EQ(describe(result.headline()), "0.7500 nats a token, 50.00% of answers right");  // 6 of 12
  EXPECT_EQ(result.parts().size(), 4u);
  EXPECT_EQ(result.baselines().size(), 1u);
  EXPECT_EQ(result.seconds(), 4);  // the baseline is no work of the network
}

TEST(Metrics, AreOneNumberForProgramsAndForPeople) {
  Sums sums({"nats", "tokens", "correct", "answers"});
  sums["nats"] = 1;
  sums["tokens"] = 3;
  sums["correct"] = 2;
  sums["answers"] = 3;
  EXPECT_EQ(std::get<double>(loss(sums).value), 1. / 3);
  EXPECT_EQ(loss(sums).text(), "0.3333 nats a token");
  EXPECT_EQ(std::get<double>(accuracy(sums).value), 2. / 3);
  EXPECT_EQ(std::get<int64_t>(tokens(sums).value), 3);
  EXPECT_EQ(describe({loss(sums), tokens(sums), accuracy(sums)}),
            "0.3333 nats a token, 66.67% of answers right");
}

}  // namespace
}  // namespace sisa::evaluation
