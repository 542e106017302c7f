#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

#include "lamina/core/shape.hpp"

namespace lamina {

namespace detail {

/// The number in an environment variable, or 0 if it is not set.
inline int threads_from(const char* variable) {
  const char* text_value = std::getenv(variable);
  if (!text_value || !*text_value) return 0;
  char* end = nullptr;
  const long n = std::strtol(text_value, &end, 10);
  // OMP_NUM_THREADS may be a list, one number for each level of nesting.
  require(end != text_value && (*end == '\0' || *end == ',') && n >= 1 && n <= 4096, variable,
          ": expected a number of threads from 1 to 4096, got '", text_value, "'");
  return static_cast<int>(n);
}

inline int initial_threads() {
  if (const int n = threads_from("LAMINA_NUM_THREADS")) return n;
  if (const int n = threads_from("OMP_NUM_THREADS")) return n;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

inline std::atomic<int>& thread_setting() {
  static std::atomic<int> threads{initial_threads()};
  return threads;
}

/// What this thread is within a parallel_for.
struct WorkerState {
  int index = 0;
  bool inside = false;
};
inline WorkerState& worker_state() {
  thread_local WorkerState state;
  return state;
}

/// The program's threads for parallel_for, started when first needed.
///
/// The pieces of a job are taken from one counter, and the caller waits only for pieces that somebody has taken: when
/// other programs hold the cores, whoever runs does the work. (GCC's OpenMP lets every thread of its team reach a
/// barrier, spinning: with both cores of a machine shared, LeNet trained 10 to 20 times slower than so.)
class ThreadPool {
 public:
  /// Never destroyed: its threads wait on it when the program ends.
  static ThreadPool& instance() {
    static ThreadPool* pool = new ThreadPool;
    return *pool;
  }

  /// call(context, i) for every i < pieces, on this thread and up to threads - 1 others. False, and nothing done, when
  /// another thread's job is running.
  bool run(Index pieces, int threads, void (*call)(const void*, Index), const void* context) {
    const std::unique_lock running(running_, std::try_to_lock);
    if (!running) return false;
    Job job{pieces, call, context};
    {
      const std::lock_guard lock(mutex_);
      while (started_ < threads - 1) {
        std::thread([this] { serve(); }).detach();
        ++started_;
      }
      job_ = &job;
      wanted_ = threads - 1;
      generation_.fetch_add(1, std::memory_order_release);
    }
    posted_.notify_all();
    work(job);
    {
      const std::lock_guard lock(mutex_);
      job_ = nullptr;  // nobody joins any more
    }
    const auto idle = [this] { return active_.load(std::memory_order_acquire) == 0; };
    spin_until(idle);
    if (!idle()) {
      std::unique_lock lock(mutex_);
      left_.wait(lock, idle);
    }
    if (job.failure) std::rethrow_exception(job.failure);
    return true;
  }

 private:
  struct Job {
    Index pieces;
    void (*call)(const void*, Index);
    const void* context;
    std::atomic<Index> next{0};
    std::atomic<bool> failed{false};
    std::exception_ptr failure{};
  };

  static void work(Job& job) {
    WorkerState& state = worker_state();
    state.inside = true;
    for (Index i; (i = job.next.fetch_add(1, std::memory_order_relaxed)) < job.pieces;) {
      try {
        job.call(job.context, i);
      } catch (...) {
        if (!job.failed.exchange(true)) job.failure = std::current_exception();
        job.next.store(job.pieces, std::memory_order_relaxed);
      }
    }
    state.inside = false;
  }

  void serve() {
    std::uint64_t seen = 0;
    for (;;) {
      // The next job of a training step often comes within microseconds; sleeping and waking would cost more.
      spin_until([&] { return generation_.load(std::memory_order_relaxed) != seen; });
      std::unique_lock lock(mutex_);
      posted_.wait(lock, [&] {
        if (generation_.load(std::memory_order_relaxed) == seen) return false;
        if (job_ && wanted_ > 0) return true;
        seen = generation_.load(std::memory_order_relaxed);  // too late for that one
        return false;
      });
      seen = generation_.load(std::memory_order_relaxed);
      Job& job = *job_;
      worker_state().index = wanted_--;
      active_.fetch_add(1, std::memory_order_relaxed);
      lock.unlock();
      work(job);
      lock.lock();
      if (active_.fetch_sub(1, std::memory_order_release) == 1) left_.notify_one();
    }
  }

  /// Waits for a condition for some 20 microseconds.
  template <class Condition>
  static void spin_until(Condition condition) {
    for (int i = 0; i < 500 && !condition(); ++i) {
#if defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      asm volatile("yield");
#endif
    }
  }

  std::mutex running_;  // held while a job runs
  std::mutex mutex_;    // guards what follows
  std::condition_variable posted_, left_;
  Job* job_ = nullptr;
  int started_ = 0;                           // threads
  int wanted_ = 0;                            // how many more may join the job
  std::atomic<int> active_{0};                // how many are in it
  std::atomic<std::uint64_t> generation_{0};  // of the job; changed under the mutex
};

}  // namespace detail

/// How many threads parallel_for may use. Initially LAMINA_NUM_THREADS, else OMP_NUM_THREADS, else the cores that the
/// program may run on.
inline int num_threads() { return detail::thread_setting().load(std::memory_order_relaxed); }

/// Sets it for the whole program. Results do not depend on it. Throws ValueError unless threads >= 1.
inline void set_num_threads(int threads) {
  detail::require(threads >= 1, "set_num_threads: expected at least 1, got ", threads);
  detail::thread_setting().store(threads, std::memory_order_relaxed);
}

/// Which of the num_threads() workers of a parallel_for this is, from 0: an index into scratch memory made beforehand.
inline int worker() { return detail::worker_state().index; }

/// Calls f(first, last) for consecutive pieces of [begin, end), each of `grain` indices (the last may be shorter), on
/// up to num_threads() threads. The pieces depend on the range and the grain alone, never on the number of threads, so
/// a reduction over per-piece partial results is reproducible. A call from inside another parallel_for, or while
/// another thread's runs, is serial. The first exception is rethrown after all threads have stopped.
template <class F>
void parallel_for(Index begin, Index end, Index grain, F&& f) {
  if (end <= begin) return;
  grain = std::max<Index>(grain, 1);
  const Index pieces = (end - begin + grain - 1) / grain;
  const auto piece = [&](Index i) {
    const Index first = begin + i * grain;
    f(first, std::min(end, first + grain));
  };
  const int threads = static_cast<int>(std::min<Index>(num_threads(), pieces));
  if (threads > 1 && !detail::worker_state().inside) {
    const auto call = [](const void* context, Index i) { (*static_cast<decltype(&piece)>(context))(i); };
    if (detail::ThreadPool::instance().run(pieces, threads, call, &piece)) return;
  }
  for (Index i = 0; i < pieces; ++i) piece(i);
}

}  // namespace lamina
