#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of ImageTokens.
struct ImageTokensOptions {
  bool mean = false;  ///< the token before the pixels is their mean, not a learned one
};

/// Images as sequences (Dosovitskiy et al. 2021, equation 1): a token before those of the H W pixels, learned or, with
/// {.mean = true}, their mean (CLIP's attention pooling), and a learned position for each:
///
///   y[n][0] = class_embedding + positional_embedding[0],   y[n][1 + p] = x[n][:, p] + positional_embedding[1 + p]
///
/// Shapes: x [N, C, H, W], y [N, 1 + H W, C], class_embedding [C], positional_embedding [1 + H W, C]; both start from
/// N(0, 1 / C). Throws ValueError for sizes below 1, ShapeError for images of another size or number of channels.
template <class Scalar = float>
class ImageTokens : public Layer<ImageTokens<Scalar>, Scalar> {
 public:
  Parameter<Scalar> class_embedding;       ///< [C]; empty with {.mean = true}
  Parameter<Scalar> positional_embedding;  ///< [1 + H W, C]

  /// For images of that many pixels and channels.
  ImageTokens(Index pixels, Index channels, const ImageTokensOptions& options = {})
      : pixels_(pixels), channels_(channels), mean_(options.mean) {
    require(pixels_ >= 1 && channels_ >= 1, *this, ": sizes must be at least 1");
    const double deviation = 1 / std::sqrt(static_cast<double>(channels_));
    if (!mean_) class_embedding = init::normal<Scalar>({channels_}, 0, deviation);
    positional_embedding = init::normal<Scalar>({1 + pixels_, channels_}, 0, deviation);
  }

  Saved saved() const override { return Saved::nothing; }
  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() == 4 && input[1] == channels_ && input[2] * input[3] == pixels_, *this,
                        ": expected images [N, ", channels_, ", H, W] of ", pixels_, " pixels, got shape ", input);
    return {input[0], 1 + pixels_, channels_};
  }
  Members<Scalar> members() override {
    if (mean_) return {{"positional_embedding", positional_embedding}};
    return {{"class_embedding", class_embedding}, {"positional_embedding", positional_embedding}};
  }
  Fields fields() const override {
    return Fields("ImageTokens")
        .argument("pixels", pixels_)
        .argument("channels", channels_)
        .option("mean", mean_, false);
  }

  /// What it was made with.
  bool mean() const { return mean_; }

 private:
  /// f(image, its tokens) for all images.
  template <class F>
  void each(Index count, F f) const {
    parallel_for(0, count, std::max<Index>(1, (1 << 15) / (pixels_ * channels_)), [&](Index first, Index last) {
      for (Index i = first; i < last; ++i) f(i * pixels_ * channels_, i * (1 + pixels_) * channels_);
    });
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(output_shape(x.shape()));
    const Scalar* const in = std::as_const(x).data();
    Scalar* const out = y.data();
    const Scalar* const positions = positional_embedding.value.data();
    each(x.dim(0), [&](Index image, Index tokens) {
      for (Index c = 0; c < channels_; ++c) {
        const Scalar* const channel = in + image + c * pixels_;
        Scalar sum(0);
        for (Index p = 0; p < pixels_; ++p) {
          const Index at = (1 + p) * channels_ + c;
          out[tokens + at] = channel[p] + positions[at];
          sum += channel[p];
        }
        out[tokens + c] = positions[c] + (mean_ ? sum / static_cast<Scalar>(pixels_) : class_embedding.value.data()[c]);
      }
    });
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x.shape());
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [shape] = tape.pop<Shape>();
    const Scalar* const gradient = std::as_const(dy).data();
    const Index size = (1 + pixels_) * channels_, samples = shape[0];
    const auto add = [&](Parameter<Scalar>& parameter, Index count) {
      if (!parameter.requires_grad || parameter.value.empty()) return;
      Scalar* const sum = parameter.gradient().data();
      for (Index n = 0; n < samples; ++n)
        for (Index i = 0; i < count; ++i) sum[i] += gradient[n * size + i];
    };
    add(positional_embedding, size);
    add(class_embedding, channels_);
    if (input_grad == InputGrad::skip) return {};
    Tensor<Scalar> dx(shape);
    Scalar* const out = dx.data();
    each(shape[0], [&](Index image, Index tokens) {
      for (Index c = 0; c < channels_; ++c) {
        const Scalar through = mean_ ? gradient[tokens + c] / static_cast<Scalar>(pixels_) : Scalar(0);
        for (Index p = 0; p < pixels_; ++p)
          out[image + c * pixels_ + p] = gradient[tokens + (1 + p) * channels_ + c] + through;
      }
    });
    return dx;
  }

  Index pixels_, channels_;
  bool mean_;
};

}  // namespace lamina::inline LAMINA_ABI
