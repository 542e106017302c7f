#pragma once

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "lamina/io/image.hpp"
#include "lamina/plot/charts.hpp"
#include "segmentation/training.hpp"

/// The pictures of a run: curves, segmentations, and what the context module does to the features.
namespace lamina::examples::segmentation {

inline Tensor<std::uint8_t> draw_curves(const History& history, const std::vector<Score>& scores) {
  Series training{"training", {}}, test{"test", {}}, accuracy{"pixels that are right", {}}, iou{"mean IoU", {}};
  for (const EpochRecord& epoch : history.epochs) {
    training.y.push_back(epoch.train_loss);
    test.y.push_back(epoch.test_loss);
    accuracy.y.push_back(epoch.test_accuracy);
  }
  for (const Score& score : scores) iou.y.push_back(score.mean_iou);
  Canvas canvas(1640, 640);
  draw_chart(canvas, 0, 0, 820, 640, {training, test}, {.title = "Loss", .x_label = "epoch"});
  draw_chart(canvas, 820, 0, 820, 640, {accuracy, iou}, {.title = "On the test images", .x_label = "epoch"});
  return canvas.image();
}

/// Labels as a picture; what is ignored is black.
inline Tensor<std::uint8_t> painted(const Labels& labels, const Data& data) {
  Tensor<std::uint8_t> image = Tensor<std::uint8_t>::zeros({3, labels.dim(0), labels.dim(1)});
  std::uint8_t* const out = image.data();
  for (Index i = 0; i < labels.numel(); ++i) {
    if (labels.data()[i] == data.ignored) continue;
    const Color color = data.colors[static_cast<std::size_t>(labels.data()[i])];
    out[i] = color.r, out[labels.numel() + i] = color.g, out[2 * labels.numel() + i] = color.b;
  }
  return image;
}
inline Tensor<std::uint8_t> bytes_of(const Tensor<float>& image) {
  Tensor<std::uint8_t> result(image.shape());
  std::transform(image.data(), image.data() + image.numel(), result.data(),
                 [](float v) { return static_cast<std::uint8_t>(255 * std::clamp(v, 0.f, 1.f) + 0.5f); });
  return result;
}

/// Image, truth and prediction side by side, with a legend.
inline Tensor<std::uint8_t> draw_segmentations(const Module<float>& net, const Settings& s, const Data& data) {
  const Index rows = std::min<Index>(6, data.test->size());
  const Shape image = data.image();
  const double width = 320, height = width * static_cast<double>(image[1]) / static_cast<double>(image[2]);
  const double gap = 16, top = 60, legend = 3 * (width + gap) + 2 * gap;
  Canvas canvas(static_cast<Index>(legend) + 240,
                static_cast<Index>(std::max(top + static_cast<double>(rows) * (height + gap),
                                            top + 40 * static_cast<double>(data.classes.size() + 2))));
  const char* const titles[] = {"image", "truth", "prediction"};
  for (int i = 0; i < 3; ++i)
    canvas.text(gap + width / 2 + i * (width + gap), 40, titles[i], {.align = TextAlign::center, .bold = true});
  for (Index i = 0; i < rows; ++i) {
    // Some from all over the set: neighbours in a video are alike.
    const auto example = data.test->get(i * data.test->size() / rows);
    const Labels predicted =
        predicted_classes(net(normalize_for(s)(example.input).reshape(example.input.shape().batch(1))))[0];
    const double y = top + static_cast<double>(i) * (height + gap);
    canvas.picture(gap, y, width, height, bytes_of(example.input));
    canvas.picture(2 * gap + width, y, width, height, painted(example.target, data));
    canvas.picture(3 * gap + 2 * width, y, width, height, painted(predicted, data));
  }
  for (std::size_t k = 0; k <= data.classes.size(); ++k) {
    const double y = top + 40 * static_cast<double>(k);
    const bool ignored = k == data.classes.size();
    if (ignored && data.ignored == 255) break;
    canvas.rectangle(legend, y, 32, 28, ignored ? Color{0, 0, 0} : data.colors[k]);
    canvas.text(legend + 48, y + 22, ignored ? "does not count" : data.classes[k], {.size = 17});
  }
  return canvas.image();
}

/// The features of (normalised) images around the context module, and for Hamburgers with one ham those around the ham.
struct Around {
  Tensor<float> before, after, ham_before, ham_after;
};
inline Around around_context(AtInputSize<float>& net, const Settings& s, const Tensor<float>& images) {
  Around result;
  result.before = net.net[1](net.net[0](net.padded(images)));
  result.after = net.net[2](result.before);
  if (s.decomposes() && s.version != "v2+") {
    auto& burger = net.net.get<Sequential<float>>(2).get<Sum<float>>(0).get<Sequential<float>>(0);
    result.ham_before = burger[0](result.before);
    result.ham_after = burger[1](result.ham_before);
  }
  return result;
}

/// The share of the squared singular values of an image's features [C, n] that the largest r have, for every r.
inline Series spectrum(const char* label, const Tensor<float>& features) {
  const Index channels = features.dim(1), n = features.dim(2) * features.dim(3);
  Eigen::VectorXd share = Eigen::VectorXd::Zero(std::min(channels, n));
  for (Index i = 0; i < features.dim(0); ++i) {
    Eigen::MatrixXd x = features[i].matrix(channels, n).cast<double>();
    if (channels > n) x.transposeInPlace();
    const Eigen::MatrixXd gram = x * x.transpose();
    const Eigen::VectorXd squares = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(gram, Eigen::EigenvaluesOnly)
                                        .eigenvalues()
                                        .reverse()
                                        .cwiseMax(0);
    double sum = 0;
    for (Index r = 0; r < share.size(); ++r) {
      sum += squares[r];
      share[r] += sum / std::max(squares.sum(), 1e-300) / static_cast<double>(features.dim(0));
    }
  }
  return {label, {share.begin(), share.end()}};
}
inline Tensor<std::uint8_t> draw_spectrum(const Around& features, Index rank) {
  std::vector<Series> series{spectrum("before the context module", features.before),
                             spectrum("after it", features.after)};
  if (!features.ham_before.empty()) {
    series.push_back(spectrum("before the ham", features.ham_before));
    series.push_back(spectrum("after the ham", features.ham_after));
  }
  for (Series& s : series) s.y.resize(std::min<std::size_t>(s.y.size(), static_cast<std::size_t>(4 * rank)));
  return plot_lines(series, {.title = "Share of the energy in the largest singular values",
                             .x_label = "singular values",
                             .y_label = "share of the squares' sum"});
}

/// Channels of the features of some images, before (above) and after (below) the context module: those that vary most.
inline Tensor<std::uint8_t> draw_features(const Around& features, const Tensor<float>& images) {
  const Index shown = std::min<Index>(3, images.dim(0)), channels = 6;
  const double width = 170, height = width * static_cast<double>(images.dim(2)) / static_cast<double>(images.dim(3));
  const double gap = 10, left = 90;
  Canvas canvas(static_cast<Index>(left + (channels + 1) * (width + gap)) + 20,
                static_cast<Index>(static_cast<double>(shown) * (2 * height + 4 * gap) + 50));
  canvas.text(left, 32, "Channels of the features, before and after the context module", {.size = 18, .bold = true});
  const Tensor<float>& before = features.before;
  const Index n = before.dim(2) * before.dim(3);
  for (Index i = 0; i < shown; ++i) {
    const double y = 50 + static_cast<double>(i) * (2 * height + 4 * gap);
    canvas.picture(left, y, width, height, bytes_of(images[i]));
    std::vector<std::pair<double, Index>> order;
    for (Index c = 0; c < before.dim(1); ++c) {
      const auto values = before[i][c].array();
      order.emplace_back(-(values - values.mean()).square().sum(), c);
    }
    std::sort(order.begin(), order.end());
    for (const bool after : {false, true}) {
      const double at = y + (after ? height + gap : 0);
      canvas.text(left - 12, at + height / 2, after ? "after" : "before", {.size = 15, .align = TextAlign::right});
      for (Index k = 0; k < std::min<Index>(channels, static_cast<Index>(order.size())); ++k) {
        const Tensor<float> plane = (after ? features.after : before)[i][order[static_cast<std::size_t>(k)].second];
        const float low = plane.array().minCoeff(), range = std::max(plane.array().maxCoeff() - low, 1e-12f);
        Tensor<float> grey({1, plane.dim(0), plane.dim(1)});
        for (Index p = 0; p < n; ++p) grey.data()[p] = (plane.data()[p] - low) / range;
        canvas.picture(left + static_cast<double>(k + 1) * (width + gap), at, width, height, bytes_of(grey));
      }
    }
  }
  return canvas.image();
}

/// Draws the pictures of a finished run into its folder.
inline void write_pictures(const Settings& s, const Data& data, Outcome& outcome) {
  write_png(s.file("curves.png"), draw_curves(outcome.history, outcome.scores));
  write_png(s.file("segmentations.png"), draw_segmentations(outcome.net, s, data));
  const Index shown = data.equal ? std::min<Index>(8, data.test->size()) : 1;
  std::vector<Index> some;
  for (Index i = 0; i < shown; ++i) some.push_back(i * data.test->size() / shown);
  const Tensor<float> images = data.test->batch(some).inputs;
  Tensor<float> normalized = images;
  for (Index i = 0; i < images.dim(0); ++i) {
    const Tensor<float> one = normalize_for(s)(images[i]);
    std::copy_n(one.data(), one.numel(), normalized.data() + i * one.numel());
  }
  const Around features = around_context(outcome.net, s, normalized);
  write_png(s.file("spectrum.png"), draw_spectrum(features, s.rank));
  write_png(s.file("features.png"), draw_features(features, images));
}

}  // namespace lamina::examples::segmentation
