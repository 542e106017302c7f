#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/plot/canvas.hpp"

/// Charts and sheets of images, as bytes [3, H, W]; io/image.hpp's write_png makes files of them:
///
///   write_png("curve.png", plot_lines({{"loss", losses}}));
namespace lamina::inline LAMINA_ABI {

/// A curve through (x[i], y[i]); where x is empty, 1, 2, ... A NaN interrupts it.
struct Series {
  std::string label;           ///< in the legend
  std::vector<double> y;       ///< the values
  std::vector<double> x = {};  ///< where they are; empty: 1, 2, ...
};

/// Options of a chart.
struct PlotOptions {
  std::string title = {};    ///< above the chart
  std::string x_label = {};  ///< below the horizontal axis
  std::string y_label = {};  ///< beside the vertical axis
  bool log_x = false;        ///< the horizontal axis by powers of ten; what is not above 0 is left out
  Index width = 900;         ///< of the picture, pixels
  Index height = 640;        ///< of the picture, pixels
};

/// Of the curves of a chart, in order.
inline constexpr std::array<Color, 8> plot_colors{{{31, 110, 180},
                                                   {225, 100, 30},
                                                   {40, 140, 75},
                                                   {190, 45, 60},
                                                   {130, 90, 170},
                                                   {120, 85, 70},
                                                   {200, 105, 165},
                                                   {100, 105, 110}}};

namespace detail {

inline constexpr Color plot_ink{40, 44, 52}, plot_faint{110, 116, 125}, plot_grid{226, 229, 233};

}  // namespace detail

/// An axis with ticks at multiples of 1, 2 or 5 times a power of ten.
struct PlotAxis {
  double low;   ///< the least value
  double high;  ///< the greatest value
  double step;  ///< from tick to tick

  /// Covers the values, with ticks about `ticks` in number. `whole`: at integers only.
  PlotAxis(double first, double last, int ticks, bool whole) : low(first), high(last), step(1) {
    if (!(high - low > 1e-12 * std::max(std::abs(low), std::abs(high)))) {
      const double margin = whole ? 0.5 : std::max(std::abs(low) * 0.1, 1e-3);
      low -= margin;
      high += margin;
    }
    const double rough = (high - low) / ticks, power = std::pow(10.0, std::floor(std::log10(rough)));
    step = power * (rough / power <= 1.5 ? 1 : rough / power <= 3 ? 2 : rough / power <= 7 ? 5 : 10);
    if (whole) step = std::max(1.0, step);
  }
  /// To whole steps at both ends.
  void widen_to_ticks() {
    low = std::floor(low / step + 1e-9) * step;
    high = std::ceil(high / step - 1e-9) * step;
  }
  /// The values at which there are ticks.
  std::vector<double> ticks() const {
    std::vector<double> result;
    for (double i = std::ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; ++i) result.push_back(i * step);
    return result;
  }
  /// A tick's value, with as many decimals as the steps need.
  std::string label(double value) const {
    char buffer[32];
    const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
    if (decimals > 5 || std::abs(value) >= 1e7)
      std::snprintf(buffer, sizeof buffer, "%g", value);
    else
      std::snprintf(buffer, sizeof buffer, "%.*f", decimals, std::abs(value) < step / 2 ? 0.0 : value);
    return buffer;
  }
};

/// Draws a chart into a part of a canvas, as plot_lines does into one of its own.
void draw_chart(Canvas& canvas, double left, double top, double width, double height, const std::vector<Series>& series,
                const PlotOptions& options);

/// Curves over a common x-axis, with grid, ticks, labels and a legend. Throws ShapeError for a series with different
/// numbers of x and y, ValueError for sides that no Canvas has.
Tensor<std::uint8_t> plot_lines(const std::vector<Series>& series, const PlotOptions& options = {});

/// Options of plot_images.
struct ImageGridOptions {
  std::string title = {};         ///< above the images
  Index columns = 10;             ///< images in a row
  Index cell = 120;               ///< side of an image, pixels
  std::vector<bool> marked = {};  ///< drawn in red, for mistakes; empty: none
};

/// Images [N, 1 or 3, H, W] in rows, with a caption below each ("\n" begins a second line). Throws ShapeError for other
/// images, ValueError for another number of captions or marks.
Tensor<std::uint8_t> plot_images(const Tensor<std::uint8_t>& images, const std::vector<std::string>& captions,
                                 const ImageGridOptions& options = {});

/// Images of values in [0, 1]; others are clamped, NaN is black.
template <class Scalar>
requires std::is_floating_point_v<Scalar> Tensor<std::uint8_t> plot_images(const Tensor<Scalar>& images,
                                                                           const std::vector<std::string>& captions,
                                                                           const ImageGridOptions& options = {}) {
  Tensor<std::uint8_t> bytes(images.shape());
  std::transform(images.data(), images.data() + images.numel(), bytes.data(), [](Scalar value) {
    return static_cast<std::uint8_t>(value > 0 ? std::min(value, Scalar(1)) * Scalar(255) + Scalar(0.5) : Scalar(0));
  });
  return plot_images(bytes, captions, options);
}

}  // namespace lamina::inline LAMINA_ABI

#ifndef LAMINA_COMPILED_IO
#include "lamina/plot/charts-inl.hpp"
#endif
