#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "lamina/kernels/convolution.hpp"
#include "lamina/kernels/gemm.hpp"
#include "lamina/nn/conv2d.hpp"
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

/// A masked convolution that keeps the last rows of its input in a ring.
template <class Scalar>
class MaskedRing {
 public:
  MaskedRing(const MaskedConv2d<Scalar>& conv, const Shape& images)
      : outputs_(conv.out_channels()),
        channels_(conv.in_channels()),
        kernel_(conv.kernel_size()),
        taps_(conv.open_taps()),
        rows_(kernel_.h / 2 + 1),
        columns_(images[3] + kernel_.w - 1),
        seen_(Tensor<Scalar>::zeros({images[0], rows_, columns_, channels_})),
        weight_{0, 0, operand(conv.open_weight())},
        bias_(conv.options().bias ? conv.bias.value : Tensor<Scalar>()) {
    const Tensor<Scalar> centers = conv.center_weight();
    conv.for_each_group([&](Index first, Index rows, Index seen) {
      centers_.push_back({0, first,
                          kernels::pack_matrix<Scalar>(
                              seen, rows, kernels::transposed(centers.data() + first * channels_, channels_))});
    });
  }

  /// Stores pixels of the input from `at` on, as many as x [N pixels, C, 1, 1] has.
  void keep(const Tensor<Scalar>& x, Pixel at) {
    const Index samples = seen_.dim(0), count = x.numel() / std::max<Index>(samples, 1);
    Scalar* const to = seen_.data() + (at.row % rows_ * columns_ + at.column + kernel_.w / 2) * channels_;
    kernels::copy_rows(samples, count, x.data(), count, to, rows_ * columns_ * channels_);
  }

  /// The results [N count, M, 1, 1] at `count` pixels from `at` on. Of x there, the colours are read that a result sees
  /// at the pixel itself; everything else must have been kept.
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
  /// The bias and what the taps give of the results at `count` pixels from `at` on, [N count, M, 1, 1].
  Tensor<Scalar> around(Pixel at, Index count) const {
    Tensor<Scalar> y({seen_.dim(0) * count, outputs_, 1, 1});
    const Scalar* const bias = bias_.empty() ? nullptr : bias_.data();
    if (taps_.empty())
      for (Scalar *row = y.data(), *end = row + y.numel(); row < end; row += outputs_)
        bias ? std::copy_n(bias, outputs_, row) : std::fill_n(row, outputs_, Scalar(0));
    else
      weight_.run(gather(at, count), y, bias, kernels::Store::assign);
    return y;
  }

  /// The weight [M, C, T] as the right operand of x W' for rows of inputs whose values come in the order in which
  /// direct.hpp adds them: by blocks of channels, then taps, then channels.
  static kernels::PackedMatrix<Scalar> operand(const Tensor<Scalar>& weight) {
    const Index outputs = weight.dim(0), channels = weight.dim(1), taps = weight.dim(2);
    Tensor<Scalar> result({channels * taps, outputs});
    Scalar* row = result.data();
    const Index lanes = kernels::block_channels<Scalar>(channels);
    for (Index block = 0; block < channels; block += lanes)
      for (Index t = 0; t < taps; ++t)
        for (Index c = block; c < std::min(channels, block + lanes); ++c, row += outputs)
          for (Index m = 0; m < outputs; ++m) row[m] = weight.data()[(m * channels + c) * taps + t];
    return kernels::pack_matrix<Scalar>(channels * taps, outputs,
                                        kernels::row_major(std::as_const(result).data(), outputs));
  }

  /// What the taps meet at `count` pixels from `at` on, [N count, C taps], in the order of the operand.
  Tensor<Scalar> gather(Pixel at, Index count) const {
    const Index n = seen_.dim(0) * count, depth = channels_ * static_cast<Index>(taps_.size());
    const Index lanes = kernels::block_channels<Scalar>(channels_);
    Tensor<Scalar> result({n, depth});
    std::vector<Index> offsets;
    for (const Index tap : taps_) {
      const Index row = (at.row + tap / kernel_.w + 1) % rows_;  // row at - KH / 2 + a, where rows_ = KH / 2 + 1
      offsets.push_back((row * columns_ + at.column + tap % kernel_.w) * channels_);
    }
    Scalar* const out = result.data();
    parallel_for(0, n, kernels::stream_grain / std::max<Index>(1, depth), [&](Index first, Index last) {
      for (Index i = first; i < last; ++i) {
        const Scalar* const from = seen_.data() + (i / count * rows_ * columns_ + i % count) * channels_;
        Scalar* to = out + i * depth;
        for (Index block = 0; block < channels_; block += lanes) {
          const Index width = std::min(lanes, channels_ - block);
          for (const Index offset : offsets) to = std::copy_n(from + offset + block, width, to);
        }
      }
    });
    return result;
  }

  Index outputs_, channels_;
  Size2 kernel_;
  std::vector<Index> taps_;
  Index rows_, columns_;
  Tensor<Scalar> seen_;  // [N, rows, columns with zeros on both sides, C]
  RowProduct<Scalar> weight_;
  Tensor<Scalar> bias_;
  std::vector<RowProduct<Scalar>> centers_;  // of the groups
  Tensor<Scalar> around_ = {};               // see begin
};

}  // namespace detail
}  // namespace lamina::inline LAMINA_ABI
