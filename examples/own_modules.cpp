// A block and a layer of your own: SwiGLU (Shazeer 2020) and GroupNorm (Wu and He 2018), in a network that learns, with
// the conformance suite that Lamina's own layers pass.
#include <cstdio>
#include <string>
#include <utility>

#include "lamina/lamina.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace own {

// [block]
/// down(silu(gate(x)) * up(x)): a block says how values flow through its children, and everything else follows.
template <class Scalar = float>
class SwiGLU : public Block<SwiGLU<Scalar>, Scalar> {
 public:
  Linear<Scalar> gate, up, down;
  SiLU<Scalar> silu;
  Multiply<Scalar> multiply;

  SwiGLU(Index features, Index hidden) : gate(features, hidden), up(features, hidden), down(hidden, features) {}

  Members<Scalar> members() override { return {{"gate", gate}, {"up", up}, {"down", down}}; }
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    Value<Scalar> open = run(silu, run(gate, x));
    return run(down, run(multiply, std::move(open), run(up, std::move(x))));
  }
};
// [block]

// [layer]
/// y = (x - mean) / sqrt(variance + eps) * weight + bias, with mean and variance over the channels of a group and all
/// pixels, for each image. Shapes: x and y [N, C, H, W], weight and bias [C]. Throws ValueError unless the groups
/// divide the channels, ShapeError for another input.
template <class Scalar = float>
class GroupNorm : public Layer<GroupNorm<Scalar>, Scalar> {
 public:
  Parameter<Scalar> weight, bias;

  GroupNorm(Index groups, Index channels, double eps = 1e-5)
      : weight(Tensor<Scalar>::ones({channels})), bias(Tensor<Scalar>::zeros({channels})), groups_(groups), eps_(eps) {
    require(groups >= 1 && channels % groups == 0, *this, ": ", groups, " groups do not divide ", channels);
  }

  Members<Scalar> members() override { return {{"weight", weight}, {"bias", bias}}; }
  Fields fields() const override {
    return Fields("GroupNorm").argument("groups", groups_).argument("channels", weight.value.numel());
  }
  Shape output_shape(const Shape& x) const override {
    require<ShapeError>(x.rank() == 4 && x[1] == weight.value.numel(), *this, ": expected [N, ", weight.value.numel(),
                        ", H, W], got shape ", x);
    return x;
  }

 private:
  using Column = Eigen::Array<Scalar, Eigen::Dynamic, 1>;
  /// The rows of x are the groups of its images.
  auto rows(Tensor<Scalar>& x) const { return x.matrix(x.dim(0) * groups_, x.shape().product(1, 4) / groups_); }

  /// x with mean 0 and variance 1 in each of its rows; the factors are kept.
  Tensor<Scalar> normalized(Tensor<Scalar> x, Column& factors) const {
    output_shape(x.shape());
    auto values = rows(x);
    values.colwise() -= values.rowwise().mean().eval();
    factors = (values.array().square().rowwise().mean() + static_cast<Scalar>(eps_)).rsqrt();
    values.array().colwise() *= factors;
    return x;
  }
  /// f(channel, its pixels' place) for each channel of each image.
  template <class F>
  static void each_channel(const Shape& x, F f) {
    for (Index i = 0; i < x[0] * x[1]; ++i) f(i % x[1], i * x[2] * x[3], x[2] * x[3]);
  }
  Tensor<Scalar> scaled(Tensor<Scalar> x) const {
    auto values = x.array();
    each_channel(x.shape(), [&](Index c, Index first, Index n) {
      values.segment(first, n) = values.segment(first, n) * weight.value(c) + bias.value(c);
    });
    return x;
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Column factors;
    return scaled(normalized(std::move(x), factors));
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    Column factors;
    Tensor<Scalar> normal = normalized(std::move(x), factors);
    tape.push(normal, factors);
    return scaled(std::move(normal));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [normal, factors] = tape.pop<Tensor<Scalar>, Column>();
    auto d = dy.array();
    each_channel(dy.shape(), [&, &x = normal](Index c, Index first, Index n) {
      if (weight.requires_grad) weight.gradient()(c) += (d.segment(first, n) * x.array().segment(first, n)).sum();
      if (bias.requires_grad) bias.gradient()(c) += d.segment(first, n).sum();
      d.segment(first, n) *= weight.value(c);
    });
    auto dx = rows(dy).array();
    const auto x = normal.matrix(dx.rows(), dx.cols()).array();
    const Column along = (dx * x).rowwise().mean(), mean = dx.rowwise().mean();
    dx = ((dx - x.colwise() * along).colwise() - mean).colwise() * factors;
    return dy;
  }

  Index groups_;
  double eps_;
};
// [layer]

}  // namespace own

int main() {
  // Gradients against differences, copies, state_dict, shapes, batches.
  for (const auto& [what, result] : {std::pair("SwiGLU", conforms(own::SwiGLU<double>(4, 6), {3, 4})),
                                     std::pair("GroupNorm", conforms(own::GroupNorm<double>(2, 6), {2, 6, 3, 5}))}) {
    std::printf("%s: %s\n", what, result ? "conforms" : result.failure.c_str());
    if (!result) return 1;
  }

  Sequential net{Conv2d(1, 16, 3, {.stride = 2}),
                 own::GroupNorm(4, 16),
                 ReLU(),
                 Conv2d(16, 16, 3, {.stride = 2}),
                 own::GroupNorm(4, 16),
                 ReLU(),
                 AdaptiveAvgPool2d(3),
                 Flatten(),
                 own::SwiGLU(144, 64),
                 Linear(144, 10)};
  std::puts(summary(net, {1, 1, 28, 28}).c_str());
  DataLoader train(digits(6000), {.batch_size = 64, .shuffle = true});
  DataLoader test(digits(1000, {.first = 6000}), {.batch_size = 500});
  Adam optimizer(parameters(net), {.lr = 0.003});
  const History history = fit(net, optimizer, train, {.epochs = 2, .test = &test});
  std::printf("%.1f %% of the test images are right\n", 100 * history.epochs.back().test_accuracy);
  return history.epochs.back().test_accuracy > 0.9 ? 0 : 1;
}
