// How scores are shown and recorded, letter for letter.
#include "launcher/run/evaluation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace sisa::launcher {
namespace {

using evaluation::Evaluation;
using evaluation::Metric;
using evaluation::Role;
using evaluation::Score;
using evaluation::Sums;
using testing::ElementsAre;
using testing::Pair;

Score score(const std::string& name, Role role, double nats, double tokens) {
  Score result{.name = name, .role = role, .totals = Sums({"nats", "tokens"})};
  result.totals["nats"] = nats;
  result.totals["tokens"] = tokens;
  result.metrics = {evaluation::loss(result.totals), evaluation::tokens(result.totals)};
  result.seconds = 0.25;
  return result;
}

Score text() {
  Score result = score("text", Role::held_out, 3000, 2000);
  result.headline = {Metric{"nats_per_byte", 0.75, "0.7500", "nats a byte"}};
  return result;
}

Score task(const std::string& name, double nats, double tokens, double correct) {
  Score result = score(name, Role::held_out, nats, tokens);
  Sums answers({"correct", "answers"});
  answers["correct"] = correct;
  answers["answers"] = tokens;
  result.totals += answers;
  result.metrics.push_back(evaluation::accuracy(result.totals));
  return result;
}

Score bigram() {
  return score("bigram model", Role::baseline, 5000, 2000);
}

Evaluation of(const std::vector<Score>& scores) {
  Evaluation result;
  for (const Score& one : scores) result.add(one);
  return result;
}

TEST(EvaluationReport, OfTextAlone) {
  const Evaluation result = of({text(), bigram()});
  EXPECT_EQ(evaluation_json(result).dump(),
            R"({"loss":1.5,"nats_per_byte":0.75,"tokens":2000,"seconds":0.25})");
  EXPECT_EQ(evaluation_summary(result, 1500),
            "held-out loss at step 1,500: 1.5000 nats a token, 0.7500 nats a byte (2,000 tokens in 0.2s)");
  EXPECT_THAT(
      evaluation_rows(result),
      ElementsAre(Pair("held-out loss", "1.5000 nats a token"),
                  Pair("bigram model", "2.5000 nats a token, on the same tokens"), Pair("", ""),
                  Pair("in nats a byte", "0.7500"), Pair("tokens scored", "2,000"), Pair("time", "0.2s")));
}

TEST(EvaluationReport, OfOneTaskAlone) {
  const Evaluation result = of({task("mqar", 50, 100, 80)});
  EXPECT_EQ(evaluation_json(result).dump(), R"({"loss":0.5,"accuracy":0.8,"tokens":100,"seconds":0.25})");
  EXPECT_EQ(evaluation_summary(result, 7),
            "held-out loss at step 7: 0.5000 nats a token, 80.00% of answers right (100 tokens in 0.2s)");
  EXPECT_THAT(evaluation_rows(result),
              ElementsAre(Pair("held-out loss", "0.5000 nats a token"), Pair("", ""),
                          Pair("mqar", "0.5000 nats a token, 80.00% of answers right"),
                          Pair("tokens scored", "100"), Pair("time", "0.2s")));
}

TEST(EvaluationReport, OfTextAndTasks) {
  const Evaluation result =
      of({text(), task("mqar", 800, 1000, 750), task("parity", 700, 1000, 500), bigram()});
  EXPECT_EQ(evaluation_json(result).dump(),
            R"({"loss":1.125,"nats_per_byte":0.75,"accuracy":0.625,"parts":[)"
            R"({"name":"text","loss":1.5,"tokens":2000},)"
            R"({"name":"mqar","loss":0.8,"tokens":1000,"accuracy":0.75},)"
            R"({"name":"parity","loss":0.7,"tokens":1000,"accuracy":0.5}],"tokens":4000,"seconds":0.75})");
  EXPECT_EQ(evaluation_summary(result, 7),
            "held-out loss at step 7: 1.1250 nats a token, 0.7500 nats a byte, 62.50% of answers right; "
            "text 1.5000 nats a token; mqar 0.8000 nats a token, 75.00% of answers right; "
            "parity 0.7000 nats a token, 50.00% of answers right (4,000 tokens in 0.8s)");
  EXPECT_THAT(
      evaluation_rows(result),
      ElementsAre(Pair("held-out loss", "1.1250 nats a token"),
                  Pair("bigram model", "2.5000 nats a token, on the text"), Pair("", ""),
                  Pair("text", "1.5000 nats a token"),
                  Pair("mqar", "0.8000 nats a token, 75.00% of answers right"),
                  Pair("parity", "0.7000 nats a token, 50.00% of answers right"),
                  Pair("in nats a byte", "0.7500"), Pair("tokens scored", "4,000"), Pair("time", "0.8s")));
}

TEST(EvaluationReport, OfDownstreamTasksWithoutHeldOutData) {
  Score lambada = score("lambada", Role::downstream, 30, 10), arc = score("arc", Role::downstream, 20, 10);
  const Evaluation result = of({lambada, arc});
  EXPECT_EQ(evaluation_json(result).dump(),
            R"({"parts":[{"name":"lambada","loss":3.0,"tokens":10},{"name":"arc","loss":2.0,"tokens":10}],)"
            R"("tokens":0,"seconds":0.5})");
  EXPECT_EQ(evaluation_summary(result, 7),
            "scores at step 7: lambada 3.0000 nats a token; arc 2.0000 nats a token (in 0.5s)");
}

}  // namespace
}  // namespace sisa::launcher
