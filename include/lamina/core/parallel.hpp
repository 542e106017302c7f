#pragma once

#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>

#include "lamina/core/shape.hpp"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace lamina {

namespace detail {

inline int initial_threads() {
  if (const char* text = std::getenv("LAMINA_NUM_THREADS")) {
    char* end = nullptr;
    const long n = std::strtol(text, &end, 10);
    require(end != text && *end == '\0' && n >= 1 && n <= 4096,
            "LAMINA_NUM_THREADS: expected a number of threads from 1 to 4096, got '", text, "'");
    return static_cast<int>(n);
  }
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

inline std::atomic<int>& thread_setting() {
  static std::atomic<int> threads{initial_threads()};
  return threads;
}

}  // namespace detail

/// How many threads parallel_for may use. Initially LAMINA_NUM_THREADS, else OpenMP's choice (OMP_NUM_THREADS or the
/// cores); 1 in a build without OpenMP.
inline int num_threads() { return detail::thread_setting().load(std::memory_order_relaxed); }

/// Sets it for the whole program. Results do not depend on it. Throws ValueError unless threads >= 1.
inline void set_num_threads(int threads) {
  detail::require(threads >= 1, "set_num_threads: expected at least 1, got ", threads);
  detail::thread_setting().store(threads, std::memory_order_relaxed);
}

/// Which of the num_threads() workers of a parallel_for this is, from 0: an index into scratch memory made beforehand.
inline int worker() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

/// Calls f(first, last) for consecutive pieces of [begin, end), each of `grain` indices (the last may be shorter), on
/// up to num_threads() threads. The pieces depend on the range and the grain alone, never on the number of threads, so
/// a reduction over per-piece partial results is reproducible. A call from inside another parallel_for runs serially.
/// The first exception is rethrown after all threads have stopped.
template <class F>
void parallel_for(Index begin, Index end, Index grain, F&& f) {
  if (end <= begin) return;
  grain = std::max<Index>(grain, 1);
  const Index pieces = (end - begin + grain - 1) / grain;
  const auto piece = [&](Index i) {
    const Index first = begin + i * grain;
    f(first, std::min(end, first + grain));
  };
#ifdef _OPENMP
  const int threads = static_cast<int>(std::min<Index>(num_threads(), pieces));
  if (threads > 1 && !omp_in_parallel()) {
    std::exception_ptr failure;
    std::mutex mutex;
    std::atomic<bool> failed{false};
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (Index i = 0; i < pieces; ++i) {
      if (failed.load(std::memory_order_relaxed)) continue;
      try {
        piece(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!failed.exchange(true)) failure = std::current_exception();
      }
    }
    if (failure) std::rethrow_exception(failure);
    return;
  }
#endif
  for (Index i = 0; i < pieces; ++i) piece(i);
}

}  // namespace lamina
