#pragma once

#include <cstdio>
#include <limits>
#include <utility>

#include "lamina/core/detail/io_inline.hpp"
#include "lamina/plot/charts.hpp"

namespace lamina::inline LAMINA_ABI {

LAMINA_IO_INLINE void draw_chart(Canvas& canvas, double left, double top, double width, double height,
                                 const std::vector<Series>& series, const PlotOptions& options) {
  double x_low = HUGE_VAL, x_high = -HUGE_VAL, y_low = HUGE_VAL, y_high = -HUGE_VAL;
  bool whole = true;
  const auto x_of = [&](const Series& s, std::size_t i) {
    const double x = s.x.empty() ? static_cast<double>(i) + 1 : s.x[i];
    return options.log_x ? std::log10(x) : x;
  };
  for (const Series& s : series) {
    require<ShapeError>(s.x.empty() || s.x.size() == s.y.size(), "plot: '", s.label, "' has ", s.x.size(), " x and ",
                        s.y.size(), " y");
    for (std::size_t i = 0; i < s.y.size(); ++i) {
      const double x = x_of(s, i);
      if (!is_finite(s.y[i]) || !is_finite(x)) continue;
      whole = whole && x == std::floor(x);
      x_low = std::min(x_low, x), x_high = std::max(x_high, x);
      y_low = std::min(y_low, s.y[i]), y_high = std::max(y_high, s.y[i]);
    }
  }
  if (x_low > x_high) x_low = y_low = 0, x_high = y_high = 1;
  const PlotAxis x_axis(x_low, x_high, 8, whole || options.log_x);
  PlotAxis y_axis(y_low, y_high, 6, false);
  y_axis.widen_to_ticks();

  constexpr double size = 17;
  double label_width = 0;
  for (double tick : y_axis.ticks()) label_width = std::max(label_width, Canvas::text_width(y_axis.label(tick), size));
  const double x0 = left + label_width + (options.y_label.empty() ? 36 : 78), x1 = left + width - 30;
  const double y0 = top + (options.title.empty() ? 30 : 84), y1 = top + height - (options.x_label.empty() ? 60 : 104);
  const auto to_x = [&](double x) { return x0 + (x - x_axis.low) / (x_axis.high - x_axis.low) * (x1 - x0); };
  const auto to_y = [&](double y) { return y1 - (y - y_axis.low) / (y_axis.high - y_axis.low) * (y1 - y0); };

  if (!options.title.empty())
    canvas.text((x0 + x1) / 2, top + 48, options.title, {.size = 22, .align = TextAlign::center, .bold = true});
  for (double tick : y_axis.ticks()) {
    const double y = std::round(to_y(tick));
    canvas.rectangle(x0, y - 1, x1 - x0, 2, detail::plot_grid);
    canvas.text(x0 - 16, y + size / 2, y_axis.label(tick),
                {.size = size, .color = detail::plot_faint, .align = TextAlign::right});
  }
  canvas.rectangle(x0, y1 - 1, x1 - x0, 2, detail::plot_faint);
  for (double tick : x_axis.ticks()) {
    const double x = std::round(to_x(tick));
    canvas.rectangle(x - 1, y1, 2, 9, detail::plot_faint);
    canvas.text(x, y1 + 20 + size, options.log_x ? "1e" + x_axis.label(tick) : x_axis.label(tick),
                {.size = size, .color = detail::plot_faint, .align = TextAlign::center});
  }
  if (!options.x_label.empty())
    canvas.text((x0 + x1) / 2, y1 + 84, options.x_label, {.size = 19, .align = TextAlign::center});
  if (!options.y_label.empty())
    canvas.text(left + 38, (y0 + y1) / 2, options.y_label, {.size = 19, .align = TextAlign::center, .upwards = true});

  double legend_width = 0;
  for (std::size_t s = 0; s < series.size(); ++s) {
    const Color color = plot_colors[s % plot_colors.size()];
    std::vector<CanvasPoint> points;
    const auto flush = [&] {
      if (!points.empty()) canvas.polyline(points, 4, color);
      points.clear();
    };
    const bool dots = series[s].y.size() <= 40;
    for (std::size_t i = 0; i < series[s].y.size(); ++i) {
      const CanvasPoint p{to_x(x_of(series[s], i)), to_y(series[s].y[i])};
      if (!is_finite(p.x) || !is_finite(p.y)) {
        flush();
        continue;
      }
      points.push_back(p);
      if (dots) canvas.dot(p.x, p.y, 5.5, color);
    }
    flush();
    legend_width = std::max(legend_width, Canvas::text_width(series[s].label, size));
  }
  if (series.size() < 2 && (series.empty() || series[0].label.empty())) return;

  // The legend goes to the corner, or the middle of a side, which the fewest points are in.
  const double legend_height = 34 * static_cast<double>(series.size()) + 16;
  legend_width += 92;
  double best_x = 0, best_y = 0;
  long fewest = std::numeric_limits<long>::max();
  for (const double x : {x1 - legend_width - 12, x0 + 16})
    for (const double y : {y0 + 6, y1 - legend_height - 14, (y0 + y1 - legend_height) / 2}) {
      long inside = 0;
      for (const Series& s : series)
        for (std::size_t i = 0; i < s.y.size(); ++i) {
          const double px = to_x(x_of(s, i)), py = to_y(s.y[i]);
          inside += px > x - 20 && px < x + legend_width + 20 && py > y - 20 && py < y + legend_height + 20;
        }
      if (inside < fewest) fewest = inside, best_x = x, best_y = y;
    }
  canvas.rectangle(best_x, best_y, legend_width, legend_height, detail::plot_grid);
  canvas.rectangle(best_x + 2, best_y + 2, legend_width - 4, legend_height - 4, {255, 255, 255});
  for (std::size_t s = 0; s < series.size(); ++s) {
    const double y = best_y + 26 + 34 * static_cast<double>(s);
    canvas.line(best_x + 18, y, best_x + 56, y, 4, plot_colors[s % plot_colors.size()]);
    canvas.text(best_x + 74, y + size / 2, series[s].label, {.size = size});
  }
}

LAMINA_IO_INLINE Tensor<std::uint8_t> plot_lines(const std::vector<Series>& series, const PlotOptions& options) {
  Canvas canvas(options.width, options.height);
  draw_chart(canvas, 0, 0, static_cast<double>(options.width), static_cast<double>(options.height), series, options);
  return canvas.image();
}

LAMINA_IO_INLINE Tensor<std::uint8_t> plot_images(const Tensor<std::uint8_t>& images,
                                                  const std::vector<std::string>& captions,
                                                  const ImageGridOptions& options) {
  require<ShapeError>(images.rank() == 4, "plot_images: expected images [N, C, H, W], got shape ", images.shape());
  const Index count = images.dim(0);
  const auto number = static_cast<std::size_t>(count);
  require(captions.empty() || captions.size() == number, "plot_images: ", captions.size(), " captions for ", count,
          " images");
  require(options.marked.empty() || options.marked.size() == number, "plot_images: ", options.marked.size(),
          " marks for ", count, " images");
  require(options.columns >= 1 && options.cell >= 1, "plot_images: columns and cell must be at least 1, got ",
          options.columns, " and ", options.cell);

  constexpr double size = 14, line_height = 27, gap = 26, border = 4;
  double text_width = 0;
  Index lines = 0;
  const auto split = [](const std::string& caption) {
    std::vector<std::string> parts{""};
    for (const char c : caption) c == '\n' ? parts.push_back("") : parts.back().push_back(c);
    return parts;
  };
  for (const std::string& caption : captions) {
    const auto parts = split(caption);
    lines = std::max(lines, static_cast<Index>(parts.size()));
    for (const std::string& part : parts) text_width = std::max(text_width, Canvas::text_width(part, size));
  }
  const auto cell = static_cast<double>(options.cell);
  const double pitch_x = std::max(cell + 2 * border, text_width) + gap;
  const double pitch_y = cell + 2 * border + line_height * static_cast<double>(lines) + gap;
  const double top = options.title.empty() ? gap : 84;
  const Index columns = std::min(options.columns, std::max<Index>(count, 1));
  const Index rows = (count + columns - 1) / columns;
  const double grid = gap + pitch_x * static_cast<double>(columns);
  const double width = std::max(grid, Canvas::text_width(options.title, 22) + 2 * gap);
  Canvas canvas(static_cast<Index>(width), static_cast<Index>(top + pitch_y * static_cast<double>(rows) + gap / 2));
  if (!options.title.empty())
    canvas.text(static_cast<double>(canvas.width()) / 2, 50, options.title,
                {.size = 22, .align = TextAlign::center, .bold = true});
  for (Index i = 0; i < count; ++i) {
    const bool marked = !options.marked.empty() && options.marked[static_cast<std::size_t>(i)];
    const double middle = (width - grid + gap) / 2 + pitch_x * (static_cast<double>(i % columns) + 0.5);
    const double left = std::round(middle - cell / 2), y = std::round(top + pitch_y * static_cast<double>(i / columns));
    const Color red{200, 30, 45};
    canvas.rectangle(left - border, y, cell + 2 * border, cell + 2 * border, marked ? red : detail::plot_grid);
    canvas.picture(left, y + border, cell, cell, images[i]);
    if (captions.empty()) continue;
    double baseline = y + cell + 2 * border + line_height;
    for (const std::string& part : split(captions[static_cast<std::size_t>(i)])) {
      canvas.text(middle, baseline, part,
                  {.size = size, .color = marked ? red : detail::plot_ink, .align = TextAlign::center});
      baseline += line_height;
    }
  }
  return canvas.image();
}

}  // namespace lamina::inline LAMINA_ABI
