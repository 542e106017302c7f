#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lamina/models/pixelcnn.hpp"
#include "lamina/nn/gate.hpp"
#include "lamina/nn/narrow.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of gated_pixelcnn.
struct GatedPixelCNNOptions {
  Index channels = 1;    ///< of the images; three are R, G, B, predicted in that order
  Index blocks = 15;     ///< layers behind the first
  Index hidden = 128;    ///< p, a multiple of channels
  Index levels = 256;    ///< values that a pixel can take; 2 for binary images
  Index classes = 0;     ///< channels of the condition, one for each class, say; 0: none
  bool spatial = false;  ///< the condition is a map: each pixel has values of its own, and not the first pixel's
};

/// The layers of a Gated PixelCNN (van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders",
/// figure 2). Two stacks without the blind spot of stacked masked convolutions: v sees the rows above, h what is left
/// of a pixel and, through v, the rows above.
///
///   a = vertical(v) + V c           v' = gate(a)                     7x7 vertical_A first, then 3x3 vertical_B
///   b = horizontal(h) + link(a) + U c    h' = h + out(gate(b))       1x7 mask A first, then 1x3 mask B; 2p channels
///
/// where the first layer has no h to add to, the 1x1 convolutions are link (2p) and out (p), and c are the values that
/// the `classes` channels behind the image have at its first pixel: a class as one-hot, say, the same everywhere
/// (equation 4). With `spatial` they are those of each pixel, a map that tells what is where (equation 5); all of it
/// may be seen, for it is known from the start.
///
/// Shapes: x [N, channels + classes, H, W], y [N, p, H, W]. Keys "0.vertical.conv.weight", "0.link.weight",
/// "0.horizontal.conv.weight", "0.out.weight" ("0.out.conv.weight" for several colours), "0.vertical_condition.weight",
/// "0.horizontal_condition.weight".
template <class Scalar = float>
class GatedStack : public Block<GatedStack<Scalar>, Scalar> {
 public:
  /// Throws ValueError for options that make no network.
  explicit GatedStack(const GatedPixelCNNOptions& options)
      : options_(checked(options)),
        image_(1, 0, options.channels),
        condition_(1, options.channels, options.classes),
        gate_({.groups = options.channels}) {
    const Index colours = options.channels, p = options.hidden;
    for (Index i = 0; i <= options.blocks; ++i) {
      const bool first = i == 0;
      const Index in = first ? colours : p, size = first ? 7 : 3;
      layers_.push_back({MaskedConv2d<Scalar>(first ? Mask::vertical_A : Mask::vertical_B, in, 2 * p, size),
                         Conv2d<Scalar>(2 * p, 2 * p, 1),
                         MaskedConv2d<Scalar>(first ? Mask::A : Mask::B, in, 2 * p, {1, size}, {.groups = colours}),
                         detail::pixel_convolution<Scalar>("out", p, p, colours),
                         {},
                         {}});
      if (options.classes == 0) continue;
      layers_.back().vertical_condition.emplace(options.classes, 2 * p, 1, Conv2dOptions{.bias = false});
      layers_.back().horizontal_condition.emplace(options.classes, 2 * p, 1, Conv2dOptions{.bias = false});
    }
  }

  Members<Scalar> members() override {
    Members<Scalar> result;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      GatedLayer& layer = layers_[i];
      const auto add = [&](const char* part, Module<Scalar>& module) {
        result.push_back({text(i, ".", part), &module});
      };
      add("vertical", layer.vertical);
      if (layer.vertical_condition) add("vertical_condition", *layer.vertical_condition);
      add("link", layer.link);
      add("horizontal", layer.horizontal);
      if (layer.horizontal_condition) add("horizontal_condition", *layer.horizontal_condition);
      add("out", *layer.out.module);
    }
    return result;
  }

  Fields fields() const override {
    return Fields("GatedStack")
        .argument("channels", options_.channels)
        .argument("hidden", options_.hidden)
        .option("blocks", options_.blocks)
        .option("classes", options_.classes, 0)
        .option("spatial", options_.spatial, false);
  }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    const Index channels = options_.channels + options_.classes;
    require<ShapeError>(x.shape().rank() == 4 && x.shape()[1] == channels, *this, ": expected an input [N, ", channels,
                        ", H, W], got shape ", x.shape());
    Value<Scalar> c;
    if (options_.classes > 0) {
      c = run(condition_, x);
      if (!options_.spatial) c = run(first_column_, run(first_row_, std::move(c)));
      x = run(image_, std::move(x));
    }
    Value<Scalar> v = x, h = std::move(x);
    for (const GatedLayer& layer : layers_) {
      Value<Scalar> a = run(layer.vertical, std::move(v));
      if (layer.vertical_condition) a = run(add_, std::move(a), run(*layer.vertical_condition, c));
      Value<Scalar> b = run(layer.link, a);
      if (layer.horizontal_condition) b = run(add_, std::move(b), run(*layer.horizontal_condition, c));
      if (&layer != &layers_.back()) v = run(gate_, std::move(a));  // nobody looks at the last v
      b = run(add_, std::move(b), run(layer.horizontal, h));
      Value<Scalar> out = run(*layer.out.module, run(gate_, std::move(b)));
      h = &layer == &layers_.front() ? std::move(out) : run(add_, std::move(out), std::move(h));
    }
    return h;
  }

 private:
  static const GatedPixelCNNOptions& checked(const GatedPixelCNNOptions& options) {
    const Index colours = options.channels, p = options.hidden;
    require(colours >= 1 && options.blocks >= 0 && options.classes >= 0 && p >= 1 && p % colours == 0,
            "GatedStack: expected at least 1 channel and a multiple of hidden units, got ", colours, " and ", p);
    require(!options.spatial || options.classes > 0, "GatedStack: a spatial condition wants classes, its channels");
    return options;
  }

  struct GatedLayer {
    MaskedConv2d<Scalar> vertical;
    Conv2d<Scalar> link;
    MaskedConv2d<Scalar> horizontal;
    Child<Scalar> out;
    std::optional<Conv2d<Scalar>> vertical_condition, horizontal_condition;
  };

  GatedPixelCNNOptions options_;
  Narrow<Scalar> image_, condition_, first_row_{2, 0, 1}, first_column_{3, 0, 1};
  Gate<Scalar> gate_;
  Add<Scalar> add_ = {};
  std::vector<GatedLayer> layers_ = {};
};

/// Gated PixelCNN: the GatedStack, then relu, 1x1 h, relu, 1x1 channels levels. Images [N, channels + classes, H, W],
/// whose last channels hold the condition (see GatedStack, and complete(), which makes them) -> logits as pixelcnn's.
/// Keys "stack." those of GatedStack, "head.0.conv.weight", "head.2.weight". Throws ValueError as pixelcnn does.
template <class Scalar = float>
Sequential<Scalar> gated_pixelcnn(const GatedPixelCNNOptions& options = {}) {
  const auto& [colours, blocks, p, levels, classes, spatial] = options;
  require(levels >= 2, "gated_pixelcnn: expected at least 2 levels, got ", levels);
  Sequential<Scalar> head{MaskedConv2d<Scalar>(Mask::B, p, p, 1, {.groups = colours}), ReLU<Scalar>()};
  head.add(detail::pixel_convolution<Scalar>("2", p, colours * levels, colours));
  return {{"stack", GatedStack<Scalar>(options)}, {"", ReLU<Scalar>()}, {"head", std::move(head)}};
}

}  // namespace lamina::inline LAMINA_ABI
