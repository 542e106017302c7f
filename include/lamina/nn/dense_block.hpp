#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/cat.hpp"
#include "lamina/nn/checkpoint.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/relu.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of DenseBlock.
struct DenseBlockOptions {
  Index growth = 32;     ///< k, the channels that each layer adds
  Index bottleneck = 4;  ///< a 1x1 convolution to bottleneck * growth channels in each layer; 0: none
  bool bias = false;     ///< in the convolutions
  double dropout = 0;    ///< of what each layer adds
};

/// A dense block (Huang et al. 2017): layer i sees the input and what all layers before it made, and adds k channels,
///
///   y_0 = x,   y_i = [y_(i-1), conv2(relu(norm2(conv1(relu(norm1(y_(i-1)))))))],   y = y_L
///
/// with a 1x1 conv1 and a 3x3 conv2, or without bottleneck a 3x3 conv1 alone. Shapes: x [N, C, H, W],
/// y [N, C + L k, H, W]. Children are denselayer1, ..., with torchvision's names inside. Throws ValueError for sizes
/// below 1, ShapeError for another input, or in training for one value to a channel.
///
/// Memory grows with the number of layers, not with its square (Pleiss et al. 2017): norm1 takes what is joined in its
/// parts, so that no y_i but the last exists, and what conv1 sees is computed again in backward.
template <class Scalar = float>
class DenseBlock : public Block<DenseBlock<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  DenseBlock(Index in_channels, Index layers, const DenseBlockOptions& options = {})
      : in_(in_channels), options_(options) {
    const auto check = [&](bool valid, const auto&... parts) { require(valid, fields(layers), ": ", parts...); };
    check(in_ >= 1 && layers >= 1, "needs at least 1 channel and 1 layer");
    check(options_.growth >= 1, "growth must be at least 1, got ", options_.growth);
    check(options_.bottleneck >= 0, "bottleneck must not be negative, got ", options_.bottleneck);
    for (Index i = 0; i < layers; ++i) layers_.push_back(dense_layer(in_ + i * options_.growth));
  }

  Members<Scalar> members() override {
    Members<Scalar> result;
    for (auto& layer : layers_) result.push_back({"denselayer" + std::to_string(result.size() + 1), layer});
    return result;
  }
  Fields fields() const override { return fields(static_cast<Index>(layers_.size())); }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    require<ShapeError>(x.shape().rank() == 4 && x.shape()[1] == in_, *this, ": expected an input [N, ", in_,
                        ", H, W], got shape ", x.shape());
    for (const auto& layer : layers_) {
      Value<Scalar> added = run(layer, x);
      x = run(cat_, std::move(x), std::move(added));
    }
    return x;
  }

 private:
  Fields fields(Index layers) const {
    const DenseBlockOptions usual;
    return Fields("DenseBlock")
        .argument("in_channels", in_)
        .argument("layers", layers)
        .option("growth", options_.growth, usual.growth)
        .option("bottleneck", options_.bottleneck, usual.bottleneck)
        .option("bias", options_.bias, false)
        .option("dropout", options_.dropout, usual.dropout);
  }

  Sequential<Scalar> dense_layer(Index in) const {
    const Index k = options_.growth, inside = options_.bottleneck * k;
    const Conv2dOptions pointwise{.bias = options_.bias}, spatial{.padding = 1, .bias = options_.bias};
    const Sequential<Scalar> seen{{"norm1", BatchNorm2d<Scalar>(in)}, {"relu1", ReLU<Scalar>()}};
    Sequential<Scalar> result{{"", Checkpoint<Scalar>(seen)}};
    if (inside > 0) {
      result.add("conv1", Conv2d<Scalar>(in, inside, 1, pointwise));
      result.add("norm2", BatchNorm2d<Scalar>(inside));
      result.add("relu2", ReLU<Scalar>());
      result.add("conv2", Conv2d<Scalar>(inside, k, 3, spatial));
    } else {
      result.add("conv1", Conv2d<Scalar>(in, k, 3, spatial));
    }
    if (options_.dropout > 0) result.add("", Dropout<Scalar>(options_.dropout));
    return result;
  }

  Index in_;
  DenseBlockOptions options_;
  std::vector<Sequential<Scalar>> layers_;
  Cat<Scalar> cat_;
};

}  // namespace lamina::inline LAMINA_ABI
