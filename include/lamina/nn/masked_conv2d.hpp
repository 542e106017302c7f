#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/convolution.hpp"
#include "lamina/kernels/elementwise.hpp"
#include "lamina/kernels/gemm.hpp"
#include "lamina/kernels/reduce.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/nn/options.hpp"

namespace lamina::inline LAMINA_ABI {

/// Which pixels around it a masked convolution sees, in raster order.
enum class Mask {
  A,           ///< those before it
  B,           ///< those before it, and the pixel itself
  vertical_A,  ///< the rows above
  vertical_B   ///< the rows above and its own
};

/// Options of MaskedConv2d.
struct MaskedConv2dOptions {
  Index groups = 1;  ///< colours: group g of the results sees, at the pixel itself, groups below g and (B) g
  bool bias = true;  ///< whether a bias is added, which is learned
};

namespace detail {
inline const char* to_text(Mask mask) {
  static constexpr const char* names[] = {"A", "B", "vertical_A", "vertical_B"};
  return names[static_cast<int>(mask)];
}
}  // namespace detail

/// Masked convolution (van den Oord, Kalchbrenner and Kavukcuoglu 2016, section 3.4; the vertical masks: van den Oord
/// et al. 2016b, figure 1), with an odd kernel and as many zeros around the image as keep its size:
///
///   y[n, m, i, j] = bias[m] + sum over c and the taps (a, b) that the mask leaves of
///                   weight[m, c, a, b] x[n, c, i + a - KH / 2, j + b - KW / 2]
///
/// With `groups` colours, channel c of C belongs to group floor(c groups / C), on both sides: R, G and B for three
/// image channels. At the pixel itself, group g sees the groups below it and, with mask B, itself. (The vertical masks
/// have no groups.)
///
/// Masked taps cost nothing: neither forward nor backward multiplies them, and no kernel stores them. In the weight,
/// which has PyTorch's shape, they are zero from the start and their gradient is zero. Results depend on no masked
/// pixel, not even by rounding, which is why Winograd's algorithm is used for the weight's gradient only.
///
/// Shapes: x [N, C, H, W], weight [M, C, KH, KW], bias [M], y [N, M, H, W]; keys "conv.weight" and "conv.bias", as in
/// the usual PyTorch listing. Initial values as Conv2d's. Throws ValueError for an even kernel, sizes below 1, more
/// groups than channels, or a mask that leaves nothing; ShapeError for an input that is not [N, C, H, W].
template <class Scalar = float>
class MaskedConv2d : public Layer<MaskedConv2d<Scalar>, Scalar> {
 public:
  Parameter<Scalar> weight;  ///< [M, C, KH, KW], masked taps too
  Parameter<Scalar> bias;    ///< empty with {.bias = false}

  /// Shapes, defaults and errors are said at the class.
  MaskedConv2d(Mask mask, Index in_channels, Index out_channels, Size2 kernel_size,
               const MaskedConv2dOptions& options = {})
      : mask_(mask), in_(in_channels), out_(out_channels), kernel_(kernel_size), options_(options) {
    const auto check = [&](bool valid, const auto&... parts) { require(valid, *this, ": ", parts...); };
    check(in_ >= 1 && out_ >= 1, "channels must be at least 1");
    check(kernel_.h >= 1 && kernel_.w >= 1 && kernel_.h % 2 == 1 && kernel_.w % 2 == 1, "kernel_size must be odd, got ",
          kernel_);
    check(options_.groups >= 1 && options_.groups <= std::min(in_, out_), "expected 1 to ", std::min(in_, out_),
          " groups, got ", options_.groups);
    check(options_.groups == 1 || mask_ == Mask::A || mask_ == Mask::B, "the vertical masks have no groups");
    const Index row = kernel_.h / 2, column = kernel_.w / 2;
    const Index last_in_row = mask_ == Mask::vertical_B                  ? kernel_.w
                              : mask_ == Mask::vertical_A                ? 0
                              : mask_ == Mask::B && options_.groups == 1 ? column + 1
                                                                         : column;
    for (Index tap = 0; tap < row * kernel_.w + last_in_row; ++tap) taps_.push_back(tap);
    check(!taps_.empty() || options_.groups > 1, "the mask leaves nothing of the kernel");
    const Index fan_in = in_ * kernel_.h * kernel_.w;
    weight = init::uniform_fan_in<Scalar>({out_, in_, kernel_.h, kernel_.w}, fan_in);
    weight.value = masked_weight();
    if (options_.bias) bias = init::uniform_fan_in<Scalar>({out_}, fan_in);
  }

  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() == 4, *this, ": expected an input [N, ", in_, ", H, W], got shape ", input);
    require<ShapeError>(input[1] == in_, *this, ": expected ", in_, " input channels, got shape ", input);
    return input.with(1, out_);
  }

  Members<Scalar> members() override {
    Members<Scalar> result{{"conv.weight", &weight}};
    if (options_.bias) result.push_back({"conv.bias", &bias});
    return result;
  }

  Fields fields() const override {
    return Fields("MaskedConv2d")
        .argument("mask", detail::to_text(mask_))
        .argument("in_channels", in_)
        .argument("out_channels", out_)
        .argument("kernel_size", kernel_)
        .option("groups", options_.groups, 1)
        .option("bias", options_.bias, true);
  }

  Index multiply_adds(const Shape& input) const override {
    Index products = taps() * in_ * out_;
    for (Index g = 0; grouped() && g < options_.groups; ++g) products += rows_of(g) * seen_by(g);
    return output_shape(input).numel() / out_ * products;
  }

  /// What it was made with.
  /// @{
  Mask mask() const { return mask_; }
  Index in_channels() const { return in_; }
  Index out_channels() const { return out_; }
  const Size2& kernel_size() const { return kernel_; }
  const MaskedConv2dOptions& options() const { return options_; }
  /// @}

  /// The taps of the kernel through which every result sees every channel, as a KW + b in rising order; and the weight
  /// of those alone, [M, C, taps]. With several groups the pixel itself is none of them.
  const std::vector<Index>& open_taps() const { return taps_; }
  /// See open_taps.
  Tensor<Scalar> open_weight() const { return compact(weight.value); }
  /// f(first result channel, their number, number of input channels that they see at the pixel itself) for each of
  /// several groups that sees any; and the weight there, [M, C], empty for one group.
  template <class F>
  void for_each_group(F f) const {
    for (Index g = 0; grouped() && g < options_.groups; ++g)
      if (seen_by(g) > 0) f(first_of(g, out_), rows_of(g), seen_by(g));
  }
  /// See for_each_group.
  Tensor<Scalar> center_weight() const { return center(weight.value); }
  /// The weight with zeros wherever the mask covers it.
  Tensor<Scalar> masked_weight() const {
    Tensor<Scalar> result = Tensor<Scalar>::zeros(weight.value.shape());
    scatter(open_weight(), center_weight(), result);
    return result;
  }

  /// The sizes of the convolution of an input of this shape, for the kernels. The rows of the kernel below its center
  /// see nothing, so they are left away.
  kernels::ConvolutionShape sizes(const Shape& input) const {
    return {.n = input[0],
            .c = in_,
            .h = input[2],
            .w = input[3],
            .m = out_,
            .kh = kernel_.h / 2 + 1,
            .kw = kernel_.w,
            .top = kernel_.h / 2,
            .left = kernel_.w / 2,
            .right = kernel_.w / 2};
  }

  /// Where all groups see the same.
  Blocks blocks(const Values<Scalar>& x) const override {
    const Shape& shape = x[0].shape();
    const bool fit = !this->frozen() && !grouped() && taps() > 0 && shape.rank() == 4 && shape[1] == in_;
    return fit && kernels::takes_blocks<Scalar>(sizes(shape)) ? Blocks::either : Blocks::no;
  }

 private:
  Index taps() const { return static_cast<Index>(taps_.size()); }
  bool grouped() const { return options_.groups > 1; }
  Index center_tap() const { return kernel_.h / 2 * kernel_.w + kernel_.w / 2; }

  /// The first of the channels of group g.
  Index first_of(Index g, Index channels) const { return parts_of(g * channels, options_.groups); }
  Index rows_of(Index g) const { return first_of(g + 1, out_) - first_of(g, out_); }
  /// How many input channels group g sees at the pixel itself.
  Index seen_by(Index g) const { return first_of(mask_ == Mask::A ? g : g + 1, in_); }

  /// The weight [M, C, taps] without the masked ones; the center [M, C], where groups see different channels.
  Tensor<Scalar> compact(const Tensor<Scalar>& full) const {
    Tensor<Scalar> result({out_, in_, taps()});
    kernels::copy_rows(out_ * in_, taps(), full.data(), kernel_.h * kernel_.w, result.data(), taps());
    return result;
  }
  Tensor<Scalar> center(const Tensor<Scalar>& full) const {
    if (!grouped()) return {};
    Tensor<Scalar> result({out_, in_});
    kernels::copy_rows(out_ * in_, 1, full.data() + center_tap(), kernel_.h * kernel_.w, result.data(), 1);
    return result;
  }
  /// Adds what compact and center took to where it came from.
  void scatter(const Tensor<Scalar>& compacted, const Tensor<Scalar>& centers, Tensor<Scalar>& full) const {
    Scalar* const to = full.data();
    const Index all = kernel_.h * kernel_.w;
    for (Index i = 0; i < out_ * in_; ++i)
      for (Index t = 0; t < taps(); ++t) to[i * all + t] += compacted.data()[i * taps() + t];
    for (Index g = 0; grouped() && g < options_.groups; ++g)
      for (Index m = first_of(g, out_); m < first_of(g + 1, out_); ++m)
        for (Index c = 0; c < seen_by(g); ++c) to[(m * in_ + c) * all + center_tap()] += centers.data()[m * in_ + c];
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override { return convolve(x, false); }

  /// The sizes for an input, with how it and the result lie.
  kernels::ConvolutionShape sizes_of(const Shape& x, bool blocked_y) const {
    kernels::ConvolutionShape s = sizes(detail::images_shape(x, in_));
    s.blocked_x = x.rank() == 5;
    s.blocked_y = blocked_y;
    return s;
  }

  Tensor<Scalar> convolve(const Tensor<Scalar>& x, bool blocked) const {
    const Shape shape = output_shape(detail::images_shape(x.shape(), in_));
    Tensor<Scalar> y(blocked ? detail::blocked_shape<Scalar>(shape) : shape);
    if (y.empty()) return y;
    const kernels::ConvolutionShape s = sizes_of(x.shape(), blocked);
    const Scalar* const in = std::as_const(x).data();
    Scalar* const out = y.data();
    const Index pixels = s.h * s.w;
    const Scalar* const bias_data = options_.bias ? std::as_const(bias).value.data() : nullptr;
    if (taps() > 0) {
      const Tensor<Scalar> compacted = compact(weight.value);
      kernels::tap_convolution_forward(s, taps_, in, compacted.data(), bias_data, out);
    } else {
      for (Index i = 0; i < s.n * out_; ++i)
        std::fill_n(out + i * pixels, pixels, bias_data ? bias_data[i % out_] : Scalar(0));
    }
    const Tensor<Scalar> centers = center(weight.value);
    for_each_group([&](Index first, Index rows, Index seen) {
      for (Index n = 0; n < s.n; ++n)
        kernels::gemm_in_order(rows, pixels, seen, kernels::row_major(centers.data() + first * in_, in_),
                               kernels::row_major(in + n * in_ * pixels, pixels), out + (n * out_ + first) * pixels,
                               kernels::Store::add);
    });
    return y;
  }

  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x);
    return convolve(x, tape.in_blocks() && detail::fits_blocks<Scalar>(out_));
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [x] = tape.pop<Tensor<Scalar>>();
    const Tensor<Scalar> gradient = std::move(dy);
    if (gradient.empty()) return Tensor<Scalar>::zeros(x.shape());
    const kernels::ConvolutionShape s = sizes_of(x.shape(), detail::in_blocks(gradient));
    if (options_.bias && bias.requires_grad)
      kernels::add_channel_sums(s.n, s.m, s.h * s.w, gradient.data(), bias.gradient().data(), s.blocked_y);
    if (weight.requires_grad) backward_weight(s, x.data(), gradient.data());
    if (input_grad == InputGrad::skip) return {};
    Tensor<Scalar> dx(x.shape());
    backward_input(s, gradient.data(), dx);
    return dx;
  }

  void backward_weight(const kernels::ConvolutionShape& s, const Scalar* x, const Scalar* dy) {
    using kernels::ConvolutionMethod;
    Tensor<Scalar> taps_gradient = Tensor<Scalar>::zeros({out_, in_, taps()});
    kernels::ConvolutionShape whole = s;
    whole.kh = kernel_.h;
    whole.bottom = kernel_.h / 2;
    const auto method = kernels::backward_weight_method<Scalar>(whole);
    if (method == ConvolutionMethod::winograd_4 || method == ConvolutionMethod::winograd_5) {
      // Faster than the taps alone by the definition (128 channels, 28 x 28, N = 8: 319 GFLOP/s against 110 * 9 / 5).
      Tensor<Scalar> all = Tensor<Scalar>::zeros(weight.value.shape());
      kernels::convolution_backward_weight(whole, x, dy, all.data(), static_cast<Scalar*>(nullptr), method);
      taps_gradient = compact(all);
    } else if (taps() > 0) {
      kernels::tap_convolution_backward_weight(s, taps_, x, dy, taps_gradient.data());
    }
    Tensor<Scalar> centers;
    if (grouped()) centers = Tensor<Scalar>::zeros({out_, in_});
    const Index pixels = s.h * s.w;
    for_each_group([&](Index first, Index rows, Index seen) {
      for (Index n = 0; n < s.n; ++n)
        kernels::gemm(rows, seen, pixels, kernels::row_major(dy + (n * out_ + first) * pixels, pixels),
                      kernels::transposed(x + n * in_ * pixels, pixels),
                      kernels::MatrixView<Scalar>{centers.data() + first * in_, in_, 1}, kernels::Store::add);
    });
    scatter(taps_gradient, centers, weight.gradient());
  }

  void backward_input(const kernels::ConvolutionShape& s, const Scalar* dy, Tensor<Scalar>& dx) const {
    if (taps() > 0) {
      const Tensor<Scalar> compacted = compact(weight.value);
      kernels::tap_convolution_backward_input(s, taps_, dy, compacted.data(), dx.data());
    } else {
      dx.fill(0);
    }
    const Index pixels = s.h * s.w;
    const Tensor<Scalar> centers = center(weight.value);
    for_each_group([&](Index first, Index rows, Index seen) {
      for (Index n = 0; n < s.n; ++n)
        kernels::gemm(seen, pixels, rows, kernels::transposed(centers.data() + first * in_, in_),
                      kernels::row_major(dy + (n * out_ + first) * pixels, pixels), dx.data() + n * in_ * pixels,
                      kernels::Store::add);
    });
  }

  Mask mask_;
  Index in_, out_;
  Size2 kernel_;
  MaskedConv2dOptions options_;
  std::vector<Index> taps_ = {};  // those that all results see, as a KW + b
};

}  // namespace lamina::inline LAMINA_ABI
