#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "lamina/core/detail/io_inline.hpp"
#include "lamina/plot/training.hpp"

namespace lamina::inline LAMINA_ABI {

LAMINA_IO_INLINE Tensor<std::uint8_t> plot_history(const History& history) {
  const auto series = [&](const char* label, double EpochRecord::*field, std::vector<Series>& to) {
    Series result{label, {}};
    bool measured = false;
    for (const EpochRecord& record : history.epochs) {
      result.y.push_back(record.*field);
      measured = measured || !is_nan(record.*field);
    }
    if (measured) to.push_back(std::move(result));
  };
  std::vector<Series> loss, accuracy;
  series("training", &EpochRecord::train_loss, loss);
  series("test", &EpochRecord::test_loss, loss);
  series("training", &EpochRecord::train_accuracy, accuracy);
  series("test", &EpochRecord::test_accuracy, accuracy);
  const Index panel = 820, height = 640;
  Canvas canvas(accuracy.empty() ? panel : 2 * panel, height);
  draw_chart(canvas, 0, 0, panel, height, loss, {.title = "Loss", .x_label = "epoch"});
  if (!accuracy.empty())
    draw_chart(canvas, panel, 0, panel, height, accuracy, {.title = "Accuracy", .x_label = "epoch"});
  return canvas.image();
}

LAMINA_IO_INLINE Tensor<std::uint8_t> plot_lr_find(const LrFind& found) {
  std::vector<Series> series{{"loss", found.losses, found.lrs}};
  for (std::size_t i = 0; i < found.lrs.size(); ++i)
    if (found.lrs[i] == found.suggestion) {
      char label[48];
      std::snprintf(label, sizeof label, "suggested: %.2g", found.suggestion);
      series.push_back({label, {found.losses[i]}, {found.suggestion}});
      break;
    }
  return plot_lines(series,
                    {.title = "Learning rate finder", .x_label = "learning rate", .y_label = "loss", .log_x = true});
}

LAMINA_IO_INLINE Tensor<std::uint8_t> plot_confusion(const ConfusionMatrix& matrix, std::vector<std::string> names,
                                                     const std::string& title) {
  const Index classes = matrix.classes();
  require(names.empty() || static_cast<Index>(names.size()) == classes, "plot_confusion: ", names.size(), " names for ",
          classes, " classes");
  for (Index i = static_cast<Index>(names.size()); i < classes; ++i) names.push_back(std::to_string(i));

  const bool numbered = classes <= 20;
  const double cell = numbered ? 78 : std::max(4.0, 1000.0 / static_cast<double>(classes)), size = 16;
  double name_width = 0;
  for (const std::string& name : names) name_width = std::max(name_width, Canvas::text_width(name, size));
  const bool upright = name_width + 10 <= cell;  // else names below the columns are turned
  const double x0 = 74 + (numbered ? name_width : 0) + 22, y0 = 92, extent = cell * static_cast<double>(classes);
  const double below = numbered ? (upright ? size : name_width) + 22 : 0;
  Canvas canvas(static_cast<Index>(x0 + extent + 40), static_cast<Index>(y0 + extent + below + 74));

  canvas.text(x0 + extent / 2, 52, title, {.size = 22, .align = TextAlign::center, .bold = true});
  canvas.text(x0 + extent / 2, y0 + extent + below + 46, "predicted", {.size = 19, .align = TextAlign::center});
  canvas.text(44, y0 + extent / 2, "true", {.size = 19, .align = TextAlign::center, .upwards = true});
  for (Index i = 0; i < classes; ++i) {
    std::int64_t total = 0;
    for (Index j = 0; j < classes; ++j) total += matrix.counts()(i, j);
    const double y = y0 + cell * static_cast<double>(i);
    for (Index j = 0; j < classes; ++j) {
      const std::int64_t count = matrix.counts()(i, j);
      // The square root shows the few mistakes beside the many right ones.
      const double shade = std::sqrt(total > 0 ? static_cast<double>(count) / static_cast<double>(total) : 0);
      const auto mix = [&](int from, int to) { return static_cast<std::uint8_t>(from + (to - from) * shade); };
      const Color color =
          i == j ? Color{mix(250, 20), mix(250, 85), mix(252, 150)} : Color{mix(250, 205), mix(250, 30), mix(251, 30)};
      const double x = x0 + cell * static_cast<double>(j), line = numbered ? 2 : 0;
      canvas.rectangle(x, y, cell - line, cell - line, color);
      if (numbered && count > 0)
        canvas.text(x + cell / 2 - 1, y + cell / 2 + 8, std::to_string(count),
                    {.size = count < 10000 ? size : 12,
                     .color = shade > 0.55 ? Color{255, 255, 255} : detail::plot_ink,
                     .align = TextAlign::center});
    }
    if (!numbered) continue;
    const std::string& name = names[static_cast<std::size_t>(i)];
    canvas.text(x0 - 16, y + cell / 2 + size / 2, name, {.size = size, .align = TextAlign::right});
    const double middle = x0 + cell * (static_cast<double>(i) + 0.5);
    if (upright)
      canvas.text(middle, y0 + extent + 16 + size, name, {.size = size, .align = TextAlign::center});
    else
      canvas.text(middle + size / 2, y0 + extent + 16, name,
                  {.size = size, .align = TextAlign::right, .upwards = true});
  }
  return canvas.image();
}

}  // namespace lamina::inline LAMINA_ABI
