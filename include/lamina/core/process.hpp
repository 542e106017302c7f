#pragma once

#include <memory>
#include <mutex>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

/// What belongs to the whole program: its beginning and end, and its forks.
namespace lamina::core_detail {

/// From now on, fork() calls `before` in the parent, then `in_parent` there and `in_child` in the child, whose only
/// thread is the one that forked.
inline void at_fork([[maybe_unused]] void (*before)(), [[maybe_unused]] void (*in_parent)(),
                    [[maybe_unused]] void (*in_child)()) {
#if defined(__unix__) || defined(__APPLE__)
  pthread_atfork(before, in_parent, in_child);
#endif
}

}  // namespace lamina::core_detail

namespace lamina {

/// The mutex of what there is one of: fork() waits for it, so that the child finds it free and what it guards whole.
template <class Guarded>
std::mutex& program_mutex() {
  static std::mutex mutex;
  static const bool registered = [] {
    core_detail::at_fork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });
    return true;
  }();
  static_cast<void>(registered);
  return mutex;
}

}  // namespace lamina

namespace lamina::core_detail {

/// An object whose memory outlives every use, since static objects may use it in any order of destruction, but which is
/// closed with close() when the program ends or the plugin that holds this code is unloaded.
template <class T>
struct Lifetime {
  T* object;
  explicit Lifetime(void* memory) : object(std::construct_at(static_cast<T*>(memory))) {}
  Lifetime(const Lifetime&) = delete;
  Lifetime& operator=(const Lifetime&) = delete;
  ~Lifetime() { object->close(); }
};

}  // namespace lamina::core_detail
