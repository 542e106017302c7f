#pragma once

#include <concepts>
#include <cstdio>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "lamina/core/isa.hpp"

/// Lamina's exceptions. Every misuse throws one of these; what() names the layer or file, what it expected and what
/// it found. Catching `lamina::Error` catches them all.
namespace lamina {

/// Base of everything Lamina throws on purpose.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;

  /// The message, with the place in the model before it once that is known.
  const char* what() const noexcept override { return located_ ? located_->c_str() : std::runtime_error::what(); }

  /// Puts where in a model it happened in front of the message: "features.3" makes "conv1: Conv2d(...): ..." to
  /// "features.3.conv1: Conv2d(...): ...". An empty path changes nothing.
  void locate(const std::string& path) {
    if (path.empty()) return;
    located_ = std::make_shared<const std::string>(path + (located_ ? "." : ": ") + what());
  }

 private:
  std::shared_ptr<const std::string> located_;
};

/// A tensor's shape does not fit: wrong rank, wrong number of channels, a window larger than its image.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// An option or argument is outside its documented range.
class ValueError : public Error {
 public:
  using Error::Error;
};

/// The Tape was used out of order, or an object is not in the state the call needs.
class StateError : public Error {
 public:
  using Error::Error;
};

/// A computation left the finite numbers (a NaN loss).
class NumericalError : public Error {
 public:
  using Error::Error;
};

/// A file is missing, unreadable, damaged or foreign, or cannot be written. The message starts with the path.
class FileError : public Error {
 public:
  using Error::Error;
};

/// Tensor storage could not be had, from the system or within `set_storage_limit`.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

namespace core_detail {

/// An argument of text(), which it refers to. One type for all: a message's arguments cost the compiler little.
class Part {
 public:
  Part(std::string_view text) : text_(text) {}
  Part(const char* text) : text_(text) {}
  Part(const std::string& text) : text_(text) {}
  Part(const char& c) : text_(&c, 1) {}
  Part(bool value) : text_(value ? "true" : "false") {}
  template <class T>
  requires requires(const T& t) {
    { t.to_string() } -> std::convertible_to<std::string>;
  }
  Part(const T& value)
      : value_(&value),
        append_([](std::string& out, const void* v) { out += static_cast<const T*>(v)->to_string(); }) {}
  template <std::integral T>
  Part(const T& value)
      : value_(&value),
        append_([](std::string& out, const void* v) { out += std::to_string(*static_cast<const T*>(v)); }) {}
  template <std::floating_point T>
  Part(const T& value)
      : value_(&value), append_([](std::string& out, const void* v) { append(out, *static_cast<const T*>(v)); }) {}

  void append_to(std::string& out) const {
    if (append_)
      append_(out, value_);
    else
      out += text_;
  }

 private:
  static void append(std::string& out, double value) {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, "%g", value);
    out += buffer;
  }

  std::string_view text_;
  const void* value_ = nullptr;
  void (*append_)(std::string& out, const void* value) = nullptr;
};

inline std::string joined(std::initializer_list<Part> parts) {
  std::string out;
  for (const Part& part : parts) part.append_to(out);
  return out;
}

}  // namespace core_detail

/// The arguments' texts, one after the other: text("expected ", 3, ", got ", shape). A number is printed as by printf's
/// %g, anything else that is not a text by its to_string(): shapes, sizes, modules.
template <class... Args>
std::string text(const Args&... args) {
  return core_detail::joined({args...});
}

/// Throws Exception(text(args...)).
template <class Exception, class... Args>
[[noreturn, gnu::cold, gnu::noinline]] void fail(const Args&... args) {
  throw Exception(core_detail::joined({args...}));
}

/// Throws Exception(text(args...)) when the condition does not hold; the text is only made then. A module in it stands
/// for its name.
template <class Exception = ValueError, class... Args>
void require(bool condition, const Args&... args) {
  if (!condition) fail<Exception>(args...);
}

}  // namespace lamina
