#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/container.hpp"

namespace lamina::inline LAMINA_ABI {

/// Base of the containers whose children all see the same input. A container without branches throws StateError when it
/// is used.
template <class Derived, class Scalar>
class Branches : public Container<Derived, Scalar> {
 public:
  using Container<Derived, Scalar>::Container;

 protected:
  /// The results of the branches in a flow, which run one by one.
  class Results {
   public:
    /// Throws StateError if there are no branches.
    Results(const Branches& branches, Flow<Scalar>& run, Value<Scalar> x)
        : branches_(branches), run_(run), x_(std::move(x)) {
      require<StateError>(branches.size() > 0, Derived::type_name, ": has no branches");
    }

    /// Whether all branches have run.
    bool done() const { return next() == branches_.size(); }
    /// That of the next branch. x is handed over to the last one.
    Value<Scalar> take() {
      const Module<Scalar>& branch = branches_[next()];
      Value<Scalar> y = run_(branch, next() + 1 == branches_.size() ? std::move(x_) : x_);
      shapes_.push_back(y.shape());
      return y;
    }
    /// Those so far.
    const std::vector<Shape>& shapes() const { return shapes_; }

   private:
    Index next() const { return static_cast<Index>(shapes_.size()); }

    const Branches& branches_;
    Flow<Scalar>& run_;
    Value<Scalar> x_;
    std::vector<Shape> shapes_;
  };

  /// Throws the error of two branches whose results do not fit together.
  [[noreturn]] void mismatch(const std::vector<Shape>& shapes, std::size_t first, std::size_t second,
                             const std::string& rule) const {
    fail<ShapeError>(*this, ": ", rule, ", but ", label(first), " gives shape ", shapes[first], " and ", label(second),
                     " gives ", shapes[second]);
  }

 private:
  std::string label(std::size_t branch) const {
    const auto& child = this->children()[branch];
    return text("branch ", branch, " (", child.named && !child.name.empty() ? child.name : child.module->name(), ")");
  }
};

}  // namespace lamina::inline LAMINA_ABI
