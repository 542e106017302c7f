#pragma once

#include <algorithm>
#include <concepts>
#include <string>
#include <utility>

#include "lamina/nn/conv2d.hpp"

namespace lamina::inline LAMINA_ABI {

/// Zeros around a sequence: `2` on both sides; `{4, 0}` before and behind; or "same", see Padding. Throws ValueError as
/// Padding.
struct Padding1d {
  Padding columns;  ///< those of an image of one row

  /// On both sides, by side, or "same" or "valid" (none).
  /// @{
  template <std::integral I>
  Padding1d(I both) : Padding1d(static_cast<Index>(both), static_cast<Index>(both)) {}
  Padding1d(Index before, Index behind) : columns(0, 0, before, behind) {}
  Padding1d(const char* word) : columns(word) {}
  /// @}

  /// The same on both sides.
  friend bool operator==(const Padding1d&, const Padding1d&) = default;
  /// "2", "(4, 0)" or "same".
  std::string to_string() const { return columns.same ? "same" : Size2(columns.left, columns.right).to_string(); }
};

/// Options of Conv1d.
struct Conv1dOptions {
  Index stride = 1;       ///< of the window
  Padding1d padding = 0;  ///< zeros around the sequence, or "same"
  Index dilation = 1;     ///< distance between the taps of the kernel
  Index groups = 1;       ///< each group of C / groups input channels makes M / groups output channels
  bool bias = true;       ///< whether a bias is added, which is learned
};

/// One-dimensional convolution (cross-correlation, as PyTorch's) of sequences:
///
///   y[n, m, i] = bias[m] + sum over c, a of weight[m, c, a] x[n, c, i S + a D - before]
///
/// Shapes: x [N, C, L], weight [M, C / groups, K], bias [M], y [N, M, floor((L + before + behind - D (K - 1) - 1) / S)
/// + 1]. Initial values, "same" and errors as Conv2d's.
template <class Scalar = float>
class Conv1d : public detail::Convolution<Conv1d<Scalar>, Scalar> {
 public:
  /// What PyTorch's order of arguments is told here.
  template <std::integral Stride, class... Rest>
  Conv1d(Index, Index, Index, Stride, const Rest&...) : Conv1d(1, 1, 1) {
    static_assert(sizeof(Scalar) == 0,
                  "the options of Conv1d have names: Conv1d(3, 8, 3, {.stride = 2, .padding = 1}) and the like");
  }
  /// Shapes, defaults and errors are said at the class.
  Conv1d(Index in_channels, Index out_channels, Index kernel_size, const Conv1dOptions& options = {})
      : in_(in_channels), out_(out_channels), kernel_(kernel_size), options_(options) {
    const auto check = [&](bool valid, const auto&... parts) { require(valid, *this, ": ", parts...); };
    check(in_ >= 1 && out_ >= 1, "channels must be at least 1");
    check(kernel_ >= 1, "kernel_size must be at least 1");
    check(options_.stride >= 1, "stride must be at least 1, got ", options_.stride);
    check(options_.dilation >= 1, "dilation must be at least 1, got ", options_.dilation);
    check(std::max(kernel_, options_.dilation) <= largest_window, "kernel_size and dilation must be at most ",
          largest_window);
    check(options_.groups >= 1, "groups must be at least 1, got ", options_.groups);
    check(in_ % options_.groups == 0 && out_ % options_.groups == 0, "groups = ", options_.groups, " does not divide ",
          in_, " input and ", out_, " output channels");
    this->draw({out_, in_ / options_.groups, kernel_}, options_.bias);
  }

  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() == 3 && input[1] == in_, *this, ": expected an input [N, ", in_,
                        ", L], got shape ", input);
    const Padding p = padding(input[2]);
    require<ShapeError>(input[2] + p.left + p.right >= options_.dilation * (kernel_ - 1) + 1, *this,
                        ": the kernel is larger than the padded sequence, got shape ", input);
    return {input[0], out_, sizes(input).ow()};
  }
  Fields fields() const override {
    return Fields("Conv1d")
        .argument("in_channels", in_)
        .argument("out_channels", out_)
        .argument("kernel_size", kernel_)
        .option("stride", options_.stride, 1)
        .option("padding", options_.padding.to_string(), "0")
        .option("dilation", options_.dilation, 1)
        .option("groups", options_.groups, 1)
        .option("bias", options_.bias, true);
  }

  /// What it was made with.
  /// @{
  Index in_channels() const { return in_; }
  Index out_channels() const { return out_; }
  Index kernel_size() const { return kernel_; }
  const Conv1dOptions& options() const { return options_; }
  /// @}

  /// The zeros around a sequence of this length, left and right.
  Padding padding(Index length) const {
    return options_.padding.columns.around({1, length}, {1, kernel_}, {1, options_.stride}, {1, options_.dilation});
  }
  /// The sizes of the convolution of an input of this shape, as images of one row, for the kernels.
  kernels::ConvolutionShape sizes(const Shape& input) const {
    struct {
      Size2 stride, dilation;
      Index groups;
    } const images{{1, options_.stride}, {1, options_.dilation}, options_.groups};
    return detail::convolution_shape({input[0], input[1], 1, input[2]}, out_, {1, kernel_}, images, padding(input[2]));
  }

 private:
  Index in_, out_, kernel_;
  Conv1dOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
