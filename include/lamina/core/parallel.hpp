#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "lamina/core/denormals.hpp"
#include "lamina/core/process.hpp"
#include "lamina/core/shape.hpp"
#include "lamina/core/storage.hpp"

namespace lamina {

namespace core_detail {

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

/// The program's threads for parallel_for, started when first needed, and joined when the program ends or the plugin
/// that holds this code is unloaded. A child of a fork starts its own.
///
/// The pieces of a job are taken from one counter, and the caller waits only for pieces that somebody has taken: when
/// other programs hold the cores, whoever runs does the work. (GCC's OpenMP lets every thread of its team reach a
/// barrier, spinning: with both cores of a machine shared, LeNet trained 10 to 20 times slower than so.)
class ThreadPool {
 public:
  using Call = void (*)(const void* context, Index piece, int worker);

  static ThreadPool& instance() {
    alignas(ThreadPool) static std::byte memory[sizeof(ThreadPool)];
    static const Lifetime<ThreadPool> lifetime(memory);
    return *lifetime.object;
  }

  ThreadPool() {
    at_fork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); }, [] { instance().restart(); });
  }

  /// call(context, i, worker) for every i < pieces, on this thread, worker 0, and up to threads - 1 others, workers 1
  /// to threads - 1. False, and nothing done, when another thread's job is running or there is no other thread.
  bool run(Index pieces, int threads, Call call, const void* context) {
    std::unique_lock running(running_, std::try_to_lock);
    if (!running) return false;
    Job job{pieces, call, context};
    const int forks = forks_;
    {
      const std::lock_guard lock(mutex_);
      start(threads - 1);
      if (threads_.empty()) return false;
      job_ = &job;
      wanted_ = threads - 1;
      generation_.fetch_add(1, std::memory_order_release);
    }
    posted_.notify_all();
    work(job, 0);
    if (forks != forks_) {
      running.release();  // the parent's
      throw StateError("parallel_for: a child of a fork inside it must not return into it, the other threads are gone");
    }
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

  /// Joins the threads. From now on every parallel_for is serial.
  void close() {
    std::vector<std::thread> threads;
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
      threads.swap(threads_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    posted_.notify_all();
    for (std::thread& thread : threads)
      if (thread.get_id() == std::this_thread::get_id())
        thread.detach();  // a piece has called std::exit
      else
        thread.join();
  }

 private:
  using Clock = std::chrono::steady_clock;
  struct Job {
    Index pieces;
    Call call;
    const void* context;
    FloatControl control = float_control();  // the caller's, that all compute alike
    std::atomic<Index> next{0};
    std::atomic<bool> failed{false};
    std::exception_ptr failure{};
  };

  static void work(Job& job, int worker) {
    WorkerState& state = worker_state();
    state = {worker, true};
    for (Index i; (i = job.next.fetch_add(1, std::memory_order_relaxed)) < job.pieces;) {
      try {
        job.call(job.context, i, worker);
      } catch (...) {
        if (!job.failed.exchange(true)) job.failure = std::current_exception();
        job.next.store(job.pieces, std::memory_order_relaxed);
      }
    }
    state = {};
  }

  /// Sees that there are so many threads, or as many as the system allows.
  void start(int threads) {
    if (closed_ || static_cast<int>(threads_.size()) >= threads || Clock::now() < next_attempt_) return;
    try {
      while (static_cast<int>(threads_.size()) < threads) threads_.emplace_back([this] { serve(); });
    } catch (const std::exception&) {  // no memory, or a limit of processes
      next_attempt_ = Clock::now() + std::chrono::seconds(1);
    }
  }

  /// In the child of a fork, which has inherited everything but the threads. mutex_ is held.
  void restart() {
    for (std::thread& thread : threads_) std::construct_at(&thread);  // nothing to join
    threads_.clear();
    std::construct_at(&running_);
    std::construct_at(&posted_);
    std::construct_at(&left_);
    job_ = nullptr;
    wanted_ = 0;
    active_ = 0;
    ++forks_;
    mutex_.unlock();
  }

  void serve() {
    std::uint64_t seen = 0;
    for (;;) {
      // The next job of a training step often comes within microseconds; sleeping and waking would cost more.
      spin_until([&] { return generation_.load(std::memory_order_relaxed) != seen; });
      std::unique_lock lock(mutex_);
      posted_.wait(lock, [&] {
        if (closed_) return true;
        if (generation_.load(std::memory_order_relaxed) == seen) return false;
        if (job_ && wanted_ > 0) return true;
        seen = generation_.load(std::memory_order_relaxed);  // too late for that one
        return false;
      });
      if (closed_) return;
      seen = generation_.load(std::memory_order_relaxed);
      Job& job = *job_;
      const int worker = wanted_--;
      active_.fetch_add(1, std::memory_order_relaxed);
      lock.unlock();
      set_float_control(job.control);
      work(job, worker);
      lock.lock();
      if (active_.fetch_sub(1, std::memory_order_release) == 1) left_.notify_one();
    }
  }

  /// Waits for a condition: some 20 microseconds that nobody else gets, then as many turns in which whoever waits for
  /// the core has it first.
  template <class Condition>
  static void spin_until(Condition condition) {
    for (int i = 0; i < 1000 && !condition(); ++i) {
      if (i >= 500) {
        std::this_thread::yield();
        continue;
      }
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
  std::vector<std::thread> threads_;
  Clock::time_point next_attempt_{};  // at starting more of them
  bool closed_ = false;
  Job* job_ = nullptr;
  int wanted_ = 0;                            // how many more may join the job
  std::atomic<int> active_{0};                // how many are in it
  std::atomic<std::uint64_t> generation_{0};  // of the job; changed under the mutex
  std::atomic<int> forks_{0};                 // between the first process and this one
};

/// call(context, i, worker) for every i < pieces, on up to `threads` threads if there are others to be had.
[[gnu::noinline]] inline void run_pieces(Index pieces, int threads, ThreadPool::Call call, const void* context) {
  // One copy of the code for any number of threads: compilers fuse multiplications with additions as they see fit, in
  // an inlined copy perhaps otherwise.
  asm("" : "+r"(call));
  const bool several = threads > 1 && pieces > 1 && !worker_state().inside;
  if (several && ThreadPool::instance().run(pieces, static_cast<int>(std::min<Index>(threads, pieces)), call, context))
    return;
  for (Index i = 0; i < pieces; ++i) call(context, i, 0);
}

}  // namespace core_detail

/// How many threads parallel_for may use. Initially LAMINA_NUM_THREADS, else OMP_NUM_THREADS, else the cores that the
/// program may run on.
inline int num_threads() { return core_detail::thread_setting().load(std::memory_order_relaxed); }

/// Sets it for the whole program. Results do not depend on it. Throws ValueError unless threads >= 1.
inline void set_num_threads(int threads) {
  require(threads >= 1, "set_num_threads: expected at least 1, got ", threads);
  core_detail::thread_setting().store(threads, std::memory_order_relaxed);
}

/// Which of parallel_for's threads this is, from 0, for messages. (It is no index into memory that somebody has made
/// for num_threads() threads, a number that may have changed since: memory for each thread is Scratch.)
inline int worker() { return core_detail::worker_state().index; }

/// Asks parallel_for for memory for `size` values of T, uninitialised and aligned to 64 bytes, for each thread.
template <class T>
struct Scratch {
  static_assert(std::is_trivially_copyable_v<T>);
  Index size;  ///< elements of T for each worker
};

/// The threads that one call may use. Their number is read once, from num_threads(), and holds for every parallel_for
/// of this object; inside another parallel_for it is 1.
class Workers {
 public:
  Workers() : count_(core_detail::worker_state().inside ? 1 : num_threads()) {}

  /// The number of workers, at least 1.
  int count() const { return count_; }

  /// Calls f(first, last) for consecutive pieces of [begin, end), each of `grain` indices (the last may be shorter), on
  /// up to count() threads. The pieces depend on the range and the grain alone, never on the number of threads, so a
  /// reduction over per-piece partial results is reproducible. A call from inside another parallel_for, or while
  /// another thread's runs, or where the system allows no other thread, is serial. The first exception is rethrown
  /// after all threads have stopped. A child of a fork inside f must not return from it.
  template <class F>
  void parallel_for(Index begin, Index end, Index grain, F&& f) const {
    run(begin, end, grain, [&](Index first, Index last, int) { f(first, last); });
  }
  /// Calls f(first, last, memory) likewise, the T* memory being this thread's; it holds what the piece before, on
  /// whatever thread, has left there.
  template <class T, class F>
  void parallel_for(Index begin, Index end, Index grain, Scratch<T> scratch, F&& f) const {
    if (end <= begin) return;
    constexpr auto unit = static_cast<Index>(core_detail::storage_alignment);
    const Index stride = parts_of(scratch.size * static_cast<Index>(sizeof(T)), unit) * unit;
    const Index copies = std::min<Index>(parts_of(end - begin, std::max<Index>(grain, 1)), count_);
    const core_detail::Storage memory(static_cast<std::size_t>(copies * stride));
    run(begin, end, grain, [&](Index first, Index last, int worker) {
      f(first, last, reinterpret_cast<T*>(memory.data() + worker * stride));
    });
  }

 private:
  template <class F>
  void run(Index begin, Index end, Index grain, F&& f) const {
    if (end <= begin) return;
    grain = std::max<Index>(grain, 1);
    const Index pieces = parts_of(end - begin, grain);
    const auto piece = [&](Index i, int worker) {
      const Index first = begin + i * grain;
      f(first, first + std::min(grain, end - first), worker);
    };
    const auto call = [](const void* context, Index i, int worker) {
      (*static_cast<decltype(&piece)>(context))(i, worker);
    };
    core_detail::run_pieces(pieces, count_, call, &piece);
  }

  int count_;
};

/// Workers().parallel_for(begin, end, grain, f): f(first, last) for the pieces of [begin, end).
template <class F>
void parallel_for(Index begin, Index end, Index grain, F&& f) {
  Workers().parallel_for(begin, end, grain, std::forward<F>(f));
}
/// The same with scratch memory: f(first, last, memory).
template <class T, class F>
void parallel_for(Index begin, Index end, Index grain, Scratch<T> scratch, F&& f) {
  Workers().parallel_for(begin, end, grain, scratch, std::forward<F>(f));
}

}  // namespace lamina
