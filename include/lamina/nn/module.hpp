#pragma once

#include <memory>
#include <string>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/nn/tape.hpp"
#include "lamina/nn/value.hpp"

namespace lamina::inline LAMINA_ABI {

/// A tensor that is learned.
template <class Scalar = float>
struct Parameter {
  Tensor<Scalar> value;       ///< what is learned
  Tensor<Scalar> grad;        ///< d(loss)/d(value), summed over backwards; empty before the first
  bool requires_grad = true;  ///< false: its gradient is not computed and optimisers leave it alone

  Parameter() = default;
  /// With its first value; learned unless requires_grad is taken away.
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
  std::string name;  ///< its part of the key in state_dict
  std::variant<Parameter<Scalar>*, Tensor<Scalar>*, Tensor<std::int64_t>*, Module<Scalar>*> part;  ///< where it is

  /// A part by its address, or as it is.
  /// @{
  template <class Part>
  Member(std::string member_name, Part* member) : name(std::move(member_name)), part(member) {}
  template <class Part>
  Member(std::string member_name, Part& member) : Member(std::move(member_name), &member) {}
  /// @}
};
/// All parts of a module, in order.
template <class Scalar>
using Members = std::vector<Member<Scalar>>;

/// Whether backward must compute the gradient with respect to the module's input.
enum class InputGrad { compute, skip };

/// A differentiable function with parameters: usually of one tensor, giving one.
///
///   infer(x)            evaluation semantics; saves nothing; safe from any number of threads at once
///   forward(x, tape)    training semantics (of a frozen module those of infer); saves on the tape what backward needs
///   backward(dy, tape)  takes what its forward saved, adds to every Parameter::grad, returns dx
///
/// There are two kinds. A Layer computes: it has a hand-written infer, forward and backward. A Block says how values
/// flow through its children, and everything else follows from that. An error says where in the module it happened:
/// "features.3.conv1: Conv2d(3, 64, 7): expected ...".
template <class Scalar>
class Module : public ModuleBase {
 public:
  /// The (first) result. A Value is made of a Tensor, of token ids, or of packed tokens.
  Tensor<Scalar> operator()(Value<Scalar> x) const { return infer(std::move(x)); }
  /// The (first) result, as operator().
  Tensor<Scalar> infer(Value<Scalar> x) const;
  /// Of several values, all results.
  Few<Tensor<Scalar>> infer(Values<Scalar> inputs) const;

  /// If it throws, the tape is as it was before. With InputGrad::skip, which backward must then be given too, nothing
  /// is saved below the lowest trainable layer.
  Tensor<Scalar> forward(Value<Scalar> x, Tape& tape, InputGrad input_grad = InputGrad::compute);
  /// Of two values, the first result.
  Tensor<Scalar> forward(Value<Scalar> x1, Value<Scalar> x2, Tape& tape, InputGrad input_grad = InputGrad::compute);
  /// Of several values, all results.
  Few<Tensor<Scalar>> forward(Values<Scalar> inputs, Tape& tape, InputGrad input_grad = InputGrad::compute);

  /// dy is d(loss)/d(y) for the y of the last forward on the tape that has not been taken back yet; the result is
  /// d(loss)/d(x), or an empty tensor with InputGrad::skip (the first layer of a network need not compute it). What
  /// nobody needs is not computed: below the lowest trainable layer, and in branches whose result was not used.
  /// Throws StateError when the tape's last forward was of another module or a layer takes back more or less than it
  /// saved, ShapeError when dy is not of y's shape; the tape then forgets that forward.
  Tensor<Scalar> backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad = InputGrad::compute);
  /// For all results, or the first of them; the gradients of all inputs.
  Few<Tensor<Scalar>> backward(Few<Tensor<Scalar>> dy, Tape& tape, InputGrad input_grad = InputGrad::compute);

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

  /// This module as the type that it is, or null: `if (auto* conv = module.template as<Conv2d<float>>())`.
  template <class M>
  [[gnu::noinline]] M* as() {  // inlined, g++ 12 warns of array bounds in the branch that is never taken
    return typeid(*this) == typeid(M) ? static_cast<M*>(this) : nullptr;
  }
  /// The same to read.
  template <class M>
  [[gnu::noinline]] const M* as() const {
    return typeid(*this) == typeid(M) ? static_cast<const M*>(this) : nullptr;
  }

 private:
  friend class Flow<Scalar>;

  /// Its results in a flow.
  virtual Values<Scalar> run(Flow<Scalar>& flow, Values<Scalar> inputs) const = 0;
};

/// The members of a module that is only read; the enumeration hands out pointers for writing.
template <class Scalar>
Members<Scalar> members_of(const Module<Scalar>& module) {
  return const_cast<Module<Scalar>&>(module).members();
}

/// Whether anything in this module is learned.
template <class Scalar>
bool trainable(const Module<Scalar>& module) {
  for (const auto& member : members_of(module)) {
    if (auto* parameter = std::get_if<Parameter<Scalar>*>(&member.part); parameter && (*parameter)->requires_grad)
      return true;
    if (auto* child = std::get_if<Module<Scalar>*>(&member.part); child && trainable(**child)) return true;
  }
  return false;
}

/// The scalar type of a module type, for deduction: Sequential{Conv2d<double>(...)} is a Sequential<double>.
template <class Scalar>
Scalar scalar_of(const Module<Scalar>&);

/// The scalar type of a module, say float of Conv2d<float>.
template <class M>
using ScalarOf = decltype(scalar_of(std::declval<const M&>()));

namespace detail {
template <class Scalar>
class BlockBase;
}

/// Who runs a flow, and so what its values are: tensors in infer and forward, shapes in output_shape and record.
template <class Scalar = float>
class Flow {
 public:
  virtual ~Flow() = default;

  /// What a module makes of values: `y = run(conv, x)`, `y = run(add, x, y)`. A value that is handed over (std::move)
  /// may be overwritten by a layer that works in place.
  template <class... V>
  Value<Scalar> operator()(const Module<Scalar>& module, V&&... values) {
    return std::move(all(module, Values<Scalar>(Value<Scalar>(std::forward<V>(values))...))[0]);
  }
  /// The same with any number of inputs and results.
  Values<Scalar> all(const Module<Scalar>& module, Values<Scalar> inputs) {
    try {
      return module.run(*this, std::move(inputs));
    } catch (Error&) {
      failed_at(module);
      throw;
    }
  }

  /// Whether this is forward: for what only training has, such as auxiliary heads.
  virtual bool training() const { return false; }

  /// The modules that an error came through, the innermost first.
  const std::vector<const Module<Scalar>*>& failed() const { return failed_; }

 protected:
  friend class Primitive<Scalar>;
  friend class detail::BlockBase<Scalar>;

  /// The results of a layer.
  virtual Values<Scalar> layer(const Primitive<Scalar>& layer, Values<Scalar> inputs) = 0;
  /// Before and after what flows through a block.
  /// @{
  virtual void enter(const Module<Scalar>&, const Values<Scalar>&) {}
  virtual void leave(const Module<Scalar>&, const Values<Scalar>&) {}
  /// @}
  /// Notes a module that an error comes through.
  void failed_at(const Module<Scalar>& module) { failed_.push_back(&module); }

 private:
  std::vector<const Module<Scalar>*> failed_;
};

/// An activation that a layer may apply to its own result, as it stores it: a pass over memory less, and nothing is
/// saved for it.
enum class Activation { none, relu, relu6 };

/// Which layers join values along axis 1, the channels. A join that only such layers see is never computed: they get
/// its parts (Value::parts), and backward_values gives a gradient for each part in the value's place.
enum class Joins {
  no,
  inputs,  ///< takes an input that is not joined yet
  only     ///< Cat(1)
};

/// Whether forward and backward of a layer of images take and give them with their channels in blocks of a vector
/// (kernels/layout.hpp): from convolution to convolution nobody then has to sort them. Values stay the same. A layer
/// that says nothing gets planes.
enum class Blocks {
  no,
  keeps,  ///< the result is in blocks if the inputs are; all of them or none
  either  ///< each of inputs and result may be or not: the result if Tape::in_blocks() says so
};

/// What of its inputs [N, C, H, W] a layer's result at a place in infer depends on, whatever it is elsewhere. Beyond
/// `image`, infer gives the same bits for images of one pixel as it gives at that pixel of larger ones.
enum class Locality {
  element,  ///< the same element of each input, which may be repeated along axes where it has extent 1
  pixel,    ///< all channels at the same pixel
  image     ///< anything
};

/// What forward keeps for backward, in the size of values: less (the moments of a norm, a maximum's places) counts as
/// nothing. See training_memory.
enum class Saved { nothing, input, output, both };

/// A module that computes, of any number of values. To write a layer of one value, derive from Layer.
template <class Scalar>
class Primitive : public Module<Scalar> {
 public:
  /// The shapes of the results; see output_shape.
  virtual Few<Shape> output_shapes(const Values<Scalar>& inputs) const = 0;
  virtual Index multiply_adds(const Shape&) const override { return 0; }
  /// The same for the inputs of a flow.
  virtual Index multiply_adds_of(const Values<Scalar>& inputs) const { return this->multiply_adds(inputs[0].shape()); }

  /// @{
  /// What this layer is, if another can apply it; and whether this one can apply another.
  virtual Activation activation() const { return Activation::none; }
  virtual bool applies(Activation) const { return false; }
  /// @}
  /// See Joins.
  virtual Joins joins() const { return Joins::no; }

  /// See Blocks; of inputs of these shapes. In forward_values and backward_values a tensor of images in blocks has five
  /// axes.
  virtual Blocks blocks(const Values<Scalar>&) const { return Blocks::no; }

  /// y[i] = f(y[i]) for i < n, in place and on this thread, if this layer is an elementwise function: a Plan applies it
  /// to what it has just stored. False, and nothing done, if it is not one; n may be 0 to ask.
  virtual bool apply(Scalar*, Index) const { return false; }

  /// What forward saves: estimates of memory are told by it,
  virtual Saved saved() const { return Saved::input; }
  virtual Index scratch(const Shape&) const { return 0; }  ///< and how many values a pass needs on the way

  /// Causal models are told by it, and what can be computed pixel by pixel (incremental/).
  virtual Locality locality() const { return Locality::image; }

  /// As Module's, of this layer alone; run by a Flow. `activation` is one that the layer applies, or none. dx is empty
  // where it is not needed.
  /// @{
  virtual Values<Scalar> infer_values(Values<Scalar> x, Activation activation) const = 0;
  virtual Values<Scalar> forward_values(Values<Scalar> x, Tape& tape, Activation activation) = 0;
  virtual Few<Tensor<Scalar>> backward_values(Few<Tensor<Scalar>> dy, Tape& tape, const Few<InputGrad>& needs) = 0;
  /// @}

 protected:
  Values<Scalar> run(Flow<Scalar>& flow, Values<Scalar> inputs) const override {
    return flow.layer(*this, std::move(inputs));
  }
};

namespace detail {

/// What layers of one value share, whichever they are.
template <class Scalar>
class LayerBase : public Primitive<Scalar> {
 public:
  /// The input's.
  Shape output_shape(const Shape& input) const override { return input; }
  /// None.
  Members<Scalar> members() override { return {}; }

  /// By output_shape.
  Few<Shape> output_shapes(const Values<Scalar>& inputs) const override {
    return this->output_shape(only(inputs).shape());
  }
  /// By do_infer.
  Values<Scalar> infer_values(Values<Scalar> x, Activation activation) const final {
    only(x);
    x[0].tensor = do_infer_with(std::move(x[0].tensor), activation);
    return x;
  }
  /// By do_forward.
  Values<Scalar> forward_values(Values<Scalar> x, Tape& tape, Activation activation) final {
    only(x);
    x[0].tensor = do_forward_with(std::move(x[0].tensor), tape, activation);
    return x;
  }
  /// By do_backward.
  Few<Tensor<Scalar>> backward_values(Few<Tensor<Scalar>> dy, Tape& tape, const Few<InputGrad>& needs) final {
    return do_backward(std::move(dy[0]), tape, needs[0]);
  }

 private:
  const Value<Scalar>& only(const Values<Scalar>& inputs) const {
    require(inputs.size() == 1, *this, ": takes one value, got ", inputs.size());
    return inputs[0];
  }

  virtual Tensor<Scalar> do_infer(Tensor<Scalar> x) const = 0;
  virtual Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) = 0;
  virtual Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) = 0;

  // For a layer that applies an activation.
  virtual Tensor<Scalar> do_infer_with(Tensor<Scalar> x, Activation) const { return do_infer(std::move(x)); }
  virtual Tensor<Scalar> do_forward_with(Tensor<Scalar> x, Tape& tape, Activation) {
    return do_forward(std::move(x), tape);
  }
};

/// What layers of several values share, whichever they are.
template <class Scalar>
class JointLayerBase : public Primitive<Scalar> {
 public:
  /// Of one value alone.
  Shape output_shape(const Shape& input) const override {
    return this->output_shapes(Value<Scalar>::of_shape(input))[0];
  }
  /// None.
  Members<Scalar> members() override { return {}; }

  /// By do_infer.
  Values<Scalar> infer_values(Values<Scalar> x, Activation) const final { return do_infer(std::move(x)); }
  /// By do_forward.
  Values<Scalar> forward_values(Values<Scalar> x, Tape& tape, Activation) final {
    return do_forward(std::move(x), tape);
  }
  /// By do_backward.
  Few<Tensor<Scalar>> backward_values(Few<Tensor<Scalar>> dy, Tape& tape, const Few<InputGrad>& needs) final {
    return do_backward(std::move(dy[0]), tape, needs);
  }

 private:
  virtual Value<Scalar> do_infer(Values<Scalar> x) const = 0;
  virtual Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) = 0;
  virtual Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>& needs) = 0;
};

/// A copy of a module whose class is Derived. By new: std::make_unique gives every layer a unique_ptr of its own, an
/// eighth of a program's compile time.
template <class Derived, class Scalar>
std::unique_ptr<Module<Scalar>> copy_of(const Module<Scalar>& module) {
  return std::unique_ptr<Module<Scalar>>(new Derived(static_cast<const Derived&>(module)));
}

/// Gives clone() through Derived's copy constructor.
template <class Derived, class Scalar, class Base>
class Cloned : public Base {
 public:
  std::unique_ptr<Module<Scalar>> clone() const override { return copy_of<Derived, Scalar>(*this); }
};

}  // namespace detail

/// Base of a layer of one value. Derived overrides
///
///   do_infer(x) const, do_forward(x, tape), do_backward(dy, tape, input_grad)    private
///   output_shape(input) const      if the result has another shape than x
///   members()                      if it has parameters or buffers
///   fields() const                 if it has options
///   multiply_adds(input) const     if there are any
///   saved() const                  if do_forward pushes something else than x
///
/// do_backward pops what do_forward pushed, adds to the gradient() of every parameter that requires_grad, and returns
/// dx, which it need not compute with InputGrad::skip.
template <class Derived, class Scalar>
class Layer : public detail::LayerBase<Scalar> {
 public:
  /// By Derived's copy constructor.
  std::unique_ptr<Module<Scalar>> clone() const override { return detail::copy_of<Derived, Scalar>(*this); }
};

/// Base of a layer of several values, which are tensors with their sequences, giving one. Derived overrides
/// output_shapes, fields if it has options, and
///
///   do_infer(values) const, do_forward(values, tape), do_backward(dy, tape, needs)    private
///
/// where do_backward gives a gradient for each value, empty where needs says skip.
template <class Derived, class Scalar>
class JointLayer : public detail::JointLayerBase<Scalar> {
 public:
  /// By Derived's copy constructor.
  std::unique_ptr<Module<Scalar>> clone() const override { return detail::copy_of<Derived, Scalar>(*this); }
};

}  // namespace lamina::inline LAMINA_ABI

#include "lamina/nn/run.hpp"
