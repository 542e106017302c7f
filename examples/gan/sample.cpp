#include <algorithm>
#include <cmath>
#include <cstdio>

#include "common/program.hpp"
#include "gan/model.hpp"
#include "gan/options.hpp"
#include "lamina/train/progress.hpp"

namespace lamina::examples::gan {

namespace {

void check_label(const Settings& s) {
  require(s.label < 0 || s.network.classes > 0, "--class: ", s.model, " was trained without classes");
  require(s.label < s.network.classes || s.label < 0, "--class: ", s.model, " has the classes 0 to ",
          s.network.classes - 1, ", got ", s.label);
}

void run_sampling(Settings s) {
  prepare_folder(s.out);
  const GanGenerator<float> net = load_generator(s);
  check_label(s);
  const Index classes = std::max<Index>(1, s.network.classes);
  Labels labels({s.images});
  for (Index i = 0; i < s.images; ++i)
    labels.data()[i] = static_cast<std::int32_t>(s.label >= 0 ? s.label : i % classes);
  Random random(s.seed);
  const double begin = seconds_now();
  const Tensor<float> images = generate(net, random.normal<float>({s.images, s.network.latent}), labels);
  std::printf("%td images in %.2f s\n", s.images, seconds_now() - begin);
  write_sheet(s.file("samples.png"), images, text(s.images, " samples"), s.label < 0 && classes > 1 ? classes : 10);
  print_outputs(s.out, {{"samples.png", s.label < 0 && classes > 1 ? "a column for each class" : "images"}});
}

/// Between two points of the same class on a great circle: the latent numbers keep the length that they usually have.
Tensor<float> between(const Tensor<float>& a, const Tensor<float>& b, double share) {
  double product = 0, a_square = 0, b_square = 0;
  for (Index i = 0; i < a.numel(); ++i) {
    const auto u = static_cast<double>(a.data()[i]), v = static_cast<double>(b.data()[i]);
    product += u * v;
    a_square += u * u;
    b_square += v * v;
  }
  const double angle = std::acos(std::clamp(product / std::sqrt(a_square * b_square), -1.0, 1.0));
  const double sine = std::max(std::sin(angle), 1e-9);
  const auto from = static_cast<float>(std::sin((1 - share) * angle) / sine),
             to = static_cast<float>(std::sin(share * angle) / sine);
  Tensor<float> result(a.shape());
  for (Index i = 0; i < a.numel(); ++i) result.data()[i] = from * a.data()[i] + to * b.data()[i];
  return result;
}

void run_interpolation(Settings s) {
  prepare_folder(s.out);
  const GanGenerator<float> net = load_generator(s);
  check_label(s);
  const Index rows = 8, latent = s.network.latent, classes = std::max<Index>(1, s.network.classes);
  Tensor<float> z({rows * s.columns, latent});
  Labels labels({rows * s.columns});
  Random random(s.seed);
  for (Index row = 0; row < rows; ++row) {
    const Tensor<float> a = random.normal<float>({latent}), b = random.normal<float>({latent});
    for (Index i = 0; i < s.columns; ++i) {
      const Index place = row * s.columns + i;
      const Tensor<float> point = between(a, b, static_cast<double>(i) / static_cast<double>(s.columns - 1));
      std::copy_n(point.data(), latent, z.data() + place * latent);
      labels.data()[place] = static_cast<std::int32_t>(s.label >= 0 ? s.label : row % classes);
    }
  }
  write_sheet(s.file("interpolation.png"), generate(net, z, labels), "From one image to another", s.columns);
  print_outputs(s.out, {{"interpolation.png", "a row for each pair of images"}});
}

}  // namespace

void add_sample(CLI::App& app, Settings& s) {
  CLI::App* sub = add_command(app, s, "sample", "Generates images: samples.png", run_sampling);
  add_model(sub, s);
  add_label(sub, s);
  sub->add_option("-n,--count", s.images, "How many images")->check(CLI::Range(1, 100000))->capture_default_str();
}

void add_interpolate(CLI::App& app, Settings& s) {
  CLI::App* sub =
      add_command(app, s, "interpolate", "Goes from one image to another: interpolation.png", run_interpolation);
  add_model(sub, s);
  add_label(sub, s);
  sub->add_option("--columns", s.columns, "Images in a row")->check(CLI::Range(2, 100))->capture_default_str();
}

}  // namespace lamina::examples::gan
