// Those who wait for a run's commits: a few and a crowd, nobody misses the end.
#include "runtime/engine/waiting.hpp"

#include "tests/support/catch.hpp"

using kflow::engine::Waiting;
using kflow::store::RunKey;

TEST_CASE("a few and a crowd are told of commits and of the end") {
  const size_t many = GENERATE(size_t{3}, kflow::engine::most_woken_directly + 50);
  constexpr RunKey run = 7;
  constexpr RunKey other = 8;
  constexpr uint64_t last = 500;
  Waiting waiting;
  std::atomic<uint64_t> written = 0;
  std::atomic<size_t> followers_done = 0;
  std::atomic<size_t> enders_done = 0;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < many; ++i) {
    threads.emplace_back([&, i] {
      const bool follows = i % 2 == 0;
      Waiting::Wait wait(waiting, follows ? Waiting::For::events : Waiting::For::end, run);
      for (;;) {
        const uint64_t before = wait.begin();
        if (written == last) break;
        wait.wait(before, std::nullopt);
      }
      ++(follows ? followers_done : enders_done);
    });
  }
  for (uint64_t i = 1; i <= last; ++i) {
    written = i;
    if (i % 50 == 0) waiting.all();
    waiting.committed({other, run}, i == last ? std::vector<RunKey>{run} : std::vector<RunKey>{});
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(followers_done == (many + 1) / 2);
  CHECK(enders_done == many / 2);
}

TEST_CASE("who waits for one run is not woken by another") {
  Waiting waiting;
  Waiting::Wait wait(waiting, Waiting::For::events, 1);
  const uint64_t before = wait.begin();
  waiting.committed({2}, {2});
  CHECK(wait.begin() == before);
  waiting.committed({1}, {});
  CHECK(wait.begin() != before);
}
