#include "data/prefetcher.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <optional>
#include <stdexcept>
#include <thread>

namespace sisa::data {
namespace {

using std::chrono::milliseconds;

Batch numbered(int64_t first, int64_t count) {
  const at::Tensor ids = at::full({count, 1}, first, at::kLong);
  return {ids, ids + 1};
}

TEST(Prefetcher, GivesBatchesInTheOrderOfRequests) {
  // The later a batch was requested, the sooner it is read.
  Prefetcher prefetcher(
      [](int64_t first, int64_t count) {
        std::this_thread::sleep_for(milliseconds(20 - first));
        return numbered(first, count);
      },
      /*pinned=*/false, /*num_threads=*/4);
  for (int64_t i = 0; i < 20; ++i) prefetcher.request(i, 1 + i % 3);
  EXPECT_EQ(prefetcher.num_requested(), 20);
  for (int64_t i = 0; i < 20; ++i) {
    const Batch batch = prefetcher.take(i, 1 + i % 3);
    EXPECT_EQ(batch.inputs.size(0), 1 + i % 3);
    EXPECT_EQ(batch.inputs[0][0].item<int64_t>(), i);
    EXPECT_EQ(batch.targets[0][0].item<int64_t>(), i + 1);
  }
  EXPECT_EQ(prefetcher.num_requested(), 0);
}

TEST(Prefetcher, ReadsWhileTheCallerComputes) {
  std::atomic<int> read{0};
  Prefetcher prefetcher(
      [&](int64_t first, int64_t count) {
        ++read;
        return numbered(first, count);
      },
      /*pinned=*/false);
  for (int64_t i = 0; i < 8; ++i) prefetcher.request(i, 1);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (read < 8 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(read, 8);  // and none was taken
}

TEST(Prefetcher, GivesNothingButWhatIsNext) {
  Prefetcher prefetcher(numbered, /*pinned=*/false);
  EXPECT_THROW(prefetcher.take(0, 2), c10::Error);  // nothing was requested
  prefetcher.request(4, 2);
  prefetcher.request(6, 2);
  EXPECT_THROW(prefetcher.take(6, 2), c10::Error);  // it is not next
  EXPECT_THROW(prefetcher.take(4, 1), c10::Error);  // it is longer
  EXPECT_EQ(prefetcher.num_requested(), 2);         // a refusal takes nothing
  EXPECT_EQ(prefetcher.take(4, 2).inputs[0][0].item<int64_t>(), 4);
  EXPECT_EQ(prefetcher.take(6, 2).inputs[0][0].item<int64_t>(), 6);
}

TEST(Prefetcher, CountsTheTimeThatTheCallerWaited) {
  std::promise<void> asked;  // the batch is read only after the caller has asked for it
  Prefetcher prefetcher(
      [wanted = asked.get_future().share()](int64_t first, int64_t count) {
        if (first == 1) {
          wanted.wait();
          std::this_thread::sleep_for(milliseconds(200));
        }
        return numbered(first, count);
      },
      /*pinned=*/false);
  prefetcher.request(1, 1);
  prefetcher.request(2, 1);
  EXPECT_EQ(prefetcher.seconds_waited(), 0);
  asked.set_value();
  prefetcher.take(1, 1);
  const double waited = prefetcher.seconds_waited();
  EXPECT_GT(waited, 0.05);
  prefetcher.take(2, 1);  // it was read meanwhile
  EXPECT_GE(prefetcher.seconds_waited(), waited);
  EXPECT_LT(prefetcher.seconds_waited(), waited + 0.2);
}

TEST(Prefetcher, ThrowsWhatReadingThrew) {
  Prefetcher prefetcher(
      [](int64_t first, int64_t count) {
        if (first == 1) throw std::runtime_error("a bad file");
        return numbered(first, count);
      },
      /*pinned=*/false);
  for (int64_t i = 0; i < 3; ++i) prefetcher.request(i, 1);
  prefetcher.take(0, 1);
  EXPECT_THROW(prefetcher.take(1, 1), std::runtime_error);
  EXPECT_EQ(prefetcher.take(2, 1).inputs[0][0].item<int64_t>(), 2);
}

TEST(Prefetcher, EndsWithoutReadingWhatNobodyTook) {
  std::atomic<int> read{0};
  {
    Prefetcher prefetcher(
        [&](int64_t first, int64_t count) {
          ++read;
          std::this_thread::sleep_for(milliseconds(5));
          return numbered(first, count);
        },
        /*pinned=*/false, /*num_threads=*/1);
    for (int64_t i = 0; i < 10'000; ++i) prefetcher.request(i, 1);
    prefetcher.take(0, 1);
  }
  EXPECT_LT(read, 10'000);
}

}  // namespace
}  // namespace sisa::data
