#pragma once

#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "lamina/core/numbers.hpp"
#include "lamina/core/shape.hpp"

namespace lamina::inline LAMINA_ABI {

/// Seconds of a clock that only goes forward. (POSIX's: the header chrono is a tenth of what including Lamina costs.)
inline double seconds_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// 75 as "1:15", 3675 as "1:01:15".
inline std::string duration_text(double seconds) {
  const auto whole = static_cast<long long>(std::max(0.0, seconds) + 0.5);
  char buffer[32];
  if (whole < 3600)
    std::snprintf(buffer, sizeof buffer, "%lld:%02lld", whole / 60, whole % 60);
  else
    std::snprintf(buffer, sizeof buffer, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  return buffer;
}

namespace detail {

inline bool locale_is_utf8() {
  for (const char* variable : {"LC_ALL", "LC_CTYPE", "LANG"})
    if (const char* value = std::getenv(variable); value && *value)
      return std::strstr(value, "UTF-8") || std::strstr(value, "utf8") || std::strstr(value, "UTF8");
  return false;
}

}  // namespace detail

/// Options of Progress.
struct ProgressOptions {
  std::FILE* stream = stderr;         ///< where it is shown
  std::optional<bool> terminal = {};  ///< whether to draw a bar; if not given, whether the stream is a terminal
  double interval = 10;               ///< elsewhere, seconds between lines
};

/// Shows how a long computation gets on. On a terminal, a bar in one line that is redrawn at most ten times a second:
///
///   epoch 3/10 [#########----------]  45%  loss 0.8123  52,103/s  0:45 left
///
/// elsewhere (a file, a pipe), the same as a plain line every ten seconds. The rate is that of the section, in examples
/// a second, the time left that of all steps.
class Progress {
 public:
  /// `steps`: of all sections together.
  explicit Progress(Index steps, const ProgressOptions& options = {})
      : options_(options),
        terminal_(options.terminal.value_or(::isatty(::fileno(options.stream)) == 1 && !dumb())),
        utf8_(detail::locale_is_utf8()),
        steps_(steps) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  /// Starts a part of the work, with a bar of its own.
  void section(std::string label, Index steps) {
    label_ = std::move(label);
    section_ = {steps, 0, 0, seconds_now()};
  }

  /// One step is done, of so many examples. `note` says how it went.
  void advance(Index examples, std::string_view note) {
    ++done_;
    ++section_.done;
    section_.examples += examples;
    const auto now = seconds_now();
    if ((now - drawn_) < (terminal_ ? 0.1 : options_.interval)) return;
    drawn_ = now;
    draw(now, note);
  }

  /// Prints a line above the bar.
  void line(std::string_view text) {
    std::string out = erase();
    out += text;
    write(out += '\n');
  }

  /// Removes the bar.
  void clear() { write(erase()); }

 private:
  struct Section {
    Index steps, done, examples;
    double begin;
  };

  static bool dumb() {
    const char* kind = std::getenv("TERM");
    return !kind || std::strcmp(kind, "dumb") == 0;
  }

  void draw(double now, std::string_view note) {
    const double fraction =
        section_.steps > 0 ? static_cast<double>(section_.done) / static_cast<double>(section_.steps) : 1;
    const double left = (now - begin_) / static_cast<double>(done_) * static_cast<double>(steps_ - done_);
    const double rate = static_cast<double>(section_.examples) / std::max((now - section_.begin), 1e-9);
    char percent[8];
    std::snprintf(percent, sizeof percent, "%3d%%", static_cast<int>(100 * fraction));
    std::string rest = text("  ", std::string_view(percent), "  ", note, note.empty() ? "" : "  ",
                            with_commas(static_cast<Index>(rate)), "/s  ", duration_text(left), " left");
    if (!terminal_) {
      write(label_ + rest + "\n");
      return;
    }
    const Index room = width() - 1 - static_cast<Index>(label_.size() + rest.size()) - 3;
    std::string line = label_;
    if (room >= 8) line += text(" [", bar(fraction, std::min<Index>(room / 4 * 4, 32)), "]");
    line += rest;
    // A line that is too long would wrap and could not be redrawn. Only the bar has characters of several bytes.
    if (room < 0) line.resize(static_cast<std::size_t>(std::max<Index>(0, width() - 1)));
    write(text("\r", line, "\x1b[K"));  // in one call, from the left, erasing what is left of the old: no flicker
    visible_ = true;
  }

  std::string bar(double fraction, Index cells) const {
    const auto full = static_cast<Index>(fraction * static_cast<double>(cells));
    std::string out;
    for (Index i = 0; i < cells; ++i) out += i < full ? (utf8_ ? "█" : "#") : (utf8_ ? "░" : "-");
    return out;
  }

  Index width() const {
    winsize size{};
    return ::ioctl(::fileno(options_.stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? Index{size.ws_col} : 80;
  }

  std::string erase() { return std::exchange(visible_, false) ? "\r\x1b[K" : ""; }
  void write(const std::string& text) {
    if (text.empty()) return;
    std::fwrite(text.data(), 1, text.size(), options_.stream);
    std::fflush(options_.stream);
  }

  ProgressOptions options_;
  bool terminal_, utf8_;
  bool visible_ = false;  // the bar
  Index steps_, done_ = 0;
  double begin_ = seconds_now(), drawn_ = begin_;
  std::string label_;
  Section section_{0, 0, 0, begin_};
};

}  // namespace lamina::inline LAMINA_ABI
