#include <doctest/doctest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "lamina/core/parallel.hpp"

using namespace lamina;

TEST_CASE("parallel_for visits every index once, in the same pieces for any number of threads") {
  const int before = num_threads();
  for (int threads : {1, 2, 5}) {
    set_num_threads(threads);
    std::vector<std::atomic<int>> visits(103);
    std::atomic<int> wrong{0};
    parallel_for(3, 103, 7, [&](Index first, Index last) {
      if ((first - 3) % 7 != 0 || (last - first != 7 && last != 103)) ++wrong;
      if (worker() < 0 || worker() >= num_threads()) ++wrong;
      for (Index i = first; i < last; ++i) ++visits[static_cast<std::size_t>(i)];
    });
    CHECK(wrong == 0);
    for (std::size_t i = 0; i < visits.size(); ++i) CHECK(visits[i] == (i >= 3));
    parallel_for(5, 5, 1, [&](Index, Index) { ++wrong; });
    CHECK(wrong == 0);
  }
  set_num_threads(before);
}

TEST_CASE("a nested parallel_for and an exception") {
  std::atomic<int> count{0};
  parallel_for(0, 4, 1, [&](Index, Index) { parallel_for(0, 5, 1, [&](Index, Index) { ++count; }); });
  CHECK(count == 20);
  CHECK_THROWS_WITH_AS(parallel_for(0, 100, 1,
                                    [](Index i, Index) {
                                      if (i == 57) throw std::runtime_error("at 57");
                                    }),
                       "at 57", std::runtime_error);
}

TEST_CASE("many threads may call parallel_for at once, again and again") {
  const int before = num_threads();
  set_num_threads(3);
  std::atomic<int> total{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t)
    callers.emplace_back([&] {
      for (int i = 0; i < 500; ++i) parallel_for(0, 8, 1, [&](Index, Index) { ++total; });
    });
  for (auto& caller : callers) caller.join();
  CHECK(total == 4 * 500 * 8);
  set_num_threads(before);
}

TEST_CASE("set_num_threads refuses less than one") {
  CHECK_THROWS_WITH_AS(set_num_threads(0), "set_num_threads: expected at least 1, got 0", ValueError);
}
