// Compares each task with an oracle that sees only the inputs.
#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "data/loader.h"
#include "data/tasks/registry.h"
#include "data/tasks/samples.h"
#include "tests/data/data_folder.h"

namespace sisa::data {
namespace {

using testing::AllOf;
using testing::HasSubstr;

using Ids = std::vector<int64_t>;
using Values = std::map<std::string, double>;

TaskOptions options(const std::string& name, const Values& values = {}) {
  TaskOptions result{.name = name};
  for (const TaskKey& key : find_task(name)->keys) result.values[key.name] = key.default_value;
  for (const auto& [key, value] : values) result.values.at(key) = value;
  return result;
}

struct Sample {
  Ids inputs, targets;
  bool operator==(const Sample&) const = default;
};

struct Samples {
  Samples(const TaskOptions& task, const TaskShape& shape, uint64_t seed = 1, Split split = Split::train)
      : source(task, shape, seed, split), length(static_cast<size_t>(shape.sequence_length)) {}
  Sample operator()(int64_t index) const {
    Sample sample{Ids(length, -99), Ids(length, -99)};
    source.read(index, sample.inputs, sample.targets);
    return sample;
  }
  TaskSamples source;
  size_t length;
};

// ---- The oracles. They derive the targets from the inputs and also say if the inputs are ambiguous.

Ids nothing(const Ids& inputs) {
  return Ids(inputs.size(), no_target);
}

// `num_pairs` pairs, and later each key once more. No other token is in one of the pairs.
Ids mqar_oracle(const Ids& inputs, size_t num_pairs) {
  Ids targets = nothing(inputs);
  std::map<int64_t, int64_t> value_of;
  std::set<int64_t> values;
  for (size_t i = 0; i < num_pairs; ++i) {
    EXPECT_TRUE(value_of.emplace(inputs[2 * i], inputs[2 * i + 1]).second) << "a key comes twice";
    EXPECT_TRUE(values.insert(inputs[2 * i + 1]).second) << "a value comes twice";
  }
  std::set<int64_t> asked;
  for (size_t i = 2 * num_pairs; i < inputs.size(); ++i) {
    EXPECT_FALSE(values.contains(inputs[i])) << "filler is a value";
    const auto found = value_of.find(inputs[i]);
    if (found == value_of.end()) continue;
    EXPECT_TRUE(asked.insert(inputs[i]).second) << "a key is asked for twice, or filler is a key";
    targets[i] = found->second;
  }
  EXPECT_EQ(asked.size(), num_pairs);
  return targets;
}

// The last tokens are the key and all but the last token of the value. Before them the key occurs once.
Ids niah_oracle(const Ids& inputs, size_t value_length) {
  Ids targets = nothing(inputs);
  const auto question = inputs.end() - static_cast<int64_t>(value_length);
  EXPECT_EQ(std::count(inputs.begin(), inputs.end(), *question), 2) << "the key stands elsewhere too";
  const auto needle = std::find(inputs.begin(), question, *question);
  if (question - needle <= static_cast<int64_t>(value_length)) {
    ADD_FAILURE() << "the needle is cut off";
    return targets;
  }
  EXPECT_TRUE(std::equal(question + 1, inputs.end(), needle + 1)) << "what is given is not the value";
  std::copy_n(needle + 1, value_length, targets.end() - static_cast<int64_t>(value_length));
  return targets;
}

Ids induction_oracle(const Ids& inputs) {
  Ids targets = nothing(inputs);
  EXPECT_EQ(inputs.back(), 0);
  EXPECT_EQ(std::count(inputs.begin(), inputs.end(), 0), 2);
  const auto first = std::find(inputs.begin(), inputs.end(), 0);
  EXPECT_LT(first + 2, inputs.end()) << "its successor is the question itself";
  targets.back() = first[1];
  return targets;
}

Ids selective_copying_oracle(const Ids& inputs) {
  Ids targets = nothing(inputs), data;
  std::copy_if(inputs.begin(), inputs.end(), std::back_inserter(data), [](int64_t id) { return id > 1; });
  size_t next = 0;
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i] == 1 && next < data.size()) targets[i] = data[next++];
  EXPECT_EQ(static_cast<size_t>(std::count(inputs.begin(), inputs.end(), 1)), data.size());
  EXPECT_TRUE(std::is_partitioned(inputs.begin(), inputs.end(), [](int64_t id) { return id != 1; }))
      << "a question comes before the data's end";
  return targets;
}

Ids parity_oracle(const Ids& inputs, bool last_only) {
  Ids targets = nothing(inputs);
  for (size_t i = last_only ? inputs.size() - 1 : 0; i < inputs.size(); ++i)
    targets[i] =
        std::accumulate(inputs.begin(), inputs.begin() + static_cast<int64_t>(i) + 1, int64_t{0}) % 2;
  return targets;
}

// A task with its shape and its oracle.
struct Case {
  std::string name;
  Values values;
  TaskShape shape;
  int64_t num_targets;
  std::function<Ids(const Ids&)> oracle;
};

Case mqar_case(int64_t num_pairs, int64_t vocab_size, int64_t length, bool zeros, double power_a = 0.01) {
  const Values values = {
      {"num_pairs", static_cast<double>(num_pairs)}, {"filler", zeros}, {"power_a", power_a}};
  return {"mqar", values, {vocab_size, length}, num_pairs, [=](const Ids& inputs) {
            return mqar_oracle(inputs, static_cast<size_t>(num_pairs));
          }};
}
Case niah_case(int64_t value_length, int64_t vocab_size, int64_t length, double shallow = 0,
               double deep = 1) {
  const Values values = {
      {"value_length", static_cast<double>(value_length)}, {"depth_min", shallow}, {"depth_max", deep}};
  return {"niah", values, {vocab_size, length}, value_length, [=](const Ids& inputs) {
            return niah_oracle(inputs, static_cast<size_t>(value_length));
          }};
}
Case induction_case(int64_t vocab_size, int64_t length) {
  return {"induction", {}, {vocab_size, length}, 1, induction_oracle};
}
Case copying_case(int64_t num_data, int64_t vocab_size, int64_t length) {
  return {"selective_copying",
          {{"num_data", static_cast<double>(num_data)}},
          {vocab_size, length},
          num_data,
          selective_copying_oracle};
}
Case parity_case(bool last_only, int64_t length) {
  return {"parity", {{"predict", last_only}}, {2, length}, last_only ? 1 : length, [=](const Ids& inputs) {
            return parity_oracle(inputs, last_only);
          }};
}

// Ordinary shapes, and the smallest possible ones.
std::vector<Case> cases() {
  return {mqar_case(8, 64, 64, false),
          mqar_case(8, 8192, 512, true),
          mqar_case(1, 4, 4, false),
          mqar_case(16, 34, 64, false),
          mqar_case(16, 34, 65, true),
          mqar_case(64, 256, 300, false, 1),
          mqar_case(5, 13, 101, false, 0),
          niah_case(4, 50, 128),
          niah_case(1, 3, 3),
          niah_case(7, 3, 15),
          niah_case(20, 1000, 64, 0.5, 0.5),
          niah_case(2, 16, 64, 1, 1),
          niah_case(2, 16, 64, 0, 0),
          induction_case(16, 256),
          induction_case(3, 3),
          induction_case(50'277, 30),
          copying_case(16, 16, 128),
          copying_case(1, 4, 2),
          copying_case(32, 16, 64),
          parity_case(false, 40),
          parity_case(true, 40),
          parity_case(false, 1),
          parity_case(true, 1)};
}

std::string describe(const Case& c) {
  return TaskSamples(options(c.name, c.values), c.shape, 1, Split::train).description();
}

TEST(Tasks, EveryTargetIsWhatTheOracleReadsOffTheInputs) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(describe(c));
    for (const Split split : {Split::train, Split::validation}) {
      const Samples samples(options(c.name, c.values), c.shape, 7, split);
      EXPECT_EQ(samples.source.num_targets(), c.num_targets);
      for (int64_t i = 0; i < std::min<int64_t>(3000, samples.source.size()); ++i) {
        const auto [inputs, targets] = samples(i);
        ASSERT_EQ(targets, c.oracle(inputs)) << i;
        ASSERT_EQ(std::count_if(targets.begin(), targets.end(), [](int64_t id) { return id >= 0; }),
                  c.num_targets);
        for (const int64_t id : inputs) ASSERT_TRUE(id >= 0 && id < c.shape.vocab_size) << id;
        ASSERT_LT(*std::max_element(targets.begin(), targets.end()), c.shape.vocab_size);
        ASSERT_FALSE(testing::Test::HasFailure()) << "the inputs are ambiguous";
      }
    }
  }
}

TEST(Tasks, ASampleIsAFunctionOfSeedTaskSplitAndIndex) {
  for (const Case& c : cases()) {
    if (c.shape.sequence_length < 16) continue;  // too few possible samples to differ for certain
    SCOPED_TRACE(describe(c));
    const TaskOptions task = options(c.name, c.values);
    const Samples samples(task, c.shape), again(task, c.shape), other_seed(task, c.shape, 2),
        held_out(task, c.shape, 1, Split::validation);
    std::set<Ids> seen;
    for (const int64_t i : {41, 0, 999, 40}) {
      EXPECT_EQ(samples(i), again(i));
      EXPECT_NE(samples(i), other_seed(i));
      for (const auto& other : {samples(i), held_out(i), other_seed(i)})
        EXPECT_TRUE(seen.insert(other.inputs).second);
    }
  }
}

TEST(Tasks, OtherParametersMeanOtherRandomNumbers) {
  const Samples eight(options("mqar", {{"num_pairs", 8}}), {256, 64});
  const Samples nine(options("mqar", {{"num_pairs", 9}}), {256, 64});
  const Ids a = eight(0).inputs, b = nine(0).inputs;
  int64_t equal = 0;
  for (size_t i = 0; i < 16; ++i) equal += a[i] == b[i];
  EXPECT_LT(equal, 4);
}

TEST(Tasks, SizesOfTheSplits) {
  TaskOptions task = options("parity");
  EXPECT_GE(TaskSamples(task, {2, 8}, 1, Split::train).size(), int64_t{1} << 40);
  EXPECT_EQ(TaskSamples(task, {2, 8}, 1, Split::validation).size(), 1000);
  task.samples = 50;
  task.held_out = 3;
  EXPECT_EQ(TaskSamples(task, {2, 8}, 1, Split::train).size(), 50);
  EXPECT_EQ(TaskSamples(task, {2, 8}, 1, Split::validation).size(), 3);
}

// Pearson's chi-squared statistic of n counts that should be equal; its standard deviation is sqrt(2 (n -
// 1)).
void expect_uniform(const std::vector<int64_t>& counts) {
  const auto n = static_cast<double>(counts.size());
  const double expected = static_cast<double>(std::accumulate(counts.begin(), counts.end(), int64_t{0})) / n;
  double statistic = 0;
  for (const int64_t count : counts)
    statistic += (static_cast<double>(count) - expected) * (static_cast<double>(count) - expected) / expected;
  EXPECT_NEAR(statistic, n - 1, 5 * std::sqrt(2 * (n - 1)));
}

// How often each id in [first, first + size) is at one of the positions.
std::vector<int64_t> tally(const Samples& samples, int64_t num_samples, int64_t first, size_t size,
                           const std::function<bool(size_t, const Sample&)>& chosen) {
  std::vector<int64_t> counts(size);
  for (int64_t i = 0; i < num_samples; ++i) {
    const Sample sample = samples(i);
    for (size_t place = 0; place < sample.inputs.size(); ++place)
      if (chosen(place, sample)) ++counts.at(static_cast<size_t>(sample.inputs[place] - first));
  }
  return counts;
}

TEST(Tasks, IdsAreUniform) {
  const Samples mqar(options("mqar", {{"num_pairs", 8}}), {64, 64});
  expect_uniform(tally(mqar, 4000, 1, 31, [](size_t i, const Sample&) { return i < 16 && i % 2 == 0; }));
  expect_uniform(tally(mqar, 4000, 32, 32, [](size_t i, const Sample&) { return i < 16 && i % 2 == 1; }));
  const Samples parity(options("parity"), {2, 64});
  expect_uniform(tally(parity, 4000, 0, 2, [](size_t, const Sample&) { return true; }));
  const Samples induction(options("induction"), {20, 64});
  expect_uniform(tally(induction, 2000, 1, 19, [](size_t i, const Sample& s) { return s.inputs[i] != 0; }));
}

// The fillers of a sample are uniform over the 48 ids that are in none of its pairs.
TEST(Tasks, MqarFillerIsUniformOverAllIdsButThoseOfThePairs) {
  const Samples samples(options("mqar", {{"num_pairs", 8}}), {64, 128});
  std::vector<int64_t> ranks(48);
  for (int64_t i = 0; i < 2000; ++i) {
    const auto [inputs, targets] = samples(i);
    const std::set<int64_t> used(inputs.begin(), inputs.begin() + 16);
    for (size_t place = 16; place < inputs.size(); ++place)
      if (!used.contains(inputs[place]))
        ++ranks[static_cast<size_t>(inputs[place] -
                                    std::distance(used.begin(), used.lower_bound(inputs[place])))];
  }
  expect_uniform(ranks);
}

// The position of the first key's query follows the power law. With power_a 1 the positions of all queries
// are uniform.
TEST(Tasks, MqarPlacesOfTheQueriesFollowThePowerLaw) {
  constexpr size_t num_pairs = 4, num_places = 28;
  for (const double power_a : {0.01, 0.5, 1.0}) {
    const Samples samples(options("mqar", {{"num_pairs", num_pairs}, {"power_a", power_a}}), {64, 64});
    std::vector<double> counts(num_places);
    constexpr int64_t num_samples = 8000;
    int64_t in_order = 0;
    for (int64_t i = 0; i < num_samples; ++i) {
      const Ids inputs = samples(i).inputs;
      Ids places;
      for (size_t key = 0; key < num_pairs; ++key) {
        const auto query = std::find(inputs.begin() + 2 * num_pairs, inputs.end(), inputs[2 * key]);
        const int64_t place = query - inputs.begin() - static_cast<int64_t>(2 * num_pairs);
        ASSERT_EQ(place % 2, 0);
        places.push_back(place / 2);
      }
      counts.at(static_cast<size_t>(places[0])) += 1;
      in_order += std::is_sorted(places.begin(), places.end());
    }
    double sum = 0, statistic = 0;
    for (size_t i = 0; i < num_places; ++i) sum += std::pow(i + 1, power_a - 1);
    for (size_t i = 0; i < num_places; ++i) {
      const double expected = num_samples * std::pow(i + 1, power_a - 1) / sum;
      statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    EXPECT_NEAR(statistic, num_places - 1, 5 * std::sqrt(2.0 * (num_places - 1))) << power_a;
    // The queries come in any of the 24 orders. With a steeper power law they are in the order of the pairs
    // more often.
    EXPECT_LT(in_order, num_samples / 3) << power_a;
    EXPECT_GT(in_order, num_samples / 30) << power_a;
  }
}

TEST(Tasks, PlacesAreUniform) {
  const Samples niah(options("niah", {{"value_length", 3}}), {50, 64}),
      induction(options("induction"), {50, 64}),
      copying(options("selective_copying", {{"num_data", 4}}), {16, 64});
  std::vector<int64_t> needles(64 - 2 * 3), specials(62), data(60);
  for (int64_t i = 0; i < 4000; ++i) {
    const auto first = [](const Ids& ids, int64_t id) {
      return static_cast<size_t>(std::find(ids.begin(), ids.end(), id) - ids.begin());
    };
    const Ids haystack = niah(i).inputs;
    ++needles.at(first(haystack, haystack[61]));
    ++specials.at(first(induction(i).inputs, 0));
    const Ids memory = copying(i).inputs;
    for (size_t place = 0; place < data.size(); ++place) data[place] += memory[place] != 0;
  }
  expect_uniform(needles);
  expect_uniform(specials);
  expect_uniform(data);
}

TEST(Tasks, TheNeedleLiesBetweenTheDepths) {
  // A sample of 100 tokens, in which the needle of 5 may begin at the positions 0 to 91.
  for (const auto& [shallow, deep, first, last] : std::vector<std::tuple<double, double, int64_t, int64_t>>{
           {0, 1, 0, 91}, {0, 0, 0, 0}, {1, 1, 91, 91}, {0.5, 0.5, 45, 45}, {0.25, 0.5, 22, 45}}) {
    const Samples samples(options("niah", {{"depth_min", shallow}, {"depth_max", deep}}), {50, 100});
    std::set<int64_t> starts;
    for (int64_t i = 0; i < 3000; ++i) {
      const Ids inputs = samples(i).inputs;
      starts.insert(std::find(inputs.begin(), inputs.end(), inputs[96]) - inputs.begin());
    }
    EXPECT_EQ(*starts.begin(), first);
    EXPECT_EQ(*starts.rbegin(), last);
    EXPECT_EQ(static_cast<int64_t>(starts.size()), last - first + 1);
  }
}

TEST(Tasks, DistinctChoicesAreUniform) {
  std::map<Ids, int64_t> orders;  // 5 * 4 * 3 = 60
  for (uint64_t i = 0; i < 30'000; ++i) ++orders[Draws(3, i).distinct(3, 5)];
  ASSERT_EQ(orders.size(), 60u);
  std::vector<int64_t> counts;
  for (const auto& [order, count] : orders) counts.push_back(count);
  expect_uniform(counts);
  Ids all = Draws(3, 0).distinct(100, 100);
  std::sort(all.begin(), all.end());
  for (int64_t i = 0; i < 100; ++i) EXPECT_EQ(all[static_cast<size_t>(i)], i);
}

TEST(Tasks, AVocabularyOfItsOwn) {
  for (const std::string name : {"mqar", "niah", "induction", "selective_copying"}) {
    const Samples samples(options(name, {{"vocab_size", 40}}), {5000, 64});
    for (int64_t i = 0; i < 100; ++i)
      for (const int64_t id : samples(i).inputs) EXPECT_LT(id, 40);
  }
}

TEST(Tasks, RefusesWhatDoesNotFit) {
  const auto refused = [](const std::string& name, const Values& values, int64_t vocab_size, int64_t length) {
    return refusal([&] { make_task(options(name, values), {vocab_size, length}); });
  };
  EXPECT_EQ(refused("mqar", {{"num_pairs", 64}}, 8192, 128),
            "The task mqar takes at least 256 tokens a sample (num_pairs 64: 2 a pair and 2 a query), but "
            "data.sequence_length is 128. Choose longer sequences, or ask for less in them.");
  EXPECT_EQ(refused("mqar", {{"num_pairs", 64}}, 129, 256),
            "The task mqar takes at least 130 token ids (num_pairs 64: as many keys and values, and filler), "
            "but model.vocab_size is 129. Raise it.");
  EXPECT_EQ(refused("mqar", {{"vocab_size", 17}}, 500, 256),
            "The task mqar takes at least 18 token ids (num_pairs 8: as many keys and values, and filler), "
            "but its vocab_size is 17. Raise it.");
  EXPECT_EQ(refused("niah", {{"vocab_size", 600}}, 500, 256),
            "The task niah has vocab_size 600, but model.vocab_size is 500. Raise that one to as many.");
  EXPECT_THAT(refused("niah", {}, 500, 8), AllOf(HasSubstr("9 tokens"), HasSubstr("value_length 4")));
  EXPECT_THAT(refused("niah", {}, 2, 100), HasSubstr("3 token ids"));
  EXPECT_EQ(refused("niah", {{"depth_min", 0.5}, {"depth_max", 0.25}}, 500, 64),
            "The task niah has depth_min 0.5 above depth_max 0.25. Exchange them.");
  EXPECT_THAT(refused("induction", {}, 500, 2), HasSubstr("3 tokens a sample"));
  EXPECT_THAT(refused("induction", {}, 2, 20), HasSubstr("3 token ids"));
  EXPECT_THAT(refused("selective_copying", {}, 500, 31), HasSubstr("32 tokens a sample (num_data 16"));
  EXPECT_THAT(refused("selective_copying", {}, 3, 64), HasSubstr("4 token ids"));
  EXPECT_THAT(refused("parity", {}, 1, 64), HasSubstr("2 token ids (the bits)"));
  for (const Case& c : cases())  // what is accepted, also at the very bounds
    EXPECT_EQ(refused(c.name, c.values, c.shape.vocab_size, c.shape.sequence_length), "") << describe(c);
}

// ---- Tasks read through the loader.

class TaskLoaderTest : public DataFolder {
 protected:
  Loader mixed() const {
    const TaskShape shape{100'000, 32};
    std::vector<Loader::Source> sources;
    sources.push_back(
        {TokenDataset::open(write_dataset(folder / "data", 100'000, {count_up(0, 1000)}), Split::train), 2});
    sources.push_back({TaskSamples(options("mqar", {{"num_pairs", 3}}), shape, 1, Split::train), 1});
    sources.push_back({TaskSamples(options("parity"), shape, 1, Split::train), 0.5});
    return Loader(std::move(sources), 32, 1);
  }
};

Ids ids_of(const at::Tensor& row) {
  return {row.const_data_ptr<int64_t>(), row.const_data_ptr<int64_t>() + row.numel()};
}

TEST_F(TaskLoaderTest, TextAndTasksShareABatch) {
  const Loader loader = mixed();
  EXPECT_EQ(loader.samples_per_epoch(), 31);  // of the text
  const Batch batch = loader.read(0, 70);
  std::map<int64_t, int64_t> by_source;
  for (int64_t i = 0; i < 70; ++i) {
    const Ids inputs = ids_of(batch.inputs[i]), targets = ids_of(batch.targets[i]);
    const auto predicted = std::count_if(targets.begin(), targets.end(), [](int64_t id) { return id >= 0; });
    const int64_t source = loader.sampler().source(i);
    ++by_source[source];
    EXPECT_EQ(predicted, source == 1 ? 3 : 32);
    EXPECT_EQ(loader.num_targets(i, 1), predicted);
    EXPECT_EQ(targets, source == 1   ? mqar_oracle(inputs, 3)
                       : source == 2 ? parity_oracle(inputs, false)
                                     : ids_of(batch.inputs[i] + 1));
    // A sample that is read by itself equals the one in the batch.
    EXPECT_EQ(ids_of(loader.read(i, 1).inputs[0]), inputs);
  }
  EXPECT_EQ(by_source, (std::map<int64_t, int64_t>{{0, 40}, {1, 20}, {2, 10}}));
  EXPECT_EQ(loader.num_targets(0, 70), 50 * 32 + 20 * 3);
}

TEST_F(TaskLoaderTest, FiniteSamplesComeOnceAnEpoch) {
  TaskOptions task = options("niah");
  task.samples = 10;
  std::vector<Loader::Source> sources;
  sources.push_back({TaskSamples(task, {50, 64}, 1, Split::train)});
  const Loader loader(std::move(sources), 64, 1);
  std::map<Ids, int64_t> seen;
  const Batch batch = loader.read(0, 30);
  for (int64_t i = 0; i < 30; ++i) ++seen[ids_of(batch.inputs[i])];
  EXPECT_EQ(seen.size(), 10u);
  for (const auto& [inputs, times] : seen) EXPECT_EQ(times, 3);
}

TEST_F(TaskLoaderTest, HeldOutTasksFollowTheText) {
  const TaskShape shape{100, 16};
  TaskOptions parity = options("parity"), niah = options("niah"), none = options("induction");
  parity.held_out = 3;
  niah.held_out = 2;
  none.held_out = 0;
  std::vector<TokenDataset> datasets;
  datasets.push_back(
      TokenDataset::open(write_dataset(folder / "data", 100, {}, {count_up(0, 33)}), Split::validation));
  std::vector<TaskSamples> tasks;
  for (const TaskOptions& task : {parity, none, niah}) tasks.emplace_back(task, shape, 1, Split::validation);
  const HeldOut held_out(std::move(datasets), 16, std::move(tasks));
  EXPECT_EQ(held_out.size(), 7);
  EXPECT_EQ(held_out.num_windows(), 2);
  const auto ranges = held_out.tasks();
  ASSERT_EQ(ranges.size(), 3u);
  EXPECT_EQ(ranges[0].task, "parity");
  EXPECT_EQ(ranges[1].begin, ranges[1].end);
  EXPECT_EQ(ranges[2].begin, 5);
  EXPECT_EQ(ranges[2].end, 7);
  const Batch batch = held_out.read(1, 6);
  EXPECT_EQ(batch.targets[0][15].item<int64_t>(), 32);
  for (int64_t i = 1; i < 4; ++i)
    EXPECT_EQ(ids_of(batch.targets[i]), parity_oracle(ids_of(batch.inputs[i]), false));
  for (int64_t i = 4; i < 6; ++i)
    EXPECT_EQ(ids_of(batch.targets[i]), niah_oracle(ids_of(batch.inputs[i]), 4));
  EXPECT_DOUBLE_EQ(held_out.tokens_per_byte(), 1);
}

}  // namespace
}  // namespace sisa::data
