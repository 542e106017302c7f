#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/run.hpp"
#include "lamina/models/pixelcnn.hpp"
#include "lamina/nn/gate.hpp"

namespace lamina {

struct GatedPixelCNNOptions {
  Index channels = 1;  ///< of the images; three are R, G, B, predicted in that order
  Index blocks = 15;   ///< layers behind the first
  Index hidden = 128;  ///< p, a multiple of channels
  Index levels = 256;  ///< values that a pixel can take; 2 for binary images
  Index classes = 0;   ///< of the condition; 0: none
};

namespace detail {
template <class Scalar>
class IncrementalGatedStack;
}

/// The layers of a Gated PixelCNN (van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders",
/// figure 2). Two stacks without the blind spot of stacked masked convolutions: v sees the rows above, h what is left
/// of a pixel and, through v, the rows above.
///
///   a = vertical(v) + V c           v' = gate(a)                     7x7 vertical_A first, then 3x3 vertical_B
///   b = horizontal(h) + link(a) + U c    h' = h + out(gate(b))       1x7 mask A first, then 1x3 mask B; 2p channels
///
/// where the first layer has no h to add to, the 1x1 convolutions are link (2p) and out (p), and c are the values that
/// the `classes` channels behind the image have at its first pixel: a class as one-hot, say, the same everywhere.
///
/// Shapes: x [N, channels + classes, H, W], y [N, p, H, W]. Keys "0.vertical.conv.weight", "0.link.weight",
/// "0.horizontal.conv.weight", "0.out.weight" ("0.out.conv.weight" for several colours), "0.vertical_condition.weight",
/// "0.horizontal_condition.weight". Incrementally a row of v is computed at once, when the row above is known.
template <class Scalar = float>
class GatedStack : public Layer<GatedStack<Scalar>, Scalar> {
 public:
  explicit GatedStack(const GatedPixelCNNOptions& options) : options_(options), gate_({.groups = options.channels}) {
    const Index colours = options.channels, p = options.hidden;
    detail::require(colours >= 1 && options.blocks >= 0 && options.classes >= 0 && p >= 1 && p % colours == 0,
                    "GatedStack: expected at least 1 channel and a multiple of hidden units, got ", colours, " and ",
                    p);
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

  Shape output_shape(const Shape& input) const override {
    const Index channels = options_.channels + options_.classes;
    detail::require<ShapeError>(input.rank() == 4 && input[1] == channels, name(), ": expected an input [N, ", channels,
                                ", H, W], got shape ", input);
    return input.with(1, options_.hidden);
  }

  Members<Scalar> members() override {
    Members<Scalar> result;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      GatedLayer& layer = layers_[i];
      const auto add = [&](const char* part, Module<Scalar>& module) {
        result.push_back({detail::text(i, ".", part), &module});
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

  std::string name() const override {
    std::string out =
        detail::text("GatedStack(", options_.channels, ", ", options_.hidden, ", blocks=", options_.blocks);
    if (options_.classes > 0) out += detail::text(", classes=", options_.classes);
    return out + ")";
  }

  Index multiply_adds(const Shape& input) const override {
    output_shape(input);
    Index total = 0;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const GatedLayer& layer = layers_[i];
      const Shape in = input.with(1, i == 0 ? options_.channels : options_.hidden);
      const Shape wide = input.with(1, 2 * options_.hidden), condition{input[0], options_.classes, 1, 1};
      total += layer.vertical.multiply_adds(in) + layer.horizontal.multiply_adds(in) + layer.link.multiply_adds(wide) +
               layer.out.module->multiply_adds(input.with(1, options_.hidden));
      if (layer.vertical_condition) total += 2 * layer.vertical_condition->multiply_adds(condition);
    }
    return total;
  }

  std::unique_ptr<Incremental<Scalar>> incremental(Scan& scan) const override {
    auto form = std::make_unique<detail::IncrementalGatedStack<Scalar>>(*this, scan);
    scan.sees_pixel = false;
    scan.groups = options_.channels;
    return form;
  }

 private:
  friend class detail::IncrementalGatedStack<Scalar>;

  struct GatedLayer {
    MaskedConv2d<Scalar> vertical;
    Conv2d<Scalar> link;
    MaskedConv2d<Scalar> horizontal;
    Child<Scalar> out;
    std::optional<Conv2d<Scalar>> vertical_condition, horizontal_condition;
  };

  /// The image among the channels of x, and the condition [N, classes, 1, 1].
  Tensor<Scalar> image_of(const Tensor<Scalar>& x) const {
    if (options_.classes == 0) return x;
    const Index pixels = x.dim(2) * x.dim(3), taken = options_.channels * pixels;
    Tensor<Scalar> image(x.shape().with(1, options_.channels));
    kernels::copy_rows(x.dim(0), taken, x.data(), x.dim(1) * pixels, image.data(), taken);
    return image;
  }
  Tensor<Scalar> condition_of(const Tensor<Scalar>& x) const {
    if (options_.classes == 0) return {};
    const Index pixels = x.dim(2) * x.dim(3), k = options_.classes;
    Tensor<Scalar> condition({x.dim(0), k, 1, 1});
    for (Index i = 0; i < condition.numel(); ++i)
      condition.data()[i] = x.data()[(i / k * x.dim(1) + options_.channels + i % k) * pixels];
    return condition;
  }

  /// x [N, M, H, W] + c [N, M, 1, 1]; nothing is added if c is empty.
  static Tensor<Scalar> add_everywhere(Tensor<Scalar> x, const Tensor<Scalar>& c) {
    if (c.empty() || x.empty()) return x;
    const Index pixels = x.dim(2) * x.dim(3);
    Scalar* const values = x.data();
    parallel_for(0, c.numel(), kernels::stream_grain / pixels, [&](Index first, Index last) {
      for (Index i = first; i < last; ++i) {
        Scalar* const row = values + i * pixels;
        const simd::Pack<Scalar> add(c.data()[i]);
        kernels::map_run(pixels, row, [&](auto load) { return load(row) + add; });
      }
    });
    return x;
  }

  /// The layers of `self`, which is const or not; run(module, x) is infer or forward.
  template <class Self, class Run>
  static Tensor<Scalar> run_layers(Self& self, const Tensor<Scalar>& x, Run run) {
    self.output_shape(x.shape());
    const Tensor<Scalar> condition = self.condition_of(x);
    Tensor<Scalar> v = self.image_of(x), h = v;
    for (std::size_t i = 0; i < self.layers_.size(); ++i) {
      auto& layer = self.layers_[i];
      Tensor<Scalar> a = run(layer.vertical, std::move(v));
      if (layer.vertical_condition) a = add_everywhere(std::move(a), run(*layer.vertical_condition, condition));
      Tensor<Scalar> b = run(layer.link, a);
      if (layer.horizontal_condition) b = add_everywhere(std::move(b), run(*layer.horizontal_condition, condition));
      if (i + 1 < self.layers_.size()) v = run(self.gate_, std::move(a));  // nobody looks at the last v
      b = detail::add(std::move(b), run(layer.horizontal, h));
      Tensor<Scalar> out = run(*layer.out.module, run(self.gate_, std::move(b)));
      h = i == 0 ? std::move(out) : detail::add(std::move(out), std::move(h));
    }
    return h;
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    return run_layers(*this, x,
                      [](const Module<Scalar>& module, Tensor<Scalar> in) { return module.infer(std::move(in)); });
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x.shape());
    return run_layers(*this, x,
                      [&](Module<Scalar>& module, Tensor<Scalar> in) { return module.forward(std::move(in), tape); });
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dh, Tape& tape, InputGrad input_grad) override {
    Tensor<Scalar> dv, dc;
    const auto add_to = [](Tensor<Scalar>& sum, Tensor<Scalar> part) {
      sum = sum.empty() ? std::move(part) : detail::add(std::move(sum), std::move(part));
    };
    const auto condition_backward = [&](std::optional<Conv2d<Scalar>>& conv, const Tensor<Scalar>& gradient) {
      if (!conv) return;
      const Index n = gradient.dim(0), m = gradient.dim(1);
      Tensor<Scalar> sums = Tensor<Scalar>::zeros({n, m, 1, 1});
      kernels::add_channel_sums(1, n * m, gradient.dim(2) * gradient.dim(3), gradient.data(), sums.data());
      add_to(dc, conv->backward(std::move(sums), tape, input_grad));
    };
    for (std::size_t i = layers_.size(); i-- > 0;) {
      GatedLayer& layer = layers_[i];
      const InputGrad below = i == 0 ? input_grad : InputGrad::compute;
      const Tensor<Scalar> db = gate_.backward(layer.out.module->backward(dh, tape), tape);
      Tensor<Scalar> part = layer.horizontal.backward(db, tape, below), da;
      if (i > 0)
        add_to(dh, std::move(part));
      else
        dh = std::move(part);
      if (i + 1 < layers_.size()) da = gate_.backward(std::move(dv), tape);
      condition_backward(layer.horizontal_condition, db);
      add_to(da, layer.link.backward(db, tape));
      condition_backward(layer.vertical_condition, da);
      dv = layer.vertical.backward(std::move(da), tape, below);
    }
    const auto [shape] = tape.pop<Shape>();
    if (input_grad == InputGrad::skip) return {};
    return input_gradient(shape, detail::add(std::move(dh), std::move(dv)), dc);
  }

  /// That of the image, and at the first pixel that of the condition.
  Tensor<Scalar> input_gradient(const Shape& shape, Tensor<Scalar> image, const Tensor<Scalar>& condition) const {
    if (options_.classes == 0) return image;
    const Index pixels = shape[2] * shape[3], taken = options_.channels * pixels, k = options_.classes;
    Tensor<Scalar> dx = Tensor<Scalar>::zeros(shape);
    kernels::copy_rows(shape[0], taken, std::as_const(image).data(), taken, dx.data(), shape[1] * pixels);
    for (Index i = 0; i < condition.numel(); ++i)
      dx.data()[(i / k * shape[1] + options_.channels + i % k) * pixels] = condition.data()[i];
    return dx;
  }

  GatedPixelCNNOptions options_;
  Gate<Scalar> gate_;
  std::vector<GatedLayer> layers_ = {};
};

namespace detail {

/// The stack in a scan: v row by row, h pixel by pixel.
template <class Scalar>
class IncrementalGatedStack : public Incremental<Scalar> {
 public:
  IncrementalGatedStack(const GatedStack<Scalar>& stack, const Scan& scan) : stack_(stack), columns_(scan.columns) {
    for (const auto& layer : stack.layers_) {
      Scan none = scan;
      layers_.push_back({{layer.vertical, scan},
                         {layer.horizontal, scan},
                         layer.link.incremental(none),
                         layer.out.module->incremental(none),
                         {},
                         {},
                         {}});
    }
  }

  Tensor<Scalar> step(Tensor<Scalar> x, Pixel at) override {
    if (at.row != row_) begin_row(x, at.row);
    Tensor<Scalar> h = stack_.image_of(x);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      LayerState& layer = layers_[i];
      const Index n = h.dim(0), m = layer.linked.dim(1);
      Tensor<Scalar> b({n, m, 1, 1});
      kernels::copy_rows(n, m, layer.linked.data() + at.column * m, columns_ * m, b.data(), m);
      b = add(std::move(b), layer.horizontal.step(h, at));
      Tensor<Scalar> out = layer.out->step(stack_.gate_.infer(std::move(b)), at);
      h = i == 0 ? std::move(out) : add(std::move(out), std::move(h));
    }
    return h;
  }

  /// What lies behind sees nothing of the pixel itself.
  Tensor<Scalar> settle(Tensor<Scalar> x, Pixel at) override {
    const Tensor<Scalar> image = stack_.image_of(x);
    layers_[0].vertical.settle(image, at);
    layers_[0].horizontal.settle(image, at);
    return {};
  }

 private:
  struct LayerState {
    IncrementalMaskedConv2d<Scalar> vertical, horizontal;
    std::unique_ptr<Incremental<Scalar>> link, out;
    Tensor<Scalar> vertical_condition, horizontal_condition;  // what they add at every pixel [N columns, 2p, 1, 1]
    Tensor<Scalar> linked;                                    // what h gets in this row, [N columns, 2p, 1, 1]
  };

  /// All of v in a row, and what h gets from it.
  void begin_row(const Tensor<Scalar>& x, Index row) {
    if (row_ < 0) prepare(x);
    row_ = row;
    Tensor<Scalar> v;
    for (LayerState& layer : layers_) {
      Tensor<Scalar> a = layer.vertical.row(v, row);
      if (!layer.vertical_condition.empty()) a = add(std::move(a), layer.vertical_condition);
      layer.linked = layer.link->step(a, {row, 0});
      if (!layer.horizontal_condition.empty()) layer.linked = add(std::move(layer.linked), layer.horizontal_condition);
      if (&layer != &layers_.back()) v = stack_.gate_.infer(std::move(a));
    }
  }

  /// What the condition adds in each layer.
  void prepare(const Tensor<Scalar>& x) {
    const Tensor<Scalar> condition = stack_.condition_of(x);
    const auto repeated = [&](const std::optional<Conv2d<Scalar>>& conv) {
      if (!conv) return Tensor<Scalar>();
      const Tensor<Scalar> once = conv->infer(condition);
      const Index n = once.dim(0), m = once.dim(1);
      Tensor<Scalar> result({n * columns_, m, 1, 1});
      for (Index i = 0; i < n * columns_; ++i) std::copy_n(once.data() + i / columns_ * m, m, result.data() + i * m);
      return result;
    };
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      layers_[i].vertical_condition = repeated(stack_.layers_[i].vertical_condition);
      layers_[i].horizontal_condition = repeated(stack_.layers_[i].horizontal_condition);
    }
  }

  const GatedStack<Scalar>& stack_;
  Index columns_, row_ = -1;
  std::vector<LayerState> layers_;
};

}  // namespace detail

/// Gated PixelCNN: the GatedStack, then relu, 1x1 h, relu, 1x1 channels levels. Images [N, channels + classes, H, W],
/// whose last channels hold the condition (see GatedStack, and complete(), which makes them) -> logits as pixelcnn's.
/// Keys "stack." those of GatedStack, "head.0.conv.weight", "head.2.weight". Throws ValueError as pixelcnn does.
template <class Scalar = float>
Sequential<Scalar> gated_pixelcnn(const GatedPixelCNNOptions& options = {}) {
  const auto& [colours, blocks, p, levels, classes] = options;
  detail::require(levels >= 2, "gated_pixelcnn: expected at least 2 levels, got ", levels);
  Sequential<Scalar> head{MaskedConv2d<Scalar>(Mask::B, p, p, 1, {.groups = colours}), ReLU<Scalar>()};
  head.add(detail::pixel_convolution<Scalar>("2", p, colours * levels, colours));
  return {{"stack", GatedStack<Scalar>(options)}, {"", ReLU<Scalar>()}, {"head", std::move(head)}};
}

}  // namespace lamina
