#pragma once

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>
#include <vector>

#include "lamina/kernels/convolution.hpp"
#include "lamina/kernels/gemm.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/conv_transpose2d.hpp"
#include "lamina/nn/masked_conv2d.hpp"

namespace lamina::inline LAMINA_ABI {

/// A place in an image.
struct Pixel {
  Index row;     ///< from above
  Index column;  ///< from the left
  /// The same row and column.
  friend bool operator==(const Pixel&, const Pixel&) = default;
};

namespace detail {

/// Results from `first` on += or = values of rows of inputs times a weight, plus a bias.
template <class Scalar>
struct RowProduct {
  Index in, out;  // the first columns of x and y
  kernels::PackedMatrix<Scalar> weight;

  /// y [rows, y_columns] of the results from `first` on, x [rows, x_columns]; bias of all results or null.
  void run(const Tensor<Scalar>& x, Tensor<Scalar>& y, const Scalar* bias, kernels::Store store,
           Index first = 0) const {
    const Index rows = y.dim(0);
    kernels::gemm(rows, kernels::row_major(x.data() + in, x.dim(1)), weight,
                  kernels::MatrixView<Scalar>{y.data() + out - first, y.dim(1), 1}, store, bias ? bias + out : nullptr);
  }
  /// Whether its results are some of first .. first + count - 1.
  bool within(Index first, Index count) const { return out >= first && out + weight.n <= first + count; }
};

/// A 1x1 convolution of pixels [P, C, 1, 1]: products whose right operands are laid out once. Their sums run over the
/// channels in order, as those of the convolution's kernels do.
template <class Scalar>
class PixelConvolution {
 public:
  static bool takes(const Conv2d<Scalar>& conv) {
    return conv.kernel_size() == Size2(1) && conv.options().stride == Size2(1) && conv.options().padding == Padding(0);
  }

  explicit PixelConvolution(const Conv2d<Scalar>& conv)
      : outputs_(conv.out_channels()), bias_(conv.options().bias ? conv.bias.value : Tensor<Scalar>()) {
    const Index groups = conv.options().groups, in = conv.in_channels() / groups, out = outputs_ / groups;
    for (Index g = 0; g < groups; ++g)
      products_.push_back(
          {g * in, g * out,
           kernels::pack_matrix<Scalar>(in, out, kernels::transposed(conv.weight.value.data() + g * out * in, in))});
  }

  Tensor<Scalar> run(const Tensor<Scalar>& x) const { return part(x, 0, outputs_); }

  /// The results first .. first + count - 1, [P, count, 1, 1], which must be those of whole groups.
  Tensor<Scalar> part(const Tensor<Scalar>& x, Index first, Index count) const {
    Tensor<Scalar> y({x.dim(0), count, 1, 1});
    for (const auto& product : products_)
      if (product.within(first, count))
        product.run(x, y, bias_.empty() ? nullptr : bias_.data(), kernels::Store::assign, first);
    return y;
  }

 private:
  Index outputs_;
  Tensor<Scalar> bias_;
  std::vector<RowProduct<Scalar>> products_;
};

/// A convolution that sees no row below, and keeps the last rows of its input in a ring. Places are those of the input.
template <class Scalar>
class ConvolutionRing {
 public:
  /// Whether a ring is enough: no row below, one group, taps side by side.
  static bool takes(const Conv2d<Scalar>& conv, const Shape& images) {
    const auto& options = conv.options();
    const auto method = kernels::forward_method<Scalar>(conv.sizes(images));  // Winograd's sums are others
    return options.groups == 1 && options.dilation == Size2(1) && options.stride.h == options.stride.w &&
           conv.kernel_size().h <= conv.padding({images[2], images[3]}).top + 1 &&
           (method == kernels::ConvolutionMethod::direct || method == kernels::ConvolutionMethod::sweep);
  }

  ConvolutionRing(const Conv2d<Scalar>& conv, const Shape& images)
      : ConvolutionRing(conv, images, conv.padding({images[2], images[3]})) {}

  ConvolutionRing(const MaskedConv2d<Scalar>& conv, const Shape& images)
      : outputs_(conv.out_channels()),
        channels_(conv.in_channels()),
        kernel_(conv.kernel_size()),
        taps_(conv.open_taps()),
        lanes_(kernels::block_channels<Scalar>(channels_)),
        left_(kernel_.w / 2),
        rows_(kernel_.h / 2 + 1),
        columns_(images[3] + kernel_.w - 1),
        seen_(Tensor<Scalar>::zeros({rows_, columns_, images[0], channels_})),
        weight_{0, 0, operand(conv.open_weight())},
        bias_(conv.options().bias ? conv.bias.value : Tensor<Scalar>()) {
    const Tensor<Scalar> centers = conv.center_weight();
    conv.for_each_group([&](Index first, Index rows, Index seen) {
      centers_.push_back({0, first,
                          kernels::pack_matrix<Scalar>(
                              seen, rows, kernels::transposed(centers.data() + first * channels_, channels_))});
    });
  }

  /// Stores values of the input from `at` on, as many as x [N pixels, C, 1, 1] has.
  void keep(const Tensor<Scalar>& x, Pixel at) {
    const Index samples = seen_.dim(2), pixel = samples * channels_, count = pixel == 0 ? 0 : x.numel() / pixel;
    Scalar* to = seen_.data() + (at.row % rows_ * columns_ + at.column + left_) * pixel;
    if (count == 1)
      std::copy_n(x.data(), pixel, to);
    else
      for (Index i = 0; i < count; ++i, to += pixel)
        kernels::copy_rows(samples, channels_, x.data() + i * channels_, count * channels_, to, channels_);
  }

  /// The results [N count, M, 1, 1] at `count` places from `at` on, as far apart as the stride. Of x there, the colours
  /// are read that a result sees at the pixel itself; everything else must have been kept.
  Tensor<Scalar> run(const Tensor<Scalar>& x, Pixel at, Index count) const {
    Tensor<Scalar> y = around(at, count);
    for (const auto& center : centers_) center.run(x, y, nullptr, kernels::Store::add);
    return y;
  }

  /// Makes ready for the parts of a pixel: what its results have from the pixels around it.
  void begin(Pixel at) { around_ = around(at, 1); }
  /// The results first .. first + count - 1, [N, count, 1, 1], of whole groups, at the pixel that began.
  Tensor<Scalar> part(const Tensor<Scalar>& x, Index first, Index count) const {
    Tensor<Scalar> y({around_.dim(0), count, 1, 1});
    kernels::copy_rows(y.dim(0), count, around_.data() + first, outputs_, y.data(), count);
    for (const auto& center : centers_)
      if (center.within(first, count)) center.run(x, y, nullptr, kernels::Store::add, first);
    return y;
  }

 private:
  ConvolutionRing(const Conv2d<Scalar>& conv, const Shape& images, const Padding& padding)
      : outputs_(conv.out_channels()),
        channels_(conv.in_channels()),
        kernel_(conv.kernel_size()),
        taps_(kernels::all_taps(conv.sizes(images))),
        lanes_(kernels::forward_method<Scalar>(conv.sizes(images)) == kernels::ConvolutionMethod::sweep
                   ? 1
                   : kernels::block_channels<Scalar>(channels_)),
        left_(padding.left),
        rows_(padding.top + 1),
        columns_(images[3] + padding.left + padding.right),
        stride_(conv.options().stride.w),
        seen_(Tensor<Scalar>::zeros({rows_, columns_, images[0], channels_})),
        weight_{0, 0, operand(Tensor<Scalar>(conv.weight.value).reshape({outputs_, channels_, kernel_.h * kernel_.w}))},
        bias_(conv.options().bias ? conv.bias.value : Tensor<Scalar>()) {}

  /// The bias and what the taps give of the results at `count` pixels from `at` on, [N count, M, 1, 1].
  Tensor<Scalar> around(Pixel at, Index count) const {
    Tensor<Scalar> y({seen_.dim(2) * count, outputs_, 1, 1});
    const Scalar* const bias = bias_.empty() ? nullptr : bias_.data();
    if (taps_.empty())
      for (Scalar *row = y.data(), *end = row + y.numel(); row < end; row += outputs_)
        bias ? std::copy_n(bias, outputs_, row) : std::fill_n(row, outputs_, Scalar(0));
    else
      weight_.run(gather(at, count), y, bias, kernels::Store::assign);
    return y;
  }

  /// The weight [M, C, T] as the right operand of x W' for rows of inputs whose values come in the order in which
  /// the convolution's kernel adds them: direct.hpp by blocks of channels, then taps, then channels; sweep.hpp channel
  /// by channel.
  kernels::PackedMatrix<Scalar> operand(const Tensor<Scalar>& weight) const {
    const Index outputs = weight.dim(0), channels = weight.dim(1), taps = weight.dim(2), lanes = lanes_;
    Tensor<Scalar> result({channels * taps, outputs});
    Scalar* row = result.data();
    for (Index block = 0; block < channels; block += lanes)
      for (Index t = 0; t < taps; ++t)
        for (Index c = block; c < std::min(channels, block + lanes); ++c, row += outputs)
          for (Index m = 0; m < outputs; ++m) row[m] = weight.data()[(m * channels + c) * taps + t];
    return kernels::pack_matrix<Scalar>(channels * taps, outputs,
                                        kernels::row_major(std::as_const(result).data(), outputs));
  }

  /// What the taps meet at `count` pixels from `at` on, [N count, C taps], in the order of the operand.
  Tensor<Scalar> gather(Pixel at, Index count) const {
    const Index samples = seen_.dim(2), n = samples * count, depth = channels_ * static_cast<Index>(taps_.size());
    Tensor<Scalar> result({n, depth});
    std::vector<Index> offsets;
    for (const Index tap : taps_) {
      const Index row = (at.row + tap / kernel_.w + 1) % rows_;  // row at - top + a, where rows_ = top + 1
      offsets.push_back((row * columns_ + at.column + tap % kernel_.w) * samples * channels_);
    }
    Scalar* const out = result.data();
    const auto copy = [&](Index first, Index last, auto whole) {  // blocks of as many channels, a constant if it can be
      for (Index i = first; i < last; ++i) {
        const Scalar* const from = seen_.data() + (i % count * stride_ * samples + i / count) * channels_;
        Scalar* to = out + i * depth;
        Index block = 0;
        for (; block + whole <= channels_; block += whole)
          for (const Index offset : offsets) to = std::copy_n(from + offset + block, Index{whole}, to);
        for (const Index offset : offsets) to = std::copy_n(from + offset + block, channels_ - block, to);
      }
    };
    parallel_for(0, n, kernels::stream_grain / std::max<Index>(1, depth), [&](Index first, Index last) {
      if (lanes_ == 16)
        copy(first, last, std::integral_constant<Index, 16>());
      else if (lanes_ == 8)
        copy(first, last, std::integral_constant<Index, 8>());
      else
        copy(first, last, lanes_);
    });
    return result;
  }

  Index outputs_, channels_;
  Size2 kernel_;
  std::vector<Index> taps_;
  Index lanes_;  // channels whose sums come before the next tap's
  Index left_, rows_, columns_, stride_ = 1;
  Tensor<Scalar> seen_;  // [rows, columns with zeros on both sides, N, C]: a pixel of all samples lies together
  RowProduct<Scalar> weight_;
  Tensor<Scalar> bias_;
  std::vector<RowProduct<Scalar>> centers_;  // of the groups
  Tensor<Scalar> around_ = {};               // see begin
};

/// A transposed convolution whose windows lie side by side in height: a value of the input is all that its rows of the
/// result need. They are computed together, and kept.
template <class Scalar>
class TransposedRows {
 public:
  /// Whether the windows lie so; in width, too, if values come one by one.
  static bool takes(const ConvTranspose2d<Scalar>& conv, bool by_row) {
    const auto& [stride, padding, more, dilation, groups, bias] = conv.options();
    const Size2 kernel = conv.kernel_size();
    return dilation == Size2(1) && stride.h == stride.w && kernel.h == stride.h && padding.top + padding.bottom == 0 &&
           more.h == 0 && (by_row || (kernel.w == stride.w && padding.left + padding.right == 0 && more.w == 0));
  }

  /// For results [N, M, H, W].
  TransposedRows(ConvTranspose2d<Scalar> conv, const Shape& results)
      : conv_(std::move(conv)),
        stride_(conv_.options().stride.h),
        rows_({results[0], stride_, results[3], results[1]}) {}

  /// Computes what `count` values of x [N count, C, 1, 1] from a column of the input on give.
  void keep(const Tensor<Scalar>& x, Index column, Index count) {
    const Index samples = rows_.dim(0), channels = x.dim(1), outputs = rows_.dim(3), width = rows_.dim(2);
    Tensor<Scalar> image({samples, channels, 1, count});
    for (Index n = 0; n < samples; ++n)
      for (Index i = 0; i < count; ++i)
        for (Index c = 0; c < channels; ++c)
          image.data()[(n * channels + c) * count + i] = x.data()[(n * count + i) * channels + c];
    const Tensor<Scalar> y = conv_.infer(std::move(image));
    const Index columns = y.dim(3);
    Scalar* const out = rows_.data();
    for (Index n = 0; n < samples; ++n)
      for (Index c = 0; c < outputs; ++c)
        for (Index row = 0; row < stride_; ++row)
          for (Index i = 0; i < columns; ++i)
            out[((n * stride_ + row) * width + column * stride_ + i) * outputs + c] =
                y.data()[((n * outputs + c) * stride_ + row) * columns + i];
  }

  /// The results [N count, M, 1, 1] from `at` on.
  Tensor<Scalar> run(Pixel at, Index count) const {
    const Index samples = rows_.dim(0), width = rows_.dim(2), outputs = rows_.dim(3);
    Tensor<Scalar> y({samples * count, outputs, 1, 1});
    kernels::copy_rows(samples, count * outputs,
                       std::as_const(rows_).data() + (at.row % stride_ * width + at.column) * outputs,
                       stride_ * width * outputs, y.data(), count * outputs);
    return y;
  }

 private:
  ConvTranspose2d<Scalar> conv_;
  Index stride_;
  Tensor<Scalar> rows_;  // [N, stride, W, M]
};

/// Values one pixel later, and zero at the first of a row.
template <class Scalar>
class PixelBefore {
 public:
  void keep(const Tensor<Scalar>& x, Pixel at) { last_[static_cast<std::size_t>(at.column % 2)] = x; }
  Tensor<Scalar> run(const Shape& values, Pixel at) const {
    return at.column == 0 ? Tensor<Scalar>::zeros(values) : last_[static_cast<std::size_t>((at.column + 1) % 2)];
  }

 private:
  std::array<Tensor<Scalar>, 2> last_;
};

}  // namespace detail
}  // namespace lamina::inline LAMINA_ABI
