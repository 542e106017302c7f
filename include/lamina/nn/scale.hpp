#pragma once

#include <string>
#include <utility>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/kernels/functions.hpp"
#include "lamina/kernels/gemm.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = c x with one learned number c, a parameter of shape [1]: the weight of a branch. Its key is `name`.
template <class Scalar = float>
class Scale : public Layer<Scale<Scalar>, Scalar> {
 public:
  Parameter<Scalar> coefficient;  ///< [1]

  /// Starts from `initial`; the parameter's name is `key`.
  explicit Scale(double initial = 1, std::string key = "coefficient")
      : coefficient(Tensor<Scalar>::full({1}, static_cast<Scalar>(initial))), key_(std::move(key)) {}

  Shape output_shape(const Shape& input) const override { return input; }
  Members<Scalar> members() override { return {{key_, &coefficient}}; }
  Fields fields() const override { return Fields("Scale").argument("key", key_); }
  /// What it was made with.
  const std::string& key() const { return key_; }
  Index multiply_adds(const Shape&) const override { return 0; }
  Locality locality() const override { return Locality::element; }

 private:
  Tensor<Scalar> scaled(Tensor<Scalar> x) const {
    return kernels::transform(std::move(x), kernels::Scaled<Scalar>{coefficient.value.item()});
  }
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override { return scaled(std::move(x)); }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x);
    return scaled(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [x] = tape.pop<Tensor<Scalar>>();
    if (coefficient.requires_grad)
      kernels::gemm<Scalar>(1, 1, x.numel(), kernels::row_major(x.data(), x.numel()),
                            kernels::row_major(std::as_const(dy).data(), 1), coefficient.gradient().data(),
                            kernels::Store::add);
    return scaled(std::move(dy));
  }

  std::string key_;
};

}  // namespace lamina::inline LAMINA_ABI
