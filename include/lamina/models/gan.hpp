#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/add.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/block.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/context/sagan_attention.hpp"
#include "lamina/nn/context/ylg_attention.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/embedding.hpp"
#include "lamina/nn/film.hpp"
#include "lamina/nn/hamburger/nmf.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/multiply.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/scale.hpp"
#include "lamina/nn/spectral_norm.hpp"
#include "lamina/nn/tanh.hpp"
#include "lamina/nn/tensor/reduce.hpp"
#include "lamina/nn/unflatten.hpp"
#include "lamina/nn/upsample.hpp"

/// The adversarial networks of SAGAN (Zhang et al. 2019), of YLG (Daras et al. 2020) and of HamGAN (Geng et al. 2021,
/// section 3.3.2, HamGAN-strong; their program in gan/HamGAN): a residual generator and a projection discriminator
/// (Miyato and Koyama 2018) with a context module at features of 32 x 32 in both. For the authors' size (width 64,
/// latent 128, 1000 classes, 128 x 128 pixels), parameters without buffers, and multiply-adds for an image:
///
///   context        generator           discriminator
///   none           42.00 M    8.64 G   39.44 M    4.59 G
///   attention      42.08 M    8.76 G   39.46 M    4.63 G
///   ylg            42.08 M    8.72 G   39.46 M    4.62 G
///   hamburger      42.64 M    8.91 G   39.48 M    4.66 G
namespace lamina::inline LAMINA_ABI {

/// What gives every pixel of the features of 32 x 32 the context of the whole image.
enum class GanContext {
  none,
  attention,  ///< SAGANAttention
  ylg,        ///< YLGAttention
  hamburger   ///< GanHamburger
};
/// As the programs have them.
template <>
struct Words<GanContext> {
  static constexpr const char* what = "context";                               ///< in messages
  static constexpr std::array words{"none", "attention", "ylg", "hamburger"};  ///< of each
};

/// Options of GanGenerator and GanDiscriminator, the same for both.
struct GanOptions {
  Index image = 32;                               ///< side of the images: 32, 64 or 128
  Index channels = 3;                             ///< of the images
  Index classes = 10;                             ///< 0: without labels
  Index latent = 128;                             ///< numbers from which an image is made
  Index width = 64;                               ///< channels at full size; they double with each halving, up to 16
  Choice<GanContext> context = GanContext::none;  ///< at 32 x 32
  bool spectral_norm = true;                      ///< without: networks that load plain_weights()
};

namespace detail {

inline void check_gan(const char* who, const GanOptions& options) {
  require(options.image == 32 || options.image == 64 || options.image == 128, who,
          ": image must be 32, 64 or 128, got ", options.image);
  require(options.channels >= 1 && options.latent >= 1 && options.width >= 1, who,
          ": channels, latent and width must be at least 1, got ", options.channels, ", ", options.latent, " and ",
          options.width);
  require(options.classes >= 0, who, ": classes must not be negative, got ", options.classes);
}
inline Fields gan_fields(const char* who, const GanOptions& options) {
  return Fields(who)
      .argument("image", options.image)
      .option("channels", options.channels, 3)
      .option("classes", options.classes, 10)
      .option("latent", options.latent, 128)
      .option("width", options.width, 64)
      .field("context", options.context.word(), options.context == GanContext::none ? "" : options.context.word())
      .option("spectral_norm", options.spectral_norm, true);
}

/// A layer with the authors' initial values, Xavier-uniform weights and zero biases.
template <class Inner>
Child<ScalarOf<Inner>> gan_layer(bool spectral_norm, const char* key, Inner layer) {
  init::xavier_uniform(layer.weight.value);
  if constexpr (requires { layer.bias; })
    if (!layer.bias.value.empty()) layer.bias.value.fill(0);
  return spectral_norm_if(spectral_norm, key, std::move(layer));
}
template <class Scalar>
Child<Scalar> gan_convolution(bool spectral_norm, const char* key, Index in, Index out, Index kernel,
                              bool bias = true) {
  return gan_layer(spectral_norm, key, Conv2d<Scalar>(in, out, kernel, {.padding = kernel / 2, .bias = bias}));
}

/// Batch normalisation, by class if there are classes.
template <class Scalar>
class GanNorm : public Block<GanNorm<Scalar>, Scalar> {
 public:
  GanNorm(Index channels, Index classes)
      : norm_(classes > 0 ? Child<Scalar>(ConditionalBatchNorm2d<Scalar>(channels, classes))
                          : Child<Scalar>(BatchNorm2d<Scalar>(channels))) {}
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const { return run(*norm_.module, std::move(x)); }
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x, Value<Scalar> labels) const {
    return run(*norm_.module, std::move(x), std::move(labels));
  }
  Members<Scalar> members() override { return {{"", *norm_.module}}; }

 private:
  Child<Scalar> norm_;
};

/// What is run with labels or without.
template <class Scalar>
Value<Scalar> run_with(Flow<Scalar>& run, const Module<Scalar>& module, Value<Scalar> x, const Value<Scalar>* labels) {
  return labels ? run(module, std::move(x), *labels) : run(module, std::move(x));
}

}  // namespace detail

/// Options of GanHamburger.
struct GanHamburgerOptions {
  Index classes = -1;         ///< of the norm behind the upper bread; 0: a norm without classes, -1: no norm
  bool spectral_norm = true;  ///< of the breads
};

/// The Hamburger of HamGAN (Geng et al. 2021, sn_hamburger_v1 in their program): for an image x of C channels
///
///   y = x + gamma norm(upper(M(relu(lower(x)))))
///
/// where M is an NMF of rank C / 8 with 6 steps, the breads are 1x1 convolutions without biases, spectrally normalised,
/// the norm is conditional batch normalisation in the generator and none in the discriminator, and gamma [1] starts as
/// 0. Takes x [N, C, H, W] and, with classes, labels [N]; y has x's shape. Multiply-adds for C = 256 at 32 x 32: 277 M.
/// Throws ValueError for C below 1; other errors are those of its parts.
template <class Scalar = float>
class GanHamburger : public Block<GanHamburger<Scalar>, Scalar> {
 public:
  Child<Scalar> lower_bread;  ///< a 1x1 convolution
  Child<Scalar> upper_bread;  ///< another
  NMF<Scalar> ham;            ///< the decomposition
  Scale<Scalar> gamma;        ///< starts as 0

  /// For so many channels.
  explicit GanHamburger(Index channels, const GanHamburgerOptions& options = {})
      : lower_bread(
            detail::gan_convolution<Scalar>(options.spectral_norm, "lower_bread", channels, channels, 1, false)),
        upper_bread(
            detail::gan_convolution<Scalar>(options.spectral_norm, "upper_bread", channels, channels, 1, false)),
        ham({.rank = std::max<Index>(1, channels / 8), .train_steps = 6, .eval_steps = 6}),
        gamma(0, "gamma"),
        channels_(channels),
        options_(options) {
    if (options.classes >= 0)
      norm_.push_back(Child<Scalar>("norm", detail::GanNorm<Scalar>(channels, options.classes)));
  }

  /// What flows through it, see Block.
  /// @{
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const { return flow(run, std::move(x), nullptr); }
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x, Value<Scalar> labels) const {
    return flow(run, std::move(x), options_.classes > 0 ? &labels : nullptr);
  }
  /// @}
  Members<Scalar> members() override {
    Members<Scalar> result{{"lower_bread", *lower_bread.module}, {"ham", ham}, {"upper_bread", *upper_bread.module}};
    for (const auto& norm : norm_) result.push_back({norm.name, norm.module.get()});
    result.push_back({"", gamma});
    return result;
  }
  Fields fields() const override {
    return Fields("GanHamburger")
        .argument("channels", channels_)
        .option("classes", options_.classes, -1)
        .option("spectral_norm", options_.spectral_norm, true);
  }

 private:
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x, const Value<Scalar>* labels) const {
    Value<Scalar> y = run(ham, run(relu_, run(*lower_bread.module, x)));
    y = run(*upper_bread.module, std::move(y));
    for (const auto& norm : norm_) y = detail::run_with(run, *norm.module, std::move(y), labels);
    return run(add_, run(gamma, std::move(y)), std::move(x));
  }

  Index channels_;
  GanHamburgerOptions options_;
  std::vector<Child<Scalar>> norm_;  // one or none
  ReLU<Scalar> relu_;
  Add<Scalar> add_;
};

namespace detail {

/// The context module, or none.
template <class Scalar>
std::vector<Child<Scalar>> gan_context(const GanOptions& options, Index channels, Index norm_classes) {
  std::vector<Child<Scalar>> result;
  const bool spectral_norm = options.spectral_norm;
  if (options.context == GanContext::attention)
    result.push_back({"context", SAGANAttention<Scalar>(channels, {.spectral_norm = spectral_norm})});
  if (options.context == GanContext::ylg)
    result.push_back({"context", YLGAttention<Scalar>(channels, {.spectral_norm = spectral_norm})});
  if (options.context == GanContext::hamburger)
    result.push_back(
        {"context", GanHamburger<Scalar>(channels, {.classes = norm_classes, .spectral_norm = spectral_norm})});
  return result;
}

/// A residual block of the generator, which doubles the side: shortcut(x) and
/// conv2(relu(norm2(conv1(up(relu(norm1(x)))))
/// )), added. The 1x1 convolution of the shortcut comes before its upsampling, which gives the same for a quarter.
template <class Scalar>
class GeneratorBlock : public Block<GeneratorBlock<Scalar>, Scalar> {
 public:
  GeneratorBlock(Index in, Index out, const GanOptions& options)
      : norm1_(in, options.classes),
        norm2_(out, options.classes),
        conv1_(gan_convolution<Scalar>(options.spectral_norm, "conv1", in, out, 3)),
        conv2_(gan_convolution<Scalar>(options.spectral_norm, "conv2", out, out, 3)),
        shortcut_(gan_convolution<Scalar>(options.spectral_norm, "shortcut", in, out, 1)) {}

  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const { return flow(run, std::move(x), nullptr); }
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x, Value<Scalar> labels) const {
    return flow(run, std::move(x), &labels);
  }
  Members<Scalar> members() override {
    return {{"norm1", norm1_},
            {"conv1", *conv1_.module},
            {"norm2", norm2_},
            {"conv2", *conv2_.module},
            {"shortcut", *shortcut_.module}};
  }

 private:
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x, const Value<Scalar>* labels) const {
    Value<Scalar> y = run(up_, run(relu_, run_with(run, norm1_, x, labels)));
    y = run(relu_, run_with(run, norm2_, run(*conv1_.module, std::move(y)), labels));
    y = run(*conv2_.module, std::move(y));
    return run(add_, std::move(y), run(up_, run(*shortcut_.module, std::move(x))));
  }

  GanNorm<Scalar> norm1_, norm2_;
  Child<Scalar> conv1_, conv2_, shortcut_;
  ReLU<Scalar> relu_;
  Upsample<Scalar> up_{2};
  Add<Scalar> add_;
};

/// A residual block of the discriminator: shortcut(x) and conv2(relu(conv1(relu(x)))), both averaged over 2 x 2 pixels
/// if it halves, added. The first block has no ReLU at its beginning. The shortcut's 1x1 convolution comes after the
/// average, which gives the same for a quarter.
template <class Scalar>
class DiscriminatorBlock : public Block<DiscriminatorBlock<Scalar>, Scalar> {
 public:
  DiscriminatorBlock(Index in, Index out, bool first, bool halves, bool spectral_norm)
      : first_(first),
        halves_(halves),
        conv1_(gan_convolution<Scalar>(spectral_norm, "conv1", in, out, 3)),
        conv2_(gan_convolution<Scalar>(spectral_norm, "conv2", out, out, 3)) {
    if (halves || in != out) shortcut_.push_back(gan_convolution<Scalar>(spectral_norm, "shortcut", in, out, 1));
  }

  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    Value<Scalar> y = run(*conv1_.module, first_ ? x : run(relu_, x));
    y = run(*conv2_.module, run(relu_, std::move(y)));
    if (halves_) y = run(pool_, std::move(y)), x = run(pool_, std::move(x));
    for (const auto& shortcut : shortcut_) x = run(*shortcut.module, std::move(x));
    return run(add_, std::move(y), std::move(x));
  }
  Members<Scalar> members() override {
    Members<Scalar> result{{"conv1", *conv1_.module}, {"conv2", *conv2_.module}};
    for (const auto& shortcut : shortcut_) result.push_back({"shortcut", *shortcut.module});
    return result;
  }

 private:
  bool first_, halves_;
  Child<Scalar> conv1_, conv2_;
  std::vector<Child<Scalar>> shortcut_;  // one or none
  ReLU<Scalar> relu_;
  AvgPool2d<Scalar> pool_{2};
  Add<Scalar> add_;
};

}  // namespace detail

/// The residual generator of SAGAN: a linear layer to features of 4 x 4, blocks that double the side, batch
/// normalisation, ReLU, a 3x3 convolution and tanh; conditional batch normalisation in the blocks.
///
/// Shapes: latent z [N, latent] from N(0, 1) and, with classes, labels [N] -> images [N, channels, image, image] in
/// (-1, 1). At side r there are width min(16, image / r) channels, at 4 those of 8. Throws ValueError for options out
/// of range; with attention the channels at 32 x 32 must be a multiple of 8, with YLG of 64.
template <class Scalar = float>
class GanGenerator : public Block<GanGenerator<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  explicit GanGenerator(const GanOptions& options = {})
      : options_((detail::check_gan("GanGenerator", options), options)),
        linear_(
            detail::gan_layer(options.spectral_norm, "linear", Linear<Scalar>(options.latent, channels_at(8) * 16))),
        unflatten_(1, {channels_at(8), 4, 4}),
        norm_(options.width),
        last_(detail::gan_convolution<Scalar>(options.spectral_norm, "last", options.width, options.channels, 3)) {
    for (Index side = 8; side <= options.image; side *= 2)
      blocks_.push_back(
          detail::GeneratorBlock<Scalar>(channels_at(std::max<Index>(side / 2, 8)), channels_at(side), options));
    context_ = detail::gan_context<Scalar>(options, channels_at(32), options.classes);
  }

  /// What it was made with.
  const GanOptions& options() const { return options_; }

  /// What flows through it, see Block.
  /// @{
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> z) const {
    require(options_.classes == 0, *this, ": takes z and labels, got one value");
    return flow(run, std::move(z), nullptr);
  }
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> z, Value<Scalar> labels) const {
    require(options_.classes > 0, *this, ": takes z alone, got two values");
    return flow(run, std::move(z), &labels);
  }
  /// @}
  Members<Scalar> members() override {
    Members<Scalar> result{{"linear", *linear_.module}};
    for (std::size_t i = 0; i < blocks_.size(); ++i) result.push_back({text("block", i + 1), blocks_[i]});
    for (auto& context : context_) result.push_back({context.name, context.module.get()});
    result.push_back({"norm", norm_});
    result.push_back({"last", *last_.module});
    return result;
  }
  Fields fields() const override { return detail::gan_fields("GanGenerator", options_); }

 private:
  Index channels_at(Index side) const { return options_.width * std::min<Index>(16, options_.image / side); }

  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> z, const Value<Scalar>* labels) const {
    Value<Scalar> x = run(unflatten_, run(*linear_.module, std::move(z)));
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      x = detail::run_with(run, blocks_[i], std::move(x), labels);
      if (i != 2) continue;  // 32 x 32
      for (const auto& context : context_)
        x = detail::run_with(run, *context.module, std::move(x),
                             options_.context == GanContext::hamburger ? labels : nullptr);
    }
    return run(tanh_, run(*last_.module, run(relu_, run(norm_, std::move(x)))));
  }

  GanOptions options_;
  Child<Scalar> linear_;
  Unflatten<Scalar> unflatten_;
  std::vector<detail::GeneratorBlock<Scalar>> blocks_;
  std::vector<Child<Scalar>> context_;  // one or none
  BatchNorm2d<Scalar> norm_;
  ReLU<Scalar> relu_;
  Child<Scalar> last_;
  Tanh<Scalar> tanh_;
};

/// The projection discriminator of SAGAN (Miyato and Koyama 2018, equation 3): residual blocks, and with h the sum of
/// their last features' ReLU over the pixels
///
///   y = w · h + b + embedding[label] · h
///
/// the last term with classes only. The blocks halve the side down to 4 x 4 (8 x 8 for images of 32, whose first block
/// keeps their size, so that there are features of 32 x 32); the last one keeps it. Channels begin with `width` and
/// double with each block that halves, but the first. All layers are spectrally normalised.
///
/// Shapes: images [N, channels, image, image] in (-1, 1) and, with classes, labels [N] -> scores [N, 1]. Errors are
/// GanGenerator's; ShapeError for other images.
template <class Scalar = float>
class GanDiscriminator : public Block<GanDiscriminator<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  explicit GanDiscriminator(const GanOptions& options = {})
      : options_((detail::check_gan("GanDiscriminator", options), options)) {
    const bool spectral_norm = options.spectral_norm;
    Index side = options.image, channels = options.width;
    const auto add = [&](Index in, bool first, bool halves) {
      blocks_.push_back(detail::DiscriminatorBlock<Scalar>(in, channels, first, halves, spectral_norm));
      if (halves) side /= 2;
      if (side == 32 && context_.empty()) {
        context_ = detail::gan_context<Scalar>(options, channels, -1);
        context_after_ = blocks_.size();
      }
    };
    add(options.channels, true, options.image > 32);
    while (side > (options.image == 32 ? 8 : 4)) {
      channels *= 2;
      add(channels / 2, false, true);
    }
    add(channels, false, false);
    head_.push_back(detail::gan_layer(spectral_norm, "linear", Linear<Scalar>(channels, 1)));
    if (options.classes > 0)
      head_.push_back(detail::gan_layer(spectral_norm, "embedding", Embedding<Scalar>(options.classes, channels)));
  }

  /// What it was made with.
  const GanOptions& options() const { return options_; }

  /// What flows through it, see Block.
  /// @{
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> images) const {
    require(options_.classes == 0, *this, ": takes images and labels, got one value");
    return run(*head_[0].module, features(run, std::move(images)));
  }
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> images, Value<Scalar> labels) const {
    require(options_.classes > 0, *this, ": takes images alone, got two values");
    Value<Scalar> h = features(run, std::move(images));
    Value<Scalar> y = run(*head_[0].module, h);
    return run(add_, std::move(y),
               run(project_, run(multiply_, run(*head_[1].module, std::move(labels)), std::move(h))));
  }
  /// @}
  Members<Scalar> members() override {
    Members<Scalar> result;
    for (std::size_t i = 0; i < blocks_.size(); ++i) result.push_back({text("block", i + 1), blocks_[i]});
    for (auto& context : context_) result.push_back({context.name, context.module.get()});
    for (auto& layer : head_) result.push_back({layer.name, layer.module.get()});
    return result;
  }
  Fields fields() const override { return detail::gan_fields("GanDiscriminator", options_); }

 private:
  Value<Scalar> features(Flow<Scalar>& run, Value<Scalar> x) const {
    const Shape& shape = x.shape();
    require<ShapeError>(shape.rank() == 4 && shape.tail(1) == Shape{options_.channels, options_.image, options_.image},
                        *this, ": expected images [N, ", options_.channels, ", ", options_.image, ", ", options_.image,
                        "], got shape ", shape);
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      x = run(blocks_[i], std::move(x));
      if (i + 1 == context_after_)
        for (const auto& context : context_) x = run(*context.module, std::move(x));
    }
    return run(sum_, run(relu_, std::move(x)));
  }

  GanOptions options_;
  std::vector<detail::DiscriminatorBlock<Scalar>> blocks_;
  std::vector<Child<Scalar>> context_;  // one or none
  std::size_t context_after_ = 0;       // how many blocks come before it
  std::vector<Child<Scalar>> head_;
  ReLU<Scalar> relu_;
  Reduce<Scalar> sum_{Aggregate::sum, {.axes = {2, 3}, .keep = false}}, project_{Aggregate::sum, {.axes = {1}}};
  Multiply<Scalar> multiply_;
  Add<Scalar> add_;
};

}  // namespace lamina::inline LAMINA_ABI
