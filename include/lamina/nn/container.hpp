#pragma once

#include <concepts>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/module.hpp"

namespace lamina {

/// A module inside a container, with its name. An unnamed child is named by its position ("0", "1", ...), as in
/// PyTorch's Sequential; a child named "" is transparent in state_dict keys. Copying copies the module.
template <class Scalar>
struct Child {
  std::string name;
  bool named = false;
  std::unique_ptr<Module<Scalar>> module;

  template <std::derived_from<Module<Scalar>> M>
  Child(M m) : module(std::make_unique<M>(std::move(m))) {}
  template <std::derived_from<Module<Scalar>> M>
  Child(std::string child_name, M m)
      : name(std::move(child_name)), named(true), module(std::make_unique<M>(std::move(m))) {}
  Child(std::unique_ptr<Module<Scalar>> m) : module(std::move(m)) {}
  Child(std::string child_name, std::unique_ptr<Module<Scalar>> m)
      : name(std::move(child_name)), named(true), module(std::move(m)) {}

  Child(const Child& other) : name(other.name), named(other.named), module(other.module->clone()) {}
  Child(Child&&) noexcept = default;
  Child& operator=(Child other) noexcept {
    std::swap(name, other.name);
    std::swap(named, other.named);
    std::swap(module, other.module);
    return *this;
  }
};

/// Whether anything below this module is learned.
template <class Scalar>
bool trainable(Module<Scalar>& module) {
  for (auto& member : module.members()) {
    if (auto* parameter = std::get_if<Parameter<Scalar>*>(&member.part); parameter && (*parameter)->requires_grad)
      return true;
    if (auto* child = std::get_if<Module<Scalar>*>(&member.part); child && trainable(**child)) return true;
  }
  return false;
}

/// What Sequential and the branch combinators share: named children, indexing and enumeration.
template <class Derived, class Scalar, class Base = Module<Scalar>>
class Container : public Layer<Derived, Scalar, Base> {
 public:
  Container() = default;
  Container(std::initializer_list<Child<Scalar>> children) {
    for (const auto& child : children) add(child);
  }
  /// A list of one container of the same kind is a copy of it, as C++ writes copies; by the list above some compilers
  /// would take it for a child (CWG 2137). A child alone is said with its name, Sequential{{"0", block}}, or added.
  Container(std::initializer_list<Derived> children) {
    if (children.size() == 1)
      *static_cast<Container*>(this) = *children.begin();
    else
      for (const auto& child : children) add(child);
  }

  /// Appends a child.
  void add(Child<Scalar> child) {
    if (!child.named) child.name = std::to_string(children_.size());
    children_.push_back(std::move(child));
  }
  template <std::derived_from<Module<Scalar>> M>
  void add(std::string name, M module) {
    add(Child<Scalar>(std::move(name), std::move(module)));
  }

  Index size() const { return static_cast<Index>(children_.size()); }

  /// A child by position. Throws ValueError if there is none.
  Module<Scalar>& operator[](Index i) { return *child(i).module; }
  const Module<Scalar>& operator[](Index i) const { return *child(i).module; }
  /// A child as the layer it is: `net.template get<Conv2d<float>>(0).weight`. Throws ValueError if it is another.
  template <class M>
  M& get(Index i) {
    auto* module = dynamic_cast<M*>(child(i).module.get());
    detail::require(module != nullptr, this->name(), ": child ", i, " is a ", child(i).module->name());
    return *module;
  }

  Members<Scalar> members() override {
    Members<Scalar> result;
    for (auto& child : children_) result.push_back({child.name, child.module.get()});
    return result;
  }

  std::string name() const override {
    std::string out = std::string(Derived::type_name) + "(";
    for (std::size_t i = 0; i < children_.size() && i < 3; ++i) out += (i ? ", " : "") + children_[i].module->name();
    return out + (children_.size() > 3 ? ", ...)" : ")");
  }

 protected:
  std::vector<Child<Scalar>>& children() { return children_; }
  const std::vector<Child<Scalar>>& children() const { return children_; }

  void trace_child(const Child<Scalar>& child, const Shape& input, const std::string& path, int depth,
                   std::vector<TraceStep<Scalar>>& steps) const {
    std::string child_path = path;
    if (!path.empty() && !child.name.empty()) child_path += '.';
    child.module->trace(input, child_path + child.name, depth + 1, steps);
  }

 private:
  const Child<Scalar>& child(Index i) const {
    detail::require(i >= 0 && i < size(), Derived::type_name, ": no child ", i, ", there are ", size());
    return children_[static_cast<std::size_t>(i)];
  }

  std::vector<Child<Scalar>> children_;
};

namespace detail {

/// A child's incremental form. Throws StateError naming the child if there is none.
template <class Scalar>
std::unique_ptr<Incremental<Scalar>> incremental_form(const Child<Scalar>& child, Scan& scan) {
  auto form = child.module->incremental(scan);
  require<StateError>(form != nullptr, child.module->name(),
                      " has no incremental form: it cannot be computed pixel by pixel");
  return form;
}

/// Forms one after the other.
template <class Scalar>
class IncrementalSequence : public Incremental<Scalar> {
 public:
  explicit IncrementalSequence(std::vector<std::unique_ptr<Incremental<Scalar>>> forms) : forms_(std::move(forms)) {}

  Tensor<Scalar> step(Tensor<Scalar> x, Pixel at) override {
    for (const auto& form : forms_) x = form->step(std::move(x), at);
    return x;
  }
  Tensor<Scalar> settle(Tensor<Scalar> x, Pixel at) override {
    for (std::size_t i = 0; i < forms_.size() && !x.empty(); ++i) x = forms_[i]->settle(std::move(x), at);
    return x;
  }

 private:
  std::vector<std::unique_ptr<Incremental<Scalar>>> forms_;
};

}  // namespace detail

/// y = f_n(... f_2(f_1(x))). Children carry positions as names unless given ones:
///
///   Sequential net{Conv2d(1, 6, 5, {.padding = 2}), Sigmoid(), AvgPool2d(2)};              // keys "0.weight", ...
///   Sequential<Scalar>{{"conv1", Conv2d<Scalar>(3, 64, 3)}, {"", ReLU<Scalar>()}};         // keys "conv1.weight", ...
///
/// Backward computes no gradient that nobody needs: below the first trainable child it stops when dx is not asked for.
/// A child that can apply the activation after it does (see Fusible); a Sequential can if its last child can.
template <class Scalar = float>
class Sequential : public Container<Sequential<Scalar>, Scalar, Fusible<Scalar>> {
 public:
  static constexpr const char* type_name = "Sequential";
  using Container<Sequential<Scalar>, Scalar, Fusible<Scalar>>::Container;

  bool applies(const Module<Scalar>& next) const override {
    return this->size() > 0 && applied_by(this->children().back(), &next);
  }

  Shape output_shape(const Shape& input) const override {
    Shape shape = input;
    for (const auto& child : this->children()) shape = child.module->output_shape(shape);
    return shape;
  }

  std::unique_ptr<Incremental<Scalar>> incremental(Scan& scan) const override {
    std::vector<std::unique_ptr<Incremental<Scalar>>> forms;
    for (const auto& child : this->children()) forms.push_back(detail::incremental_form(child, scan));
    return std::make_unique<detail::IncrementalSequence<Scalar>>(std::move(forms));
  }

  Index multiply_adds(const Shape& input) const override {
    Index total = 0;
    Shape shape = input;
    for (const auto& child : this->children()) {
      total += child.module->multiply_adds(shape);
      shape = child.module->output_shape(shape);
    }
    return total;
  }

  void trace(const Shape& input, const std::string& path, int depth,
             std::vector<TraceStep<Scalar>>& steps) const override {
    steps.push_back({path, depth, this, input, output_shape(input)});
    Shape shape = input;
    for (const auto& child : this->children()) {
      this->trace_child(child, shape, path, depth, steps);
      shape = child.module->output_shape(shape);
    }
  }

 private:
  /// `next` if the child can apply it, else null.
  static const Module<Scalar>* applied_by(const Child<Scalar>& child, const Module<Scalar>* next) {
    const auto* fusible = dynamic_cast<const Fusible<Scalar>*>(child.module.get());
    return next && fusible && fusible->applies(*next) ? next : nullptr;
  }
  /// The child behind child i if that applies it, else null; behind the last comes `next`.
  const Module<Scalar>* applied_by(std::size_t i, const Module<Scalar>* next = nullptr) const {
    const auto& children = this->children();
    return applied_by(children[i], i + 1 < children.size() ? children[i + 1].module.get() : next);
  }

  Tensor<Scalar> do_infer_with(Tensor<Scalar> x, const Module<Scalar>* next) const override {
    const auto& children = this->children();
    for (std::size_t i = 0; i < children.size(); ++i) {
      const Module<Scalar>& module = *children[i].module;
      if (const auto* applied = applied_by(i, next)) {
        x = static_cast<const Fusible<Scalar>&>(module).infer_with(std::move(x), applied);
        ++i;
      } else {
        x = module.infer(std::move(x));
      }
    }
    return x;
  }

  Tensor<Scalar> do_forward_with(Tensor<Scalar> x, Tape& tape, const Module<Scalar>* next) override {
    auto& children = this->children();
    for (std::size_t i = 0; i < children.size(); ++i) {
      Module<Scalar>& module = *children[i].module;
      if (const auto* applied = applied_by(i, next)) {
        x = static_cast<Fusible<Scalar>&>(module).forward_with(std::move(x), tape, applied);
        ++i;
      } else {
        x = module.forward(std::move(x), tape);
      }
    }
    return x;
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    auto& children = this->children();
    std::size_t first = 0;  // the lowest child that needs its input's gradient or its parameters' gradients
    if (input_grad == InputGrad::skip)
      while (first < children.size() && !trainable(*children[first].module)) ++first;
    for (std::size_t i = children.size(); i-- > 0;) {
      if (i > 0 && applied_by(i - 1)) --i;  // its backward is that of both
      Module<Scalar>& module = *children[i].module;
      if (i < first)
        module.discard(tape);
      else
        dy = module.backward(std::move(dy), tape, i == first ? input_grad : InputGrad::compute);
    }
    return dy;
  }
};

template <class M, class... Rest>
Sequential(M, Rest...) -> Sequential<detail::ScalarOf<M>>;

}  // namespace lamina
