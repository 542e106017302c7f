#pragma once

#include <concepts>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/block.hpp"

namespace lamina::inline LAMINA_ABI {

/// A module inside a container, with its name. An unnamed child is named by its position ("0", "1", ...), as in
/// PyTorch's Sequential; a child named "" is transparent in state_dict keys. Copying copies the module.
template <class Scalar>
struct Child {
  std::string name;                        ///< the key in state_dict
  bool named = false;                      ///< whether the name was given
  std::unique_ptr<Module<Scalar>> module;  ///< never null

  /// A module, under a name if one is given.
  /// @{
  template <std::derived_from<Module<Scalar>> M>
  Child(M m) : module(new M(std::move(m))) {}
  template <std::derived_from<Module<Scalar>> M>
  Child(std::string child_name, M m) : name(std::move(child_name)), named(true), module(new M(std::move(m))) {}
  Child(std::unique_ptr<Module<Scalar>> m) : module(std::move(m)) {}
  Child(std::string child_name, std::unique_ptr<Module<Scalar>> m)
      : name(std::move(child_name)), named(true), module(std::move(m)) {}
  /// @}

  /// Copying copies the module.
  /// @{
  Child(const Child& other) : name(other.name), named(other.named), module(other.module->clone()) {}
  Child(Child&&) noexcept = default;
  Child& operator=(Child other) noexcept {
    std::swap(name, other.name);
    std::swap(named, other.named);
    std::swap(module, other.module);
    return *this;
  }
  /// @}
};

/// What Sequential and the branch combinators share: named children, indexing and enumeration.
template <class Derived, class Scalar>
class Container : public Block<Derived, Scalar> {
 public:
  Container() = default;
  /// The children, in order.
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

  /// @{
  /// Appends a child.
  void add(Child<Scalar> child) { insert(size(), std::move(child)); }
  /// Appends a child under a name.
  template <std::derived_from<Module<Scalar>> M>
  void add(std::string name, M module) {
    add(Child<Scalar>(std::move(name), std::move(module)));
  }

  /// Puts a child before child i, or at the end with i = size(). Children without names of their own are named by their
  /// positions, so those behind it move on. Throws ValueError for another position.
  void insert(Index i, Child<Scalar> child) {
    require(i >= 0 && i <= size(), Derived::type_name, ": cannot insert at ", i, ", there are ", size());
    children_.insert(children_.begin() + i, std::move(child));
    number();
  }
  /// Puts another module in the place of child i, under its name; or a Child, with a name of its own if it has one.
  void replace(Index i, Child<Scalar> with) {
    Child<Scalar>& place = child(i);
    if (!with.named) std::tie(with.name, with.named) = std::pair(place.name, place.named);
    place = std::move(with);
  }
  /// Takes child i away.
  void erase(Index i) {
    child(i);
    children_.erase(children_.begin() + i);
    number();
  }

  /// The number of children.
  Index size() const { return static_cast<Index>(children_.size()); }

  /// A child by position. Throws ValueError if there is none.
  Module<Scalar>& operator[](Index i) { return *child(i).module; }
  /// The same to read.
  const Module<Scalar>& operator[](Index i) const { return *child(i).module; }
  /// A child as the layer it is: `net.template get<Conv2d<float>>(0).weight`. Throws ValueError if it is another.
  template <class M>
  M& get(Index i) {
    auto* module = child(i).module->template as<M>();
    require(module != nullptr, *this, ": child ", i, " is a ", *child(i).module);
    return *module;
  }

  /// The children, by their names.
  Members<Scalar> members() override {
    Members<Scalar> result;
    for (auto& child : children_) result.push_back({child.name, child.module.get()});
    return result;
  }

  /// With the first three children.
  Fields fields() const override {
    Fields fields(Derived::type_name);
    for (std::size_t i = 0; i < children_.size() && i < 3; ++i) fields.remark(children_[i].module->name());
    return children_.size() > 3 ? fields.remark("...") : fields;
  }

 protected:
  /// For derived classes: the children in order.
  /// @{
  std::vector<Child<Scalar>>& children() { return children_; }
  /// What it was made with.
  const std::vector<Child<Scalar>>& children() const { return children_; }
  /// @}

 private:
  Child<Scalar>& child(Index i) {
    require(i >= 0 && i < size(), Derived::type_name, ": no child ", i, ", there are ", size());
    return children_[static_cast<std::size_t>(i)];
  }
  const Child<Scalar>& child(Index i) const {
    require(i >= 0 && i < size(), Derived::type_name, ": no child ", i, ", there are ", size());
    return children_[static_cast<std::size_t>(i)];
  }

  void number() {
    for (std::size_t i = 0; i < children_.size(); ++i)
      if (!children_[i].named) children_[i].name = std::to_string(i);
  }

  std::vector<Child<Scalar>> children_;
};

/// y = f_n(... f_2(f_1(x))). Children carry positions as names unless given ones:
///
///   Sequential net{Conv2d(1, 6, 5, {.padding = 2}), Sigmoid(), AvgPool2d(2)};              // keys "0.weight", ...
///   Sequential<Scalar>{{"conv1", Conv2d<Scalar>(3, 64, 3)}, {"", ReLU<Scalar>()}};         // keys "conv1.weight", ...
template <class Scalar = float>
class Sequential : public Container<Sequential<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "Sequential";  ///< its name in messages
  using Container<Sequential<Scalar>, Scalar>::Container;

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    for (const auto& child : this->children()) x = run(*child.module, std::move(x));
    return x;
  }
};

/// Takes the scalar type of the first child.
template <class M, class... Rest>
Sequential(M, Rest...) -> Sequential<ScalarOf<M>>;

}  // namespace lamina::inline LAMINA_ABI
