#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lamina/models/blocks.hpp"
#include "lamina/nn/concat.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/max_pool2d.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of GoogLeNet.
struct GoogLeNetOptions {
  Index in_channels = 3;           ///< of the images
  Index classes = 1000;            ///< K
  Form form = Form::published;     ///< torchvision's, or the listing of "Dive into Deep Learning"
  double width = 1;                ///< factor of all channels
  bool auxiliary = false;          ///< the two auxiliary heads; in training; see GoogLeNet
  double dropout = 0.2;            ///< before the last layer; none in the listing
  double auxiliary_dropout = 0.7;  ///< in the auxiliary heads
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
/// With auxiliary heads (section 5; their losses count 0.3) forward has three results, of the last features, of
/// inception4d's and of inception4a's; fit's option auxiliary_weight counts them. By hand:
///
///   auto logits = net.forward(Values<>(images), tape);       // main, aux2, aux1
///   net.backward({main.grad, aux2.grad, aux1.grad}, tape);   // or net.backward(main.grad, tape)
///
/// infer gives those of the main head.
template <class Scalar = float>
class GoogLeNet : public Block<GoogLeNet<Scalar>, Scalar> {
 public:
  /// Weights are drawn from default_random().
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

  /// The logits, and in training with auxiliary heads theirs behind them: main, aux2, aux1.
  Values<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    const bool auxiliary = options_.auxiliary && run.training();
    Value<Scalar> aux1, aux2;
    x = run(early_, std::move(x));
    if (auxiliary) aux1 = run(aux1_, x);
    x = run(middle_, std::move(x));
    if (auxiliary) aux2 = run(aux2_, x);
    x = run(head_, run(late_, std::move(x)));
    if (auxiliary) return {std::move(x), std::move(aux2), std::move(aux1)};
    return x;
  }
  Members<Scalar> members() override {
    Members<Scalar> result{{"", early_}, {"", middle_}, {"", late_}};
    if (options_.auxiliary) {
      result.push_back({"aux1", aux1_});
      result.push_back({"aux2", aux2_});
    }
    result.push_back({"", head_});
    return result;
  }
  Fields fields() const override {
    return Fields("GoogLeNet")
        .argument("in_channels", options_.in_channels)
        .argument("classes", options_.classes)
        .option("auxiliary", options_.auxiliary, false);
  }

 private:
  /// A line of the table.
  struct Inception {
    Index in, p1, p2_reduced, p2, p3_reduced, p3, p4;

    Index out() const { return p1 + p2 + p3 + p4; }
  };

  Index maps(Index channels) const { return detail::scaled("googlenet", channels, options_.width); }

  Sequential<Scalar> convolution(Index in, Index out, Index kernel, Index stride) const {
    if (options_.form == Form::listing)
      return {{"conv", Conv2d<Scalar>(in, out, kernel, {.stride = stride, .padding = kernel / 2})},
              {"", ReLU<Scalar>()}};
    return detail::conv_norm<Scalar>(
        in, out, kernel, {.stride = stride, .norm = {.eps = 0.001}, .keys = {"conv", "bn", ""}}, ReLU<Scalar>());
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

  GoogLeNetOptions options_;
  Sequential<Scalar> early_, middle_, late_, head_;  // up to inception4a; to 4d; to 5b; the rest
  Sequential<Scalar> aux1_, aux2_;                   // behind early_ and middle_; empty without auxiliary heads
};

/// See GoogLeNet.
template <class Scalar = float>
GoogLeNet<Scalar> googlenet(const GoogLeNetOptions& options = {}) {
  return GoogLeNet<Scalar>(options);
}

}  // namespace lamina::inline LAMINA_ABI
