#pragma once

#include <string>
#include <utility>

#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// A value of its own: takes none and gives a tensor, which is learned if it has a key, under which it is in the state.
template <class Scalar = float>
class Constant : public detail::Cloned<Constant<Scalar>, Scalar, Primitive<Scalar>> {
 public:
  Parameter<Scalar> value;  ///< learned if it has a key

  /// A tensor that is saved and learned under a key, or fixed without one.
  explicit Constant(Tensor<Scalar> tensor, std::string key = "") : value(std::move(tensor)), key_(std::move(key)) {}

  Saved saved() const override { return Saved::nothing; }
  Shape output_shape(const Shape&) const override { return value.value.shape(); }
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.empty(), *this, ": takes no value, got ", x.size());
    return value.value.shape();
  }
  Members<Scalar> members() override {
    if (key_.empty()) return {};
    return {{key_, value}};
  }
  Fields fields() const override {
    return Fields("Constant").argument("shape", value.value.shape()).field("key", key_, "");
  }
  /// What it was made with.
  const std::string& key() const { return key_; }

  /// The value, whatever is given; backward adds to its gradient if it has a key.
  /// @{
  Values<Scalar> infer_values(Values<Scalar>, Activation) const override { return Value<Scalar>(value.value); }
  Values<Scalar> forward_values(Values<Scalar>, Tape&, Activation) override { return Value<Scalar>(value.value); }
  Few<Tensor<Scalar>> backward_values(Few<Tensor<Scalar>> dy, Tape&, const Few<InputGrad>&) override {
    if (!key_.empty() && value.requires_grad) value.gradient() += dy[0];
    return {};
  }
  /// @}

 private:
  std::string key_;
};

}  // namespace lamina::inline LAMINA_ABI
