#pragma once

#include <any>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "lamina/core/random.hpp"

namespace lamina {

/// The part of a module that does not depend on its scalar type.
class ModuleBase {
 public:
  virtual ~ModuleBase() = default;
  /// The layer and its options as in its constructor, for messages and summaries: "Conv2d(3, 64, 7, stride=2)".
  virtual std::string name() const = 0;

 protected:
  ModuleBase() = default;
  ModuleBase(const ModuleBase&) = default;
  ModuleBase& operator=(const ModuleBase&) = default;
};

/// What forward saves for backward: a stack of values, and the generator from which forward draws (dropout).
///
/// Each module pops in backward exactly what it pushed in forward; Module's forward and backward check that and name
/// the module that does not. Several forwards may run on one tape before their backwards, which then run in reverse
/// order. One tape belongs to one thread at a time; different tapes are independent.
class Tape {
 public:
  /// The seed of random(). Two runs of the same model over tapes of the same seed drop the same units.
  explicit Tape(std::uint64_t seed = 0) : random_(seed) {}
  explicit Tape(const Random& random) : random_(random) {}

  Random& random() { return random_; }

  /// Saves values, as one entry.
  template <class... T>
  void push(T... values) {
    entries_.emplace_back(std::in_place_type<std::tuple<T...>>, std::move(values)...);
  }

  /// Takes the last entry back; T are the types that were pushed. Throws StateError when there is none, or another.
  template <class... T>
  std::tuple<T...> pop() {
    detail::require<StateError>(entries_.size() > floor_, "Tape: ", current(),
                                " pops more in backward than it pushed in forward");
    auto* values = std::any_cast<std::tuple<T...>>(&entries_.back());
    detail::require<StateError>(values, "Tape: ", current(), " pops values of other types than it pushed");
    std::tuple<T...> result = std::move(*values);
    entries_.pop_back();
    return result;
  }

  bool empty() const { return entries_.empty() && frames_.empty(); }

  /// Forgets everything saved; the generator stays where it is.
  void clear() {
    entries_.clear();
    frames_.clear();
    floor_ = 0;
    current_ = nullptr;
  }

 private:
  template <class>
  friend class Module;

  /// The height of both stacks.
  struct Mark {
    std::size_t entries, frames;
  };
  /// One finished forward: who, from where, and the shape that its gradient must have.
  struct Frame {
    const ModuleBase* module;
    Mark begin;
    Shape output;
  };

  Mark mark() const { return {entries_.size(), frames_.size()}; }
  void rewind(Mark mark) {
    entries_.resize(mark.entries);
    frames_.resize(mark.frames);
  }
  std::string current() const { return current_ ? current_->name() : "the caller"; }

  /// Takes the last forward's frame, which must be this module's.
  Frame take_frame(const ModuleBase& module) {
    detail::require<StateError>(!frames_.empty(), "Tape: backward of ", module.name(),
                                " without a forward on this tape");
    detail::require<StateError>(frames_.back().module == &module, "Tape: backward of ", module.name(),
                                ", but the last forward was of ", frames_.back().module->name());
    Frame frame = frames_.back();
    frames_.pop_back();
    return frame;
  }

  std::vector<std::any> entries_;
  std::vector<Frame> frames_;
  std::size_t floor_ = 0;                // entries below belong to somebody else
  const ModuleBase* current_ = nullptr;  // whose backward runs
  Random random_;
};

}  // namespace lamina
