#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "lamina/models/blocks.hpp"
#include "lamina/nn/concat.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/max_pool2d.hpp"

namespace lamina {

struct GoogLeNetOptions {
  Index in_channels = 3;
  Index classes = 1000;
  Form form = Form::published;
  double width = 1;                ///< factor of all channels
  bool auxiliary = false;          ///< the two auxiliary heads; see GoogLeNet::forward_all
  double dropout = 0.2;            ///< before the last layer; none in the listing
  double auxiliary_dropout = 0.7;  ///< in the auxiliary heads
};

/// What the three heads of a GoogLeNet say, or the gradients with respect to that: [N, classes] each.
template <class Scalar = float>
struct GoogLeNetLogits {
  Tensor<Scalar> main, aux2, aux1;  ///< of the last features; of inception4d's; of inception4a's
};

/// GoogLeNet (Szegedy et al. 2015, table 1): images [N, in_channels, H, W] of at least 15 x 15, made for 224 x 224 ->
/// logits [N, classes].
///
///   conv1 7x7/2, 64   pool 3x3/2        1x1   3x3 reduced, 3x3   5x5 reduced, 5x5   1x1 of the pool
///   conv2 1x1, 64
///   conv3 3x3, 192    pool 3x3/2
///                     inception3a        64         96, 128            16, 32              32
///                     3b                128        128, 192            32, 96              64
///                     pool 3x3/2
///                     4a                192         96, 208            16, 48              64     -> aux1
///                     4b                160        112, 224            24, 64              64
///                     4c                128        128, 256            24, 64              64
///                     4d                112        144, 288            32, 64              64     -> aux2
///                     4e                256        160, 320            32, 128            128
///                     pool 2x2/2
///                     5a                256        160, 320            32, 128            128
///                     5b                384        192, 384            48, 128            128
///                     global average, dropout, fc
///
/// The published form is torchvision's: BatchNorm in place of biases, 3x3 where the table says 5x5, pools that keep
/// what hangs over the edge; 6,624,904 parameters, 13,004,888 with the auxiliary heads, N(0, 0.01^2) weights. The
/// listing of "Dive into Deep Learning" has biases, 5x5 convolutions, padded 3x3 pools and no dropout.
///
/// infer, forward and backward are those of the main head alone. To train with the auxiliary heads (section 5; their
/// losses count 0.3):
///
///   const auto logits = net.forward_all(images, tape);
///   auto main = cross_entropy(logits.main, labels), aux2 = cross_entropy(logits.aux2, labels), aux1 = ...;
///   net.backward_all({main.grad, aux2.grad *= 0.3f, aux1.grad *= 0.3f}, tape);
///
/// With fit, wrap the net in a module whose forward joins the three to [3, N, classes] and whose backward splits them,
/// and give fit a loss and a metric that take such outputs.
template <class Scalar = float>
class GoogLeNet : public Layer<GoogLeNet<Scalar>, Scalar> {
 public:
  using Logits = GoogLeNetLogits<Scalar>;

  explicit GoogLeNet(const GoogLeNetOptions& options = {}) : options_(options) {
    const bool listing = options_.form == Form::listing;
    Index in = options_.in_channels;
    const auto convolution = [&](Sequential<Scalar>& part, const char* name, Index out, Index kernel, Index stride) {
      part.add(name, this->convolution(in, maps(out), kernel, stride));
      in = maps(out);
    };
    const auto inception = [&](Sequential<Scalar>& part, const char* name, Index p1, Index p2_reduced, Index p2,
                               Index p3_reduced, Index p3, Index p4) {
      const Inception columns{in, maps(p1), maps(p2_reduced), maps(p2), maps(p3_reduced), maps(p3), maps(p4)};
      part.add(name, this->inception(columns));
      in = columns.out();
    };
    convolution(early_, "conv1", 64, 7, 2);
    early_.add("maxpool1", pool());
    convolution(early_, "conv2", 64, 1, 1);
    convolution(early_, "conv3", 192, 3, 1);
    early_.add("maxpool2", pool());
    inception(early_, "inception3a", 64, 96, 128, 16, 32, 32);
    inception(early_, "inception3b", 128, 128, 192, 32, 96, 64);
    early_.add("maxpool3", pool());
    inception(early_, "inception4a", 192, 96, 208, 16, 48, 64);
    if (options_.auxiliary) aux1_ = auxiliary_head(in);
    inception(middle_, "inception4b", 160, 112, 224, 24, 64, 64);
    inception(middle_, "inception4c", 128, 128, 256, 24, 64, 64);
    inception(middle_, "inception4d", 112, 144, 288, 32, 64, 64);
    if (options_.auxiliary) aux2_ = auxiliary_head(in);
    inception(late_, "inception4e", 256, 160, 320, 32, 128, 128);
    late_.add("maxpool4", listing ? pool() : MaxPool2d<Scalar>(2, {.ceil_mode = true}));
    inception(late_, "inception5a", 256, 160, 320, 32, 128, 128);
    inception(late_, "inception5b", 384, 192, 384, 48, 128, 128);
    head_.add("avgpool", AdaptiveAvgPool2d<Scalar>(1));
    head_.add("", Flatten<Scalar>());
    if (!listing) head_.add("dropout", Dropout<Scalar>(options_.dropout));
    head_.add("fc", Linear<Scalar>(in, options_.classes));

    init::weights<Conv2d<Scalar>, Linear<Scalar>>(*this, [listing](Tensor<Scalar>& weight) {
      listing ? init::xavier_uniform(weight) : init::truncated_normal(weight, 0, 0.01);
    });
  }

  /// Training with all three heads; for nets with {.auxiliary = true}, StateError otherwise.
  Logits forward_all(Tensor<Scalar> x, Tape& tape) {
    require_heads();
    output_shape(x.shape());
    Logits logits;
    x = early_.forward(std::move(x), tape);
    logits.aux1 = aux1_.forward(x, tape);
    x = middle_.forward(std::move(x), tape);
    logits.aux2 = aux2_.forward(x, tape);
    x = late_.forward(std::move(x), tape);
    logits.main = head_.forward(std::move(x), tape);
    return logits;
  }

  /// The backward of the last forward_all on the tape: the gradients with respect to its three results.
  Tensor<Scalar> backward_all(Logits grads, Tape& tape, InputGrad input_grad = InputGrad::compute) {
    require_heads();
    Tensor<Scalar> dx = head_.backward(std::move(grads.main), tape);
    dx = late_.backward(std::move(dx), tape);
    dx = detail::add(std::move(dx), aux2_.backward(std::move(grads.aux2), tape));
    dx = middle_.backward(std::move(dx), tape);
    dx = detail::add(std::move(dx), aux1_.backward(std::move(grads.aux1), tape));
    return early_.backward(std::move(dx), tape, input_grad);
  }

  Shape output_shape(const Shape& input) const override {
    Shape shape = input;
    for (const auto* part : main_path()) shape = part->output_shape(shape);
    return shape;
  }
  Index multiply_adds(const Shape& input) const override {
    Index total = 0;
    Shape shape = input;
    for (const auto* part : main_path()) {
      total += part->multiply_adds(shape);
      shape = part->output_shape(shape);
    }
    return total;
  }
  Members<Scalar> members() override {
    Members<Scalar> result{{"", &early_}, {"", &middle_}, {"", &late_}};
    if (options_.auxiliary) {
      result.push_back({"aux1", &aux1_});
      result.push_back({"aux2", &aux2_});
    }
    result.push_back({"", &head_});
    return result;
  }
  std::string name() const override {
    return detail::text("GoogLeNet(", options_.in_channels, ", ", options_.classes,
                        options_.auxiliary ? ", auxiliary=true)" : ")");
  }
  void trace(const Shape& input, const std::string& path, int depth,
             std::vector<TraceStep<Scalar>>& steps) const override {
    steps.push_back({path, depth, this, input, output_shape(input)});
    Shape shape = input;
    for (const auto* part : main_path()) {
      part->trace(shape, path, depth + 1, steps);
      shape = part->output_shape(shape);
    }
  }

 private:
  /// A line of the table.
  struct Inception {
    Index in, p1, p2_reduced, p2, p3_reduced, p3, p4;

    Index out() const { return p1 + p2 + p3 + p4; }
  };

  Index maps(Index channels) const { return detail::scaled("googlenet", channels, options_.width); }

  Sequential<Scalar> convolution(Index in, Index out, Index kernel, Index stride) const {
    const bool biased = options_.form == Form::listing;
    Sequential<Scalar> result{
        {"conv", Conv2d<Scalar>(in, out, kernel, {.stride = stride, .padding = kernel / 2, .bias = biased})}};
    if (!biased) result.add("bn", BatchNorm2d<Scalar>(out, {.eps = 0.001}));
    result.add("", ReLU<Scalar>());
    return result;
  }
  MaxPool2d<Scalar> pool() const {
    if (options_.form == Form::listing) return MaxPool2d<Scalar>(3, {.stride = 2, .padding = 1});
    return MaxPool2d<Scalar>(3, {.stride = 2, .ceil_mode = true});
  }

  Concat<Scalar> inception(const Inception& c) const {
    const Index widest = options_.form == Form::listing ? 5 : 3;
    return {
        {"branch1", convolution(c.in, c.p1, 1, 1)},
        {"branch2", Sequential<Scalar>{convolution(c.in, c.p2_reduced, 1, 1), convolution(c.p2_reduced, c.p2, 3, 1)}},
        {"branch3",
         Sequential<Scalar>{convolution(c.in, c.p3_reduced, 1, 1), convolution(c.p3_reduced, c.p3, widest, 1)}},
        {"branch4",
         Sequential<Scalar>{MaxPool2d<Scalar>(3, {.stride = 1, .padding = 1}), convolution(c.in, c.p4, 1, 1)}}};
  }

  Sequential<Scalar> auxiliary_head(Index in) const {
    return {{"", AdaptiveAvgPool2d<Scalar>(4)},
            {"conv", convolution(in, maps(128), 1, 1)},
            {"", Flatten<Scalar>()},
            {"fc1", Linear<Scalar>(maps(128) * 4 * 4, 1024)},
            {"", ReLU<Scalar>()},
            {"dropout", Dropout<Scalar>(options_.auxiliary_dropout)},
            {"fc2", Linear<Scalar>(1024, options_.classes)}};
  }

  void require_heads() const {
    detail::require<StateError>(options_.auxiliary, name(), ": has no auxiliary heads; make it with .auxiliary = true");
  }

  std::array<const Sequential<Scalar>*, 4> main_path() const { return {&early_, &middle_, &late_, &head_}; }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    for (const auto* part : main_path()) x = part->infer(std::move(x));
    return x;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    for (auto* part : {&early_, &middle_, &late_, &head_}) x = part->forward(std::move(x), tape);
    return x;
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    for (auto* part : {&head_, &late_, &middle_}) dy = part->backward(std::move(dy), tape);
    return early_.backward(std::move(dy), tape, input_grad);
  }

  GoogLeNetOptions options_;
  Sequential<Scalar> early_, middle_, late_, head_;  // up to inception4a; to 4d; to 5b; the rest
  Sequential<Scalar> aux1_, aux2_;                   // behind early_ and middle_; empty without auxiliary heads
};

/// See GoogLeNet.
template <class Scalar = float>
GoogLeNet<Scalar> googlenet(const GoogLeNetOptions& options = {}) {
  return GoogLeNet<Scalar>(options);
}

}  // namespace lamina
