#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/nn/incremental.hpp"
#include "lamina/nn/tape.hpp"

namespace lamina {

/// A tensor that is learned.
template <class Scalar = float>
struct Parameter {
  Tensor<Scalar> value;
  Tensor<Scalar> grad;        ///< d(loss)/d(value), summed over backwards; empty before the first
  bool requires_grad = true;  ///< false: its gradient is not computed and optimisers leave it alone

  Parameter() = default;
  Parameter(Tensor<Scalar> initial) : value(std::move(initial)) {}

  /// The gradient to add to, zeros at first.
  Tensor<Scalar>& gradient() {
    if (grad.shape() != value.shape()) {
      grad = reserved_.shape() == value.shape() ? std::exchange(reserved_, {}) : Tensor<Scalar>(value.shape());
      grad.fill(0);
    }
    return grad;
  }

  /// Takes the gradient's storage now; grad stays empty until the first backward. Optimisers do this, so that the first
  /// backward does not take what the second step's activations will need.
  void reserve_gradient() {
    if (grad.empty() && reserved_.empty()) reserved_ = Tensor<Scalar>(value.shape());
  }

 private:
  Tensor<Scalar> reserved_;
};

template <class Scalar>
class Module;

/// One named part of a module: a learned tensor, a buffer (saved, not learned), a counter buffer, or a child.
template <class Scalar>
struct Member {
  std::string name;
  std::variant<Parameter<Scalar>*, Tensor<Scalar>*, Tensor<std::int64_t>*, Module<Scalar>*> part;
};
template <class Scalar>
using Members = std::vector<Member<Scalar>>;

/// Whether backward must compute the gradient with respect to the module's input.
enum class InputGrad { compute, skip };

/// One line of a module's trace: who saw which shape. See Module::trace.
template <class Scalar>
struct TraceStep {
  std::string path;  ///< as in state_dict keys; "" for the module itself
  int depth;
  const Module<Scalar>* module;
  Shape input, output;
};

/// A differentiable function of one tensor, with parameters.
///
///   infer(x)            evaluation semantics; saves nothing; safe from any number of threads at once
///   forward(x, tape)    training semantics (of a frozen module those of infer); saves on the tape what backward needs
///   backward(dy, tape)  takes what its forward saved, adds to every Parameter::grad, returns dx
///
/// To write a layer, derive from Layer<Derived, Scalar> and override the private do_ functions, output_shape,
/// members, name and multiply_adds.
template <class Scalar>
class Module : public ModuleBase {
 public:
  Tensor<Scalar> operator()(Tensor<Scalar> x) const { return infer(std::move(x)); }
  Tensor<Scalar> infer(Tensor<Scalar> x) const { return do_infer(std::move(x)); }

  /// If it throws, the tape is as it was before.
  Tensor<Scalar> forward(Tensor<Scalar> x, Tape& tape) {
    return recorded(tape, [&] { return do_forward(std::move(x), tape); });
  }

  /// dy is d(loss)/d(y) for the y of the last forward on the tape that has not been taken back yet; the result is
  /// d(loss)/d(x), or an empty tensor with InputGrad::skip (the first layer of a network need not compute it).
  /// Throws StateError when the tape's last forward was of another module or the module takes back more or less than
  /// it saved, ShapeError when dy is not of y's shape; the tape then forgets that forward.
  Tensor<Scalar> backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad = InputGrad::compute) {
    const Tape::Frame frame = tape.take_frame(*this);
    const auto caller = std::pair(tape.floor_, tape.current_);
    try {
      detail::require<ShapeError>(dy.shape() == frame.output, name(), ": backward expected a gradient of shape ",
                                  frame.output, ", got shape ", dy.shape());
      tape.floor_ = frame.begin.entries;
      tape.current_ = this;
      Tensor<Scalar> dx = do_backward(std::move(dy), tape, input_grad);
      detail::require<StateError>(
          tape.entries_.size() == frame.begin.entries && tape.frames_.size() == frame.begin.frames, "Tape: ", name(),
          " pops less in backward than it pushed in forward");
      std::tie(tape.floor_, tape.current_) = caller;
      if (input_grad == InputGrad::skip) return {};
      return dx;
    } catch (...) {
      std::tie(tape.floor_, tape.current_) = caller;
      tape.rewind(frame.begin);
      throw;
    }
  }

  /// Drops what the last forward saved, for a module none of whose gradients anybody needs.
  void discard(Tape& tape) const { tape.rewind(tape.take_frame(*this).begin); }

  /// The shape of the result for an input of this shape; throws ShapeError if the module does not take it.
  virtual Shape output_shape(const Shape& input) const = 0;

  /// Parameters, buffers and children with their names, in PyTorch's order: the one enumeration on which state_dict,
  /// parameters, summary, freezing and initialisation rest. A child with an empty name adds nothing to the keys.
  virtual Members<Scalar> members() = 0;

  /// A deep copy: equal and independent.
  virtual std::unique_ptr<Module> clone() const = 0;

  /// Multiplications with an addition that infer does for an input of this shape (biases, norms and activations count
  /// as none, as in torchinfo and the papers' tables).
  virtual Index multiply_adds(const Shape& input) const = 0;

  /// How this module advances by one pixel, or null if it has no such form; see incremental.hpp. The result refers to
  /// the module, which must neither move nor change while it is used.
  virtual std::unique_ptr<Incremental<Scalar>> incremental(Scan&) const { return nullptr; }

  /// Appends this module and, for a container, its children, with the shapes they see.
  virtual void trace(const Shape& input, const std::string& path, int depth,
                     std::vector<TraceStep<Scalar>>& steps) const {
    steps.push_back({path, depth, this, input, output_shape(input)});
  }

 protected:
  /// What forward() gives, recorded on the tape as this module's forward.
  template <class F>
  Tensor<Scalar> recorded(Tape& tape, F forward) {
    tape.enter(*this);
    const Tape::Mark begin = tape.mark();
    try {
      Tensor<Scalar> y = forward();
      tape.push_frame(*this, begin, y.shape());
      tape.leave();
      return y;
    } catch (...) {
      tape.leave();
      tape.rewind(begin);
      throw;
    }
  }

 private:
  virtual Tensor<Scalar> do_infer(Tensor<Scalar> x) const = 0;
  virtual Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) = 0;
  virtual Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) = 0;
};

namespace detail {
/// The scalar type of a module type, for deduction: Sequential{Conv2d<double>(...)} is a Sequential<double>.
template <class Scalar>
Scalar scalar_of(const Module<Scalar>&);
template <class M>
using ScalarOf = decltype(scalar_of(std::declval<const M&>()));
}  // namespace detail

/// A module that can apply an activation which follows it to its own result, as it stores it: a pass over memory less,
/// and nothing is saved for the activation. Sequential asks neighbours for it; the results are those of the two modules
/// one after the other. The tape sees one forward, of this module, and one backward.
template <class Scalar>
class Fusible : public Module<Scalar> {
 public:
  /// Whether it can apply `next`.
  virtual bool applies(const Module<Scalar>& next) const = 0;

  /// As infer and forward, then those of `next`, which is null or one that it can apply.
  Tensor<Scalar> infer_with(Tensor<Scalar> x, const Module<Scalar>* next) const {
    return do_infer_with(std::move(x), next);
  }
  Tensor<Scalar> forward_with(Tensor<Scalar> x, Tape& tape, const Module<Scalar>* next) {
    return this->recorded(tape, [&] { return do_forward_with(std::move(x), tape, next); });
  }

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const final { return do_infer_with(std::move(x), nullptr); }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) final { return do_forward_with(std::move(x), tape, nullptr); }
  virtual Tensor<Scalar> do_infer_with(Tensor<Scalar> x, const Module<Scalar>* next) const = 0;
  virtual Tensor<Scalar> do_forward_with(Tensor<Scalar> x, Tape& tape, const Module<Scalar>* next) = 0;
};

/// Base of a concrete module: gives clone() through Derived's copy constructor.
template <class Derived, class Scalar, class Base = Module<Scalar>>
class Layer : public Base {
 public:
  std::unique_ptr<Module<Scalar>> clone() const override {
    return std::make_unique<Derived>(static_cast<const Derived&>(*this));
  }
};

/// The incremental form of a module whose results depend on its input at the same pixel and in the same channel.
template <class Scalar>
std::unique_ptr<Incremental<Scalar>> pointwise(const Module<Scalar>& module, Scan& scan) {
  scan.pass(module);
  return std::make_unique<detail::Pointwise<Scalar, Module<Scalar>>>(module);
}

/// Base of a layer without parameters that keeps the shape of its input.
template <class Derived, class Scalar>
class ShapePreserving : public Layer<Derived, Scalar> {
 public:
  Shape output_shape(const Shape& input) const override { return input; }
  Members<Scalar> members() override { return {}; }
  Index multiply_adds(const Shape&) const override { return 0; }
};

}  // namespace lamina
