#pragma once

#include <Eigen/Eigenvalues>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/program.hpp"
#include "lamina/io/image.hpp"
#include "lamina/nn/hamburger/hamburger.hpp"
#include "lamina/plot/charts.hpp"
#include "segmentation/settings.hpp"

/// The gradients through a decomposition, without any training: their scale and spectrum by the number of steps K,
/// which are the paper's reason for the one-step gradient (section 2.3), and what they cost.
namespace lamina::examples::segmentation {

inline const std::vector<Index> steps_examined = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64};

inline std::unique_ptr<Module<double>> make_ham(const std::string& kind, const HamOptions& options) {
  if (kind == "nmf") return std::make_unique<NMF<double>>(options);
  if (kind == "vq") return std::make_unique<VQ<double>>(options);
  return std::make_unique<CD<double>>(options);
}

/// d(result)/d(x) as a matrix [values, values], row by row.
inline Eigen::MatrixXd jacobian(Module<double>& ham, const Tensor<double>& x) {
  const Index n = x.numel();
  Eigen::MatrixXd result(n, n);
  for (Index i = 0; i < n; ++i) {
    Tape tape{Random(1)};
    Tensor<double> dy = Tensor<double>::zeros(ham.forward(x, tape).shape());
    dy.data()[i] = 1;
    const Tensor<double> dx = ham.backward(std::move(dy), tape);
    for (Index j = 0; j < n; ++j) result(i, j) = dx.data()[j];
  }
  return result;
}

/// Features [1, d, h, w] of rank r with noise, as a ReLU makes them.
inline Tensor<double> low_rank_features(Index d, Index h, Index w, Index r, std::uint64_t seed) {
  const Random random(seed);
  const Tensor<double> bases = random.split(1).normal<double>({d, r}),
                       codes = random.split(2).normal<double>({r, h * w});
  Tensor<double> x = random.split(3).normal<double>({1, d, h, w}, 0, 0.3);
  for (Index i = 0; i < d; ++i)
    for (Index j = 0; j < h * w; ++j) {
      double sum = x.data()[i * h * w + j];
      for (Index k = 0; k < r; ++k) sum += bases.data()[i * r + k] * codes.data()[k * h * w + j];
      x.data()[i * h * w + j] = std::max(0.0, sum);
    }
  return x;
}

/// The singular values of d(result)/d(x) for every K: all of them for some K as a picture, the largest, and the number
/// that are within a hundredth of it, as a table and a picture.
inline void examine_gradients(const Settings& s) {
  std::string table = "| K |";
  const std::vector<std::string> kinds = {"nmf", "vq", "cd"};
  for (const std::string& kind : kinds)
    table += text(" ", kind, " one-step: largest, rms, number | ", kind, " BPTT: largest, rms, number |");
  table += "\n| ---: |";
  for (std::size_t i = 0; i < 2 * kinds.size(); ++i) table += " --- |";
  table += "\n";
  std::vector<Series> scale, spectrum;
  for (const std::string& kind : kinds) {
    scale.push_back({kind + ", one-step", {}, {}});
    scale.push_back({kind + ", BPTT", {}, {}});
  }
  const Tensor<double> x = low_rank_features(8, 3, 4, 3, s.seed);
  for (const Index steps : steps_examined) {
    table += text("| ", steps, " |");
    for (std::size_t k = 0; k < kinds.size(); ++k)
      for (const HamGradient gradient : {HamGradient::one_step, HamGradient::bptt}) {
        const bool full = gradient == HamGradient::bptt;
        const auto ham = make_ham(kinds[k], {.rank = 3,
                                             .train_steps = steps,
                                             .eval_steps = steps,
                                             .inverse_temperature = s.inverse_temperature,
                                             .gradient = gradient});
        const Eigen::MatrixXd j = jacobian(*ham, x);
        // The singular values, as the roots of a symmetric matrix's eigenvalues, the largest last.
        const Eigen::MatrixXd gram = j * j.transpose();
        const Eigen::VectorXd values = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(gram, Eigen::EigenvaluesOnly)
                                           .eigenvalues()
                                           .cwiseMax(0)
                                           .cwiseSqrt();
        const double largest = values[values.size() - 1],
                     rms = std::sqrt(values.squaredNorm() / static_cast<double>(values.size()));
        const auto number = (values.array() > 0.01 * largest).count();
        char buffer[96];
        std::snprintf(buffer, sizeof buffer, " %.3g, %.3g, %td |", largest, rms, static_cast<std::ptrdiff_t>(number));
        table += buffer;
        Series& line = scale[2 * k + (full ? 1 : 0)];
        line.x.push_back(static_cast<double>(steps));
        line.y.push_back(std::log10(largest));
        if (kinds[k] == s.context && (steps == 1 || steps == 6 || steps == 24 || steps == 64)) {
          Series shown{text(full ? "BPTT" : "one-step", ", K = ", steps), {}};
          for (const double v : values) shown.y.push_back(std::log10(std::max(v, 1e-12)));
          spectrum.push_back(std::move(shown));
        }
      }
    table += "\n";
  }
  write_file_atomically(s.file("table.md"), table);
  write_png(s.file("scale.png"), plot_lines(scale, {.title = "The largest singular value of the gradient",
                                                    .x_label = "steps K",
                                                    .y_label = "log10"}));
  std::printf("%s\n", table.c_str());
  if (!spectrum.empty())
    write_png(s.file("spectrum.png"), plot_lines(spectrum, {.title = "Singular values of the gradient, " + s.context,
                                                            .x_label = "singular values",
                                                            .y_label = "log10"}));
  print_outputs(s.out, {{"table.md", "largest and mean singular values of d(result)/d(features)"},
                        {"scale.png", "the largest by K"},
                        {"spectrum.png", "all of them, for --context nmf, vq or cd"}});
}

/// Time and memory of a training pass by K, for NMF with the one-step gradient and BPTT.
inline void measure_cost(const Settings& s) {
  const Shape shape{1, 128, 64, 64};
  const Tensor<float> x = Random(s.seed).uniform<float>(shape);
  std::string table =
      "| K | one-step, ms | BPTT, ms | one-step, MB | BPTT, MB |\n| ---: | ---: | ---: | ---: | ---: |\n";
  std::vector<Series> seconds{{"one-step", {}, {}}, {"BPTT", {}, {}}}, memory = seconds;
  for (const Index steps : {2, 4, 8, 16, 32, 64}) {
    std::array<double, 2> milliseconds{}, megabytes{};
    for (const std::size_t full : {0u, 1u}) {
      NMF<float> ham({.train_steps = steps, .gradient = full ? HamGradient::bptt : HamGradient::one_step});
      milliseconds[full] = std::numeric_limits<double>::infinity();
      for (int repeat = 0; repeat < 4; ++repeat) {  // the first one warms up
        release_cached_storage();
        const std::size_t before = storage_statistics().bytes_in_use;
        reset_peak_storage();
        Tape tape{Random(1)};
        ham.forward(x, tape);
        const auto start = std::chrono::steady_clock::now();
        ham.backward(Tensor<float>::ones(shape), tape);
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
        if (repeat > 0) milliseconds[full] = std::min(milliseconds[full], 1e3 * passed.count());
        megabytes[full] = static_cast<double>(storage_statistics().peak_bytes - before) / (1 << 20);
      }
      for (auto* series : {&seconds[full], &memory[full]}) series->x.push_back(static_cast<double>(steps));
      seconds[full].y.push_back(milliseconds[full]);
      memory[full].y.push_back(megabytes[full]);
    }
    char line[160];
    std::snprintf(line, sizeof line, "| %td | %.1f | %.1f | %.1f | %.1f |\n", steps, milliseconds[0], milliseconds[1],
                  megabytes[0], megabytes[1]);
    table += line;
  }
  write_file_atomically(s.file("table.md"), table);
  Canvas canvas(1640, 640);
  draw_chart(canvas, 0, 0, 820, 640, seconds, {.title = "Backward, milliseconds", .x_label = "steps K"});
  draw_chart(canvas, 820, 0, 820, 640, memory,
             {.title = "Peak memory of forward and backward, MB", .x_label = "steps K"});
  write_png(s.file("cost.png"), canvas.image());
  std::printf("NMF of rank 64 on features %s, backward and memory:\n\n%s\n", shape.to_string().c_str(), table.c_str());
  print_outputs(s.out, {{"table.md", "time and memory by the number of steps"}, {"cost.png", "the same as a picture"}});
}

}  // namespace lamina::examples::segmentation
