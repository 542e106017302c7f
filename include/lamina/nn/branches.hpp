#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/nn/container.hpp"

namespace lamina {

namespace detail {

/// a + b of the same shape, in the storage of whichever nobody else holds.
template <class Scalar>
Tensor<Scalar> add(Tensor<Scalar> a, Tensor<Scalar> b) {
  using Pack = simd::Pack<Scalar>;
  if (!a.exclusive()) std::swap(a, b);
  return kernels::transform(
      std::move(a), [](Pack left, Pack right) { return left + right; }, b);
}

}  // namespace detail

/// Base of the containers whose children all see the same input: y = join(f_0(x), ..., f_n(x)). Derived gives
///
///   Shape joined_shape(const std::vector<Shape>& shapes) const    of y; throws mismatch(...) if they do not fit
///   join(shapes, branch) const                                    y; branch(i) runs branch i, to be called in order
///   join_saving(shapes, branch, tape) const                       the same, saving what split needs
///   split(dy, tape) const                                         gradient(i), called in reverse order: d(loss)/d(y_i)
///
/// Backward runs the branches in reverse. Without need for dx it computes nothing for a branch without trainable
/// parameters. A container without branches throws StateError when it is used.
template <class Derived, class Scalar>
class Branches : public Container<Derived, Scalar> {
 public:
  using Container<Derived, Scalar>::Container;

  Shape output_shape(const Shape& input) const override { return self().joined_shape(branch_shapes(input)); }

  Index multiply_adds(const Shape& input) const override {
    Index total = 0;
    for (const auto& child : this->children()) total += child.module->multiply_adds(input);
    return total;
  }

  /// The branches side by side. The stream behind them sees what any of them sees.
  std::unique_ptr<Incremental<Scalar>> incremental(Scan& scan) const override {
    auto result = std::make_unique<Side>(self());
    const Scan before = scan;
    scan.sees_pixel = false;
    for (const auto& child : this->children()) {
      Scan branch = before;
      result->forms.push_back(detail::incremental_form(child, branch));
      if (branch.sees_pixel && !scan.sees_pixel) scan.through = branch.through;
      scan.sees_pixel |= branch.sees_pixel;
      scan.groups = std::max(scan.groups, branch.groups);
    }
    return result;
  }

  void trace(const Shape& input, const std::string& path, int depth,
             std::vector<TraceStep<Scalar>>& steps) const override {
    steps.push_back({path, depth, this, input, output_shape(input)});
    for (const auto& child : this->children()) this->trace_child(child, input, path, depth, steps);
  }

 protected:
  /// The error of two branches whose results do not fit together.
  ShapeError mismatch(const std::vector<Shape>& shapes, std::size_t first, std::size_t second,
                      const std::string& rule) const {
    return ShapeError(detail::text(this->name(), ": ", rule, ", but ", label(first), " gives shape ", shapes[first],
                                   " and ", label(second), " gives ", shapes[second]));
  }

 private:
  /// The incremental form.
  struct Side : Incremental<Scalar> {
    explicit Side(const Derived& derived) : container(derived) {}

    Tensor<Scalar> step(Tensor<Scalar> x, Pixel at) override {
      return join([&](std::size_t i) { return forms[i]->step(x, at); });
    }
    Tensor<Scalar> settle(Tensor<Scalar> x, Pixel at) override {
      return join([&](std::size_t i) { return forms[i]->settle(x, at); });
    }

    template <class Run>
    Tensor<Scalar> join(Run run) const {
      std::vector<Tensor<Scalar>> results;
      std::vector<Shape> shapes;
      bool empty = false;
      for (std::size_t i = 0; i < forms.size(); ++i) {
        results.push_back(run(i));
        shapes.push_back(results.back().shape());
        empty |= results.back().empty();
      }
      if (empty) return {};
      return container.join(shapes, [&](Index i) { return std::move(results[static_cast<std::size_t>(i)]); });
    }

    const Derived& container;
    std::vector<std::unique_ptr<Incremental<Scalar>>> forms;
  };

  const Derived& self() const { return static_cast<const Derived&>(*this); }

  std::string label(std::size_t branch) const {
    const auto& child = this->children()[branch];
    return detail::text("branch ", branch, " (", child.named && !child.name.empty() ? child.name : child.module->name(),
                        ")");
  }

  std::vector<Shape> branch_shapes(const Shape& input) const {
    detail::require<StateError>(this->size() > 0, Derived::type_name, ": has no branches");
    std::vector<Shape> shapes;
    for (const auto& child : this->children()) shapes.push_back(child.module->output_shape(input));
    return shapes;
  }

  /// x for branch i: handed over to the last one, shared before.
  Tensor<Scalar> input_of(Index i, Tensor<Scalar>& x) const { return i + 1 == this->size() ? std::move(x) : x; }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    const std::vector<Shape> shapes = branch_shapes(x.shape());
    return self().join(shapes, [&](Index i) { return (*this)[i].infer(input_of(i, x)); });
  }

  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    const std::vector<Shape> shapes = branch_shapes(x.shape());
    const auto branch = [&](Index i) { return (*this)[i].forward(input_of(i, x), tape); };
    return self().join_saving(shapes, branch, tape);
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    auto gradient = self().split(std::move(dy), tape);
    Tensor<Scalar> dx;
    for (Index i = this->size(); i-- > 0;) {
      Module<Scalar>& branch = (*this)[i];
      if (input_grad == InputGrad::skip) {
        if (trainable(branch))
          branch.backward(gradient(i), tape, InputGrad::skip);
        else
          branch.discard(tape);
      } else {
        Tensor<Scalar> part = branch.backward(gradient(i), tape);
        dx = i + 1 == this->size() ? std::move(part) : detail::add(std::move(dx), std::move(part));
      }
    }
    return dx;
  }
};

}  // namespace lamina
