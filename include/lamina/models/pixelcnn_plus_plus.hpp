#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/add.hpp"
#include "lamina/nn/block.hpp"
#include "lamina/nn/cat.hpp"
#include "lamina/nn/concat_elu.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/glu.hpp"
#include "lamina/nn/logistic_mixture.hpp"
#include "lamina/nn/narrow.hpp"
#include "lamina/nn/shift2d.hpp"
#include "lamina/nn/weight_norm.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of PixelCNNPlusPlus.
struct PixelCNNPlusPlusOptions {
  Index channels = 3;       ///< of the images: 1 or 3
  Index resnets = 5;        ///< gated residual layers at each size
  Index filters = 160;      ///< channels of the layers
  Index mixtures = 10;      ///< logistics in a mixture
  Index classes = 0;        ///< of the condition; 0: none
  double dropout = 0.5;     ///< probability of dropping a unit within the gated residual layers
  bool weight_norm = true;  ///< false: plain convolutions, that load plain_weights() of a model that has it
};

/// (2 x - 1, 1): images with values in [0, 1] as [-1, 1], and behind them a channel of ones that tells a convolution
/// where the image ends. x [N, C, H, W], y [N, C + 1, H, W].
template <class Scalar = float>
class SignedImage : public Layer<SignedImage<Scalar>, Scalar> {
 public:
  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() == 4, *this, ": expected images [N, C, H, W], got shape ", input);
    return input.with(1, input[1] + 1);
  }
  Fields fields() const override { return Fields("SignedImage"); }
  Saved saved() const override { return Saved::nothing; }
  Locality locality() const override { return Locality::pixel; }

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(output_shape(x.shape()));
    const Index plane = x.dim(2) * x.dim(3), image = x.dim(1) * plane;
    const Scalar* from = std::as_const(x).data();
    for (Scalar *to = y.data(), *end = to + y.numel(); to < end; from += image) {
      to = std::transform(from, from + image, to, [](Scalar value) { return 2 * value - 1; });
      to = std::fill_n(to, plane, Scalar(1));
    }
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape&) override { return do_infer(std::move(x)); }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape&, InputGrad) override {
    const Index image = (dy.dim(1) - 1) * dy.dim(2) * dy.dim(3), step = dy.dim(1) * dy.dim(2) * dy.dim(3);
    Tensor<Scalar> dx(dy.shape().with(1, dy.dim(1) - 1));
    Scalar* const out = dx.data();
    for (Index n = 0; n < dy.dim(0); ++n)
      for (Index i = 0; i < image; ++i) out[n * image + i] = 2 * std::as_const(dy).data()[n * step + i];
    return dx;
  }
};

namespace detail {

/// A convolution of PixelCNN++, weight-normalised if the options say so. `gain` as WeightNorm's.
template <class Conv>
Child<ScalarOf<Conv>> normalized(const PixelCNNPlusPlusOptions& options, const std::string& name, Conv conv,
                                 double gain = 1) {
  if (options.weight_norm) return {name, WeightNorm<Conv>(std::move(conv), gain)};
  return {name, std::move(conv)};
}

}  // namespace detail

/// The two ways in which a convolution of PixelCNN++ looks.
enum class PixelStream {
  down,       ///< rows up to its own, both sides: kernels 2 x 3
  down_right  ///< rows above, and up to itself: kernels 2 x 2
};

namespace detail {

/// Of a kernel that ends at its own pixel's row and, of PixelStream::down_right, column.
inline Conv2dOptions shifted(PixelStream stream, const Size2& kernel, Index stride = 1) {
  const Index side = (kernel.w - 1) / 2;
  const Padding padding =
      stream == PixelStream::down ? Padding(kernel.h - 1, 0, side, side) : Padding(kernel.h - 1, 0, kernel.w - 1, 0);
  return {.stride = stride, .padding = padding};
}

}  // namespace detail

/// A gated residual layer of PixelCNN++ (Salimans et al. 2017, section 2.5, and gated_resnet of the authors' code), of
/// x, with `skip` channels of a short-cut a and with classes a condition c [N, classes, 1, 1]:
///
///   h = conv_input(concat_elu(x)) + nin_skip(concat_elu(a))
///   x + glu(conv_out(dropout(concat_elu(h))) + condition(c))
///
/// Keys "conv_input.", "nin_skip.", "conv_out.", "condition.".
template <class Scalar = float>
class GatedResnet : public Block<GatedResnet<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  GatedResnet(const PixelCNNPlusPlusOptions& options, PixelStream stream, Index skip)
      : conv_input_(detail::normalized(options, "conv_input", convolution(options, stream, options.filters))),
        conv_out_(detail::normalized(options, "conv_out", convolution(options, stream, 2 * options.filters), 0.1)),
        dropout_(options.dropout) {
    if (skip > 0) nin_skip_ = detail::normalized(options, "nin_skip", Conv2d<Scalar>(2 * skip, options.filters, 1));
    if (options.classes > 0) condition_.emplace(options.classes, 2 * options.filters, 1, Conv2dOptions{.bias = false});
  }

  Members<Scalar> members() override {
    Members<Scalar> result{{"conv_input", conv_input_.module.get()}};
    if (nin_skip_) result.push_back({"nin_skip", nin_skip_->module.get()});
    result.push_back({"conv_out", conv_out_.module.get()});
    if (condition_) result.push_back({"condition", *condition_});
    return result;
  }
  Fields fields() const override { return Fields("GatedResnet"); }

  /// What flows through it, see Block: x, then the short-cut and the condition if it has them.
  Value<Scalar> flow(Flow<Scalar>& run, Values<Scalar> in) const {
    require(in.size() == std::size_t{1} + nin_skip_.has_value() + condition_.has_value(), *this, ": does not take ",
            in.size(), " values");
    Value<Scalar> h = run(*conv_input_.module, run(elu_, in[0]));
    if (nin_skip_) h = run(add_, std::move(h), run(*nin_skip_->module, run(elu_, in[1])));
    h = run(*conv_out_.module, run(dropout_, run(elu_, std::move(h))));
    if (condition_) h = run(add_, std::move(h), run(*condition_, in[in.size() - 1]));
    return run(add_, std::move(in[0]), run(glu_, std::move(h)));
  }

 private:
  static Conv2d<Scalar> convolution(const PixelCNNPlusPlusOptions& options, PixelStream stream, Index out) {
    const Size2 kernel = stream == PixelStream::down ? Size2{2, 3} : Size2{2, 2};
    return {2 * options.filters, out, kernel, detail::shifted(stream, kernel)};
  }

  Child<Scalar> conv_input_, conv_out_;
  std::optional<Child<Scalar>> nin_skip_ = {};
  std::optional<Conv2d<Scalar>> condition_ = {};
  ConcatELU<Scalar> elu_ = {};
  Dropout<Scalar> dropout_;
  GLU<Scalar> glu_{1};
  Add<Scalar> add_ = {};
};

/// PixelCNN++ (Salimans, Karpathy, Chen and Kingma 2017; figure 2, and the authors' code, openai/pixel-cnn). Two
/// streams, u of the rows above and ul of those and what is to the left, go through `resnets` gated residual layers at
/// each of three sizes, the whole, a half and a quarter, and back again, with a short-cut from each layer on the way
/// down to its counterpart on the way up. Images [N, channels + classes, H, W] with values in [0, 1] (the classes as in
/// GatedStack: a one-hot, the same everywhere) -> parameters [N, P, H, W] of mixtures of logistics, see
/// logistic_mixture_loss. H and W are multiples of 4.
///
/// Keys: "u_init", "ul_init.0", "ul_init.1", "up.SIZE.STREAM.LAYER.", "downsize_STREAM.SIZE",
/// "down.SIZE.STREAM.LAYER.", "upsize_STREAM.SIZE", "nin_out", where STREAM is u or ul. Weight-normalised layers want
/// initialize_weight_norm(net, batch) before they are trained. Throws ValueError for sizes below 1 or a dropout outside
/// [0, 1]; ShapeError for another input.
template <class Scalar = float>
class PixelCNNPlusPlus : public Block<PixelCNNPlusPlus<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  explicit PixelCNNPlusPlus(const PixelCNNPlusPlusOptions& options = {})
      : options_(checked(options)),
        image_(1, 0, options.channels),
        condition_(1, options.channels, options.classes),
        u_init_(convolution("u_init", PixelStream::down, options.channels + 1, {2, 3})),
        above_init_(convolution("ul_init.0", PixelStream::down, options.channels + 1, {1, 3})),
        left_init_(convolution("ul_init.1", PixelStream::down_right, options.channels + 1, {2, 1})),
        nin_out_(detail::normalized(
            options, "nin_out",
            Conv2d<Scalar>(options.filters, logistic_mixture_parameters(options.channels, options.mixtures), 1))) {
    for (Index size = 0; size < sizes; ++size) {
      up_.push_back(layers(options.resnets, 0));
      down_.push_back(layers(options.resnets + (size > 0), options.filters));
      if (size + 1 == sizes) break;
      downsize_.push_back(
          Resize{convolution(text("downsize_u.", size), PixelStream::down, options.filters, {2, 3}, 2),
                 convolution(text("downsize_ul.", size), PixelStream::down_right, options.filters, {2, 2}, 2)});
      upsize_.push_back(
          Resize{transposed(text("upsize_u.", size), {2, 3}), transposed(text("upsize_ul.", size), {2, 2})});
    }
  }

  Members<Scalar> members() override {
    Members<Scalar> result;
    const auto add = [&](Child<Scalar>& child) { result.push_back({child.name, child.module.get()}); };
    const auto add_layers = [&](const char* way, std::vector<Layers>& all) {
      for (std::size_t size = 0; size < all.size(); ++size)
        for (auto* stream : {&all[size].u, &all[size].ul})
          for (std::size_t i = 0; i < stream->size(); ++i)
            result.push_back({text(way, size, stream == &all[size].u ? ".u." : ".ul.", i), (*stream)[i]});
    };
    for (auto* child : {&u_init_, &above_init_, &left_init_}) add(*child);
    add_layers("up.", up_);
    add_layers("down.", down_);
    for (auto* way : {&downsize_, &upsize_})
      for (Resize& resize : *way) {
        add(resize.u);
        add(resize.ul);
      }
    add(nin_out_);
    return result;
  }
  Fields fields() const override {
    return Fields("PixelCNNPlusPlus")
        .argument("channels", options_.channels)
        .option("resnets", options_.resnets)
        .option("filters", options_.filters)
        .option("mixtures", options_.mixtures)
        .option("classes", options_.classes, 0)
        .option("dropout", options_.dropout)
        .option("weight_norm", options_.weight_norm, true);
  }
  /// What it was made with.
  const PixelCNNPlusPlusOptions& options() const { return options_; }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    const Index channels = options_.channels + options_.classes;
    const Shape& shape = x.shape();
    require<ShapeError>(shape.rank() == 4 && shape[1] == channels && shape[2] % 4 == 0 && shape[3] % 4 == 0, *this,
                        ": expected an input [N, ", channels, ", H, W] with H and W multiples of 4, got shape ", shape);
    Values<Scalar> condition;
    if (options_.classes > 0) {
      condition.push_back(run(first_column_, run(first_row_, run(condition_, x))));
      x = run(image_, std::move(x));
    }
    Streams now = first(run, std::move(x));
    std::vector<Streams> kept{now};
    for (std::size_t size = 0; size < up_.size(); ++size) {
      if (size > 0) kept.push_back(now = resized(run, downsize_[size - 1], std::move(now)));
      for (std::size_t i = 0; i < up_[size].u.size(); ++i) {
        now.u = gated(run, up_[size].u[i], std::move(now.u), {}, condition);
        now.ul = gated(run, up_[size].ul[i], std::move(now.ul), {now.u}, condition);
        kept.push_back(now);
      }
    }
    kept.pop_back();
    for (std::size_t size = 0; size < down_.size(); ++size) {
      if (size > 0) now = resized(run, upsize_[size - 1], std::move(now));
      for (std::size_t i = 0; i < down_[size].u.size(); ++i) {
        Streams skip = std::move(kept.back());
        kept.pop_back();
        now.u = gated(run, down_[size].u[i], std::move(now.u), {std::move(skip.u)}, condition);
        now.ul = gated(run, down_[size].ul[i], std::move(now.ul), {run(cat_, now.u, std::move(skip.ul))}, condition);
      }
    }
    return run(*nin_out_.module, run(elu_, std::move(now.ul)));
  }

 private:
  static constexpr Index sizes = 3;

  struct Streams {
    Value<Scalar> u, ul;
  };
  struct Layers {
    std::vector<GatedResnet<Scalar>> u, ul;
  };
  struct Resize {
    Child<Scalar> u, ul;
  };

  static const PixelCNNPlusPlusOptions& checked(const PixelCNNPlusPlusOptions& options) {
    require(options.resnets >= 1 && options.filters >= 1 && options.classes >= 0,
            "PixelCNNPlusPlus: expected at least 1 gated residual layer and filter, got ", options.resnets, " and ",
            options.filters);
    logistic_mixture_parameters(options.channels, options.mixtures);
    return options;
  }

  Child<Scalar> convolution(const std::string& name, PixelStream stream, Index in, const Size2& kernel,
                            Index stride = 1) {
    return detail::normalized(options_, name,
                              Conv2d<Scalar>(in, options_.filters, kernel, detail::shifted(stream, kernel, stride)));
  }
  /// Twice as large: as the authors' deconv2d, cut to the rows and columns of the finer image.
  Child<Scalar> transposed(const std::string& name, const Size2& kernel) {
    const Index side = (kernel.w - 1) / 2;
    return detail::normalized(
        options_, name,
        ConvTranspose2d<Scalar>(options_.filters, options_.filters, kernel,
                                {.stride = 2, .padding = Padding(0, side), .output_padding = Size2{0, side}}));
  }
  /// Of one size; u with `skip` channels of a short-cut, ul with those of u beside them.
  Layers layers(Index count, Index skip) const {
    Layers result;
    for (Index i = 0; i < count; ++i) {
      result.u.emplace_back(options_, PixelStream::down, skip);
      result.ul.emplace_back(options_, PixelStream::down_right, options_.filters + skip);
    }
    return result;
  }

  Streams first(Flow<Scalar>& run, Value<Scalar> image) const {
    const Value<Scalar> x = run(signed_, std::move(image));
    Value<Scalar> u = run(down_one_, run(*u_init_.module, x));
    Value<Scalar> above = run(down_one_, run(*above_init_.module, x));
    Value<Scalar> left = run(right_one_, run(*left_init_.module, x));
    return {std::move(u), run(add_, std::move(above), std::move(left))};
  }
  static Streams resized(Flow<Scalar>& run, const Resize& resize, Streams now) {
    Value<Scalar> u = run(*resize.u.module, std::move(now.u));
    return {std::move(u), run(*resize.ul.module, std::move(now.ul))};
  }
  static Value<Scalar> gated(Flow<Scalar>& run, const GatedResnet<Scalar>& layer, Value<Scalar> x, Values<Scalar> skip,
                             const Values<Scalar>& condition) {
    Values<Scalar> in(std::move(x));
    if (!skip.empty()) in.push_back(std::move(skip[0]));
    if (!condition.empty()) in.push_back(condition[0]);
    return std::move(run.all(layer, std::move(in))[0]);
  }

  PixelCNNPlusPlusOptions options_;
  Narrow<Scalar> image_, condition_, first_row_{2, 0, 1}, first_column_{3, 0, 1};
  SignedImage<Scalar> signed_ = {};
  Child<Scalar> u_init_, above_init_, left_init_, nin_out_;
  std::vector<Layers> up_ = {}, down_ = {};
  std::vector<Resize> downsize_ = {}, upsize_ = {};
  Shift2d<Scalar> down_one_{Shift2dOptions{.down = 1}}, right_one_{Shift2dOptions{.right = 1}};
  ELU<Scalar> elu_;
  Cat<Scalar> cat_{1};
  Add<Scalar> add_ = {};
};

}  // namespace lamina::inline LAMINA_ABI
