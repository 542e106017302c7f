#pragma once

#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <deque>
#include <string>

namespace lamina::examples {

/// While it lives, SIGINT and SIGTERM end the program as ever, but it says first on stderr which checkpoint the run can
/// be resumed from. A signal that is ignored (nohup) stays so. One at a time.
class Interruption {
 public:
  /// `checkpoint` is what the run itself was resumed from, if it was.
  explicit Interruption(const std::string& checkpoint = {}) {
    set_message(checkpoint);
    for (std::size_t i = 0; i < signals.size(); ++i) {
      struct sigaction action = {};
      action.sa_handler = on_signal;
      ::sigaction(signals[i], nullptr, &old_[i]);
      if (old_[i].sa_handler != SIG_IGN) ::sigaction(signals[i], &action, nullptr);
    }
  }
  ~Interruption() {
    for (std::size_t i = 0; i < signals.size(); ++i) ::sigaction(signals[i], &old_[i], nullptr);
  }
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  /// save() writes the checkpoint at `path`. A signal meanwhile waits until it is whole.
  template <class Save>
  void save_checkpoint(const std::string& path, Save save) {
    struct Writing {
      Writing() { writing = true; }
      ~Writing() {
        writing = false;
        if (const int signal = pending.exchange(0)) on_signal(signal);
      }
    } guard;
    save();
    set_message(path);
  }

 private:
  static constexpr std::array<int, 2> signals{SIGINT, SIGTERM};

  void set_message(const std::string& checkpoint) {
    texts_.push_back(checkpoint.empty() ? "\nstopped; there is no checkpoint to resume from\n"
                                        : "\nstopped; to go on: --resume " + checkpoint + "\n");
    message = &texts_.back();  // the old ones stay: another thread's handler may read them
  }

  static void on_signal(int signal) {
    if (writing) {
      pending = signal;
      return;
    }
    const std::string& text = *message;
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }

  static inline std::atomic<const std::string*> message = nullptr;
  static inline std::atomic<bool> writing = false;
  static inline std::atomic<int> pending = 0;
  std::deque<std::string> texts_;
  std::array<struct sigaction, signals.size()> old_{};
};

}  // namespace lamina::examples
