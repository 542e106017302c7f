#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

#include "lamina/core/denormals.hpp"
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
      if (worker() < 0 || worker() >= threads) ++wrong;
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

namespace {

/// Whether each piece finds what it has just written in its scratch memory, and the memory aligned.
bool scratch_is_ones_own(const Workers& workers) {
  std::atomic<int> wrong{0}, pieces{0};
  workers.parallel_for(0, 64, 1, Scratch<Index>{33}, [&](Index first, Index, Index* mine) {
    if (reinterpret_cast<std::uintptr_t>(mine) % 64 != 0) ++wrong;
    std::fill_n(mine, 33, first);
    std::this_thread::yield();
    for (Index i = 0; i < 33; ++i) wrong += mine[i] != first;
    ++pieces;
  });
  return wrong == 0 && pieces == 64;
}

}  // namespace

TEST_CASE("scratch memory is made for the threads that use it, whatever set_num_threads says meanwhile") {
  const int before = num_threads();
  for (const int first : {1, 2, 5})
    for (const int then : {1, 3, 8}) {
      set_num_threads(first);
      const Workers workers;
      CHECK(workers.count() == first);
      set_num_threads(then);
      CHECK(scratch_is_ones_own(workers));
      CHECK(scratch_is_ones_own(Workers()));
    }
  // Inside: one thread, whichever it is and whatever is set there.
  set_num_threads(4);
  std::atomic<int> wrong{0};
  parallel_for(0, 64, 1, Scratch<float>{1}, [&](Index i, Index, float* outer) {
    *outer = static_cast<float>(i);
    set_num_threads(i % 2 ? 1 : 4);
    if (Workers().count() != 1 || !scratch_is_ones_own(Workers())) ++wrong;
    if (*outer != static_cast<float>(i)) ++wrong;
  });
  CHECK(wrong == 0);
  set_num_threads(before);
}

TEST_CASE("scratch memory for no pieces and of no size") {
  parallel_for(3, 3, 1, Scratch<float>{8}, [](Index, Index, float*) { FAIL("there is nothing to do"); });
  int pieces = 0;
  parallel_for(0, 1, 1, Scratch<float>{0}, [&](Index, Index, float*) { ++pieces; });
  CHECK(pieces == 1);
}

TEST_CASE("set_num_threads refuses less than one") {
  CHECK_THROWS_WITH_AS(set_num_threads(0), "set_num_threads: expected at least 1, got 0", ValueError);
}

TEST_CASE("numbers too small to be normal count as zero in a scope, on all its threads, and nowhere else") {
  if (!FlushDenormals::possible) return;
  volatile float small = 1e-30f;
  const auto product = [&] { return small * 1e-12f; };  // 1e-42
  const auto each_thread = [&](bool zero) {
    std::atomic<int> wrong{0};
    parallel_for(0, 64, 1, [&](Index, Index) {
      for (volatile int spin = 0; spin < 20000;) spin = spin + 1;  // so that all threads take part
      wrong += (product() == 0) != zero;
    });
    CHECK(wrong == 0);
  };
  const int before = num_threads();
  set_num_threads(4);
  each_thread(false);
  {
    const FlushDenormals flush;
    CHECK(product() == 0);
    volatile float tiny = 1e-42f;
    CHECK(tiny + 0.0f == 0);
    each_thread(true);
    {
      const FlushDenormals again;
      each_thread(true);
    }
    CHECK(product() == 0);
  }
  CHECK(product() != 0);
  each_thread(false);
  set_num_threads(before);
}
