#pragma once

#include <any>
#include <cstdint>
#include <functional>
#include <string>
#include <tuple>
#include <typeinfo>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lamina/core/random.hpp"
#include "lamina/nn/fields.hpp"
#include "lamina/nn/value.hpp"

namespace lamina::inline LAMINA_ABI {

template <class>
class Checkpoint;

/// The part of a module that does not depend on its scalar type.
class ModuleBase {
 public:
  virtual ~ModuleBase() = default;

  /// What it is: its type and its options by name. A module that has options says them here; otherwise the type's name
  /// is all. Only for messages, summaries and export: it composes texts.
  virtual Fields fields() const { return Fields(detail::type_name_of(typeid(*this))); }
  /// The fields as in the constructor: "Conv2d(3, 64, 7, stride=2)".
  [[gnu::cold]] std::string name() const { return fields().to_string(); }
  /// The same, for require.
  std::string to_string() const { return name(); }

  /// Whether forward computes as infer does: statistics stand still, nothing is dropped. See freeze(), which sets it
  /// for a module and all below it; layers that differ in training ask for it.
  /// @{
  bool frozen() const { return frozen_; }
  void set_frozen(bool frozen) { frozen_ = frozen; }
  /// @}

 protected:
  ModuleBase() = default;
  /// A copy is frozen if the original is.
  /// @{
  ModuleBase(const ModuleBase&) = default;
  ModuleBase& operator=(const ModuleBase&) = default;
  /// @}

 private:
  bool frozen_ = false;
};

/// What forward saves for backward: which layer ran on which values, what it keeps for its gradient, and the generator
/// from which it draws (dropout).
///
/// Each layer pops in backward exactly what it pushed in forward; that is checked, and a layer that does not is named.
/// Several forwards may run on one tape before their backwards, which then run in reverse order; a thousand of one
/// module that wait for their backwards are taken for a mistake (see set_limit). One tape belongs to one thread at a
/// time; different tapes are independent.
class Tape {
 public:
  /// The seed of random(). Two runs of the same model over tapes of the same seed drop the same units.
  /// @{
  explicit Tape(std::uint64_t seed = 0) : random_(seed) {}
  explicit Tape(const Random& random) : random_(random) {}
  /// @}

  /// One on which a forward is run again: it draws what the first one drew from `random` on, and replays().
  static Tape replaying(const Random& random) {
    Tape tape(random);
    tape.replays_ = true;
    return tape;
  }

  /// What layers draw from in training, such as dropout.
  Random& random() { return random_; }

  /// True while a forward is run again, as by Checkpoint: statistics have been counted the first time.
  bool replays() const { return replays_; }

  /// Whether the layer that runs may give its result in blocks (see Blocks).
  bool in_blocks() const { return in_blocks_; }

  /// In backward_values: the gradient that other layers have given input i so far, for a layer that adds to it (the dx
  /// that it returns is then the sum, and a pass over memory is saved); or an empty tensor. Not taken, dx is added to
  /// it afterwards.
  template <class Scalar>
  Tensor<Scalar> take_gradient(std::size_t i) {
    auto* const sums = static_cast<Few<Tensor<Scalar>>*>(sums_);
    return sums && i < sums->size() ? std::exchange((*sums)[i], {}) : Tensor<Scalar>();
  }

  /// Saves values, as one entry. A tensor that a Checkpoint has computed is not kept but computed again by pop.
  template <class... T>
  void push(T... values) {
    Entry& entry = entries_.emplace_back();
    if (!spared_.empty()) (spare(entry, values), ...);
    entry.values.emplace<std::tuple<T...>>(std::move(values)...);
  }

  /// Takes the last entry back; T are the types that were pushed. Throws StateError when there is none, or another.
  template <class... T>
  std::tuple<T...> pop() {
    if (entries_.size() <= floor_)
      throw StateError(text("Tape: ", current(), " pops more in backward than it pushed in forward"));
    auto* values = std::any_cast<std::tuple<T...>>(&entries_.back().values);
    if (!values) throw StateError(text("Tape: ", current(), " pops values of other types than it pushed"));
    std::tuple<T...> result = std::move(*values);
    const std::vector<detail::Again> spared = std::move(entries_.back().spared);
    entries_.pop_back();
    auto next = spared.begin();
    if (!spared.empty()) std::apply([&](T&... value) { (restore(value, next), ...); }, result);
    return result;
  }

  /// Whether nothing waits for its backward.
  bool empty() const { return entries_.empty() && frames_.empty(); }

  /// How many forwards of one module may wait for their backwards, 1000 at first; the next throws StateError. Throws
  /// ValueError for less than 1.
  void set_limit(Index forwards) {
    require(forwards >= 1, "Tape: the limit must be at least 1, got ", forwards);
    limit_ = forwards;
  }

  /// Is called by backward after a layer has gone back for the last time: nothing that waits on this tape adds to the
  /// gradients of its parameters any more, so that they can be sent off while backward goes on. Layers within a
  /// Checkpoint, which has a tape of its own, are not named, but the Checkpoint is. An empty function: no longer.
  void observe(std::function<void(const ModuleBase& layer)> finished) { finished_ = std::move(finished); }

  /// Forgets everything saved; the generator stays where it is.
  void clear() {
    rewind({});
    floor_ = 0;
    current_ = nullptr;
    sums_ = nullptr;
  }

 private:
  template <class>
  friend class Module;
  template <class>
  friend class detail::Training;
  template <class>
  friend class Checkpoint;

  struct Entry {
    std::any values;
    std::vector<detail::Again> spared;  // what gives its tensors, one for each; empty functions for those it has
  };
  /// A tensor that need not be saved. It is held elsewhere, so that no other has its address.
  struct Spared {
    const void* data;
    Shape shape;
    detail::Again again;
  };

  template <class T>
  void spare(Entry&, T&) {}
  template <class Scalar>
  void spare(Entry& entry, Tensor<Scalar>& tensor) {
    detail::Again& again = entry.spared.emplace_back();
    for (const Spared& spared : spared_)
      if (std::as_const(tensor).data() == spared.data && tensor.shape() == spared.shape) again = spared.again;
    if (again) tensor = {};
  }
  template <class Scalar>
  void spare(Entry& entry, Few<Tensor<Scalar>>& tensors) {
    for (std::size_t i = 0; i < tensors.size(); ++i) spare(entry, tensors[i]);
  }
  template <class T, class Next>
  static void restore(T&, Next&) {}
  template <class Scalar, class Next>
  static void restore(Tensor<Scalar>& tensor, Next& next) {
    if (const detail::Again& again = *next++) tensor = std::any_cast<Tensor<Scalar>>(again());
  }
  template <class Scalar, class Next>
  static void restore(Few<Tensor<Scalar>>& tensors, Next& next) {
    for (std::size_t i = 0; i < tensors.size(); ++i) restore(tensors[i], next);
  }

  /// The heights of the stacks.
  struct Mark {
    std::size_t entries = 0, nodes = 0, frames = 0;
  };
  /// A layer that ran within a forward, on values by number.
  struct Node {
    ModuleBase* layer;
    Mark begin;
    Few<Index> inputs, outputs;
    Few<Shape> shapes;  // of the outputs, where there are several
  };
  /// A finished forward: of whom, from where, its values, and the shapes that its gradients must have.
  struct Frame {
    const ModuleBase* module;
    Mark begin;
    Index values;
    Few<Index> inputs, outputs;
    Few<Shape> shapes;
    bool input_saved;  // what a gradient of the inputs needs
  };

  Mark mark() const { return {entries_.size(), nodes_.size(), frames_.size()}; }
  void rewind(const Mark& mark) {
    spared_.clear();
    entries_.resize(mark.entries);
    nodes_.resize(mark.nodes);
    while (frames_.size() > mark.frames) pop_frame();
  }

  /// Throws StateError if too many forwards of a module wait.
  void check_waiting(const ModuleBase& module) const {
    const auto waiting = waiting_.find(&module);
    if (waiting != waiting_.end() && waiting->second >= limit_)
      throw StateError(text("Tape: ", waiting->second, " forwards of ", module.name(),
                            " wait for their backwards, and what they saved is kept: to evaluate, call the "
                            "module (infer), which needs no tape; to forget them, clear() the tape; if so "
                            "many are meant, set_limit()"));
  }
  void push_frame(Frame frame) {
    ++waiting_[frame.module];
    frames_.push_back(std::move(frame));
  }
  Frame pop_frame() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    --waiting_[frame.module];
    return frame;
  }

  /// How many layers wait for their backward, of each; nothing, if nobody observes.
  std::unordered_map<const ModuleBase*, Index> observed() const {
    std::unordered_map<const ModuleBase*, Index> count;
    if (finished_)
      for (const Node& node : nodes_) ++count[node.layer];
    return count;
  }

  std::string current() const { return current_ ? current_->name() : "the caller"; }

  /// Takes the last forward's frame, which must be this module's.
  Frame take_frame(const ModuleBase& module) {
    if (frames_.empty()) throw StateError(text("Tape: backward of ", module.name(), " without a forward on this tape"));
    if (frames_.back().module != &module)
      throw StateError(
          text("Tape: backward of ", module.name(), ", but the last forward was of ", frames_.back().module->name()));
    return pop_frame();
  }

  std::vector<Entry> entries_;
  std::vector<Spared> spared_;  // by the layer that runs
  std::vector<Node> nodes_;
  std::vector<Frame> frames_;
  std::unordered_map<const ModuleBase*, Index> waiting_;  // frames of each module
  Index limit_ = 1000;
  std::size_t floor_ = 0;  // entries below belong to somebody else
  bool replays_ = false, in_blocks_ = false;
  const ModuleBase* current_ = nullptr;  // whose backward runs
  void* sums_ = nullptr;                 // Few<Tensor<Scalar>>: see take_gradient
  std::function<void(const ModuleBase&)> finished_;
  Random random_;
};

}  // namespace lamina::inline LAMINA_ABI
