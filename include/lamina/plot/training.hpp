#pragma once

#include <string>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/plot/charts.hpp"
#include "lamina/train/history.hpp"
#include "lamina/train/lr_find.hpp"
#include "lamina/train/metrics.hpp"

/// Pictures of a training run, as bytes [3, H, W]; io/image.hpp's write_png makes files of them:
///
///   write_png("curves.png", plot_history(history));
namespace lamina::inline LAMINA_ABI {

/// Loss and accuracy by epoch, side by side; what was not measured is left out.
Tensor<std::uint8_t> plot_history(const History& history);

/// The averaged losses of lr_find over the learning rates, with the suggested one marked.
Tensor<std::uint8_t> plot_lr_find(const LrFind& found);

/// A heat map: rows are true classes, columns predicted ones; the shade is the share of the row, and up to 20 classes
/// the counts are written in. Throws ValueError unless there is a name for each class, or none.
Tensor<std::uint8_t> plot_confusion(const ConfusionMatrix& matrix, std::vector<std::string> names = {},
                                    const std::string& title = "Confusion matrix");

}  // namespace lamina::inline LAMINA_ABI

#ifndef LAMINA_COMPILED_IO
#include "lamina/plot/training-inl.hpp"
#endif
