#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "lamina/models/blocks.hpp"
#include "lamina/nn/add.hpp"
#include "lamina/nn/at_input_size.hpp"
#include "lamina/nn/cat.hpp"
#include "lamina/nn/drop_path.hpp"
#include "lamina/nn/dropout2d.hpp"
#include "lamina/nn/gelu.hpp"
#include "lamina/nn/group_norm.hpp"
#include "lamina/nn/hamburger/nmf.hpp"
#include "lamina/nn/layer_norm.hpp"
#include "lamina/nn/layer_scale.hpp"
#include "lamina/nn/multiply.hpp"
#include "lamina/nn/tensor/reshape.hpp"

namespace lamina::inline LAMINA_ABI {

/// The multi-scale convolutional attention of SegNeXt (Guo et al. 2022, equations 1 and 2): x times
///
///   conv3(a + c0(a) + c1(a) + c2(a)),    a = conv0(x)
///
/// where conv0 is a depthwise 5x5, c0, c1, c2 are depthwise strips, 1xK and then Kx1, for K = 7, 11, 21, and conv3 is
/// 1x1; all have biases. Shapes: x and y [N, channels, H, W].
template <class Scalar = float>
class MultiScaleAttention : public Block<MultiScaleAttention<Scalar>, Scalar> {
 public:
  Conv2d<Scalar> conv0;                ///< 5x5
  std::vector<Conv2d<Scalar>> strips;  ///< conv0_1, conv0_2, conv1_1, conv1_2, conv2_1, conv2_2
  Conv2d<Scalar> conv3;                ///< 1x1

  /// Shapes, defaults and errors are said at the class.
  explicit MultiScaleAttention(Index channels)
      : conv0(depthwise(channels, 5, 5)), conv3(channels, channels, 1), channels_(channels) {
    for (const Index k : {7, 11, 21}) {
      strips.push_back(depthwise(channels, 1, k));
      strips.push_back(depthwise(channels, k, 1));
    }
  }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    const Value<Scalar> a = run(conv0, x);
    Value<Scalar> sum = a;
    for (std::size_t i = 0; i < strips.size(); i += 2)
      sum = run(add_, std::move(sum), run(strips[i + 1], run(strips[i], a)));
    return run(multiply_, run(conv3, std::move(sum)), std::move(x));
  }
  Members<Scalar> members() override {
    Members<Scalar> result{{"conv0", conv0}};
    for (std::size_t i = 0; i < strips.size(); ++i) result.push_back({text("conv", i / 2, "_", i % 2 + 1), strips[i]});
    result.push_back({"conv3", conv3});
    result.push_back({"", add_});
    result.push_back({"", multiply_});
    return result;
  }
  Fields fields() const override { return Fields("MultiScaleAttention").argument("channels", channels_); }

 private:
  static Conv2d<Scalar> depthwise(Index channels, Index h, Index w) {
    return Conv2d<Scalar>(channels, channels, {h, w}, {.padding = Padding(h / 2, w / 2), .groups = channels});
  }

  Add<Scalar> add_;
  Multiply<Scalar> multiply_;
  Index channels_;
};

/// A block of MSCAN (Guo et al. 2022, figure 2): two residual branches, each behind a BatchNorm and times a LayerScale,
///
///   h = x + drop_path(layer_scale_1 (n + proj_2(attention(gelu(proj_1(n))))),    n = norm1(x)
///   y = h + drop_path(layer_scale_2 fc2(gelu(dwconv(fc1(norm2(h))))))
///
/// where fc1, fc2, proj_1, proj_2 are 1x1 convolutions and dwconv is a depthwise 3x3. Shapes: x and y [N, channels, H,
/// W].
template <class Scalar = float>
class MscanBlock : public Block<MscanBlock<Scalar>, Scalar> {
 public:
  /// The parts, as above; the attention's key is attn.spatial_gating_unit, and mlp is fc1, dwconv.dwconv, GELU, fc2.
  /// @{
  BatchNorm2d<Scalar> norm1, norm2;
  Conv2d<Scalar> proj_1, proj_2;
  MultiScaleAttention<Scalar> attention;
  Sequential<Scalar> mlp;
  LayerScale<Scalar> layer_scale_1, layer_scale_2;
  /// @}

  /// The hidden channels of the second branch are expansion * channels.
  MscanBlock(Index channels, double expansion, double drop_path = 0)
      : norm1(channels),
        norm2(channels),
        proj_1(channels, channels, 1),
        proj_2(channels, channels, 1),
        attention(channels),
        layer_scale_1(channels, 1e-2, "layer_scale_1"),
        layer_scale_2(channels, 1e-2, "layer_scale_2"),
        drop_path_(drop_path),
        channels_(channels) {
    const Index hidden = detail::scaled("MscanBlock", channels, expansion);
    const Conv2d<Scalar> depthwise(hidden, hidden, 3, {.padding = 1, .groups = hidden});
    mlp = {{"fc1", Conv2d<Scalar>(channels, hidden, 1)},
           {"dwconv", Sequential<Scalar>{{"dwconv", depthwise}}},
           {"act", GELU<Scalar>()},
           {"fc2", Conv2d<Scalar>(hidden, channels, 1)}};
  }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    const Value<Scalar> n = run(norm1, x);
    Value<Scalar> a = run(add_, run(proj_2, run(attention, run(gelu_, run(proj_1, n)))), n);
    const Value<Scalar> h = run(add_, std::move(x), run(drop_path_, run(layer_scale_1, std::move(a))));
    return run(add_, h, run(drop_path_, run(layer_scale_2, run(mlp, run(norm2, h)))));
  }
  Members<Scalar> members() override {
    return {{"norm1", norm1},
            {"attn.proj_1", proj_1},
            {"", gelu_},
            {"attn.spatial_gating_unit", attention},
            {"attn.proj_2", proj_2},
            {"", add_},
            {"", layer_scale_1},
            {"", drop_path_},
            {"norm2", norm2},
            {"mlp", mlp},
            {"", layer_scale_2}};
  }
  Fields fields() const override { return Fields("MscanBlock").argument("channels", channels_); }

 private:
  GELU<Scalar> gelu_;
  Add<Scalar> add_;
  DropPath<Scalar> drop_path_;
  Index channels_;
};

/// Options of Mscan; the default is MSCAN-T.
struct MscanOptions {
  Index in_channels = 3;                          ///< of the images
  std::vector<Index> channels{32, 64, 160, 256};  ///< of each stage
  std::vector<double> expansions{8, 8, 4, 4};     ///< of the blocks' second branches
  std::vector<Index> depths{3, 3, 5, 2};          ///< blocks of each stage
  double drop_path = 0.1;                         ///< of the last block; it grows linearly from 0 in the first
};

/// The backbone of SegNeXt (Guo et al. 2022, section 3.1): images [N, in_channels, H, W] -> a value for each stage, [N,
/// channels, H / S, W / S] with S = 4, 8, 16, ..., rounded up. A stage is an embedding, blocks and a LayerNorm over the
/// channels; the first embedding is two 3x3/2 convolutions, the others are one. Keys of the state are those of the
/// authors' program. Throws ValueError for lists of different lengths, or none.
template <class Scalar = float>
class Mscan : public Block<Mscan<Scalar>, Scalar> {
 public:
  /// One stage, patch_embedI, blockI and normI.
  struct Stage {
    Sequential<Scalar> embed;   ///< halves the sides, or, the first one, quarters them
    Sequential<Scalar> blocks;  ///< MscanBlocks
    LayerNorm<Scalar> norm;     ///< over the channels
  };
  std::vector<Stage> stages;  ///< the first one at a quarter of the image's size

  /// Shapes, defaults and errors are said at the class.
  explicit Mscan(const MscanOptions& options = {}) {
    const std::size_t n = options.channels.size();
    require(n >= 1 && options.expansions.size() == n && options.depths.size() == n,
            "Mscan: expected channels, expansions and depths of as many stages, got ", n, ", ",
            options.expansions.size(), " and ", options.depths.size());
    Index blocks = 0, block = 0;
    for (const Index depth : options.depths) blocks += depth;
    for (std::size_t i = 0; i < n; ++i) {
      const Index c = options.channels[i];
      Stage stage{
          i == 0 ? stem(options.in_channels, c) : embedding(options.channels[i - 1], c), {}, LayerNorm<Scalar>(c)};
      for (Index j = 0; j < options.depths[i]; ++j, ++block) {
        const double share = blocks > 1 ? static_cast<double>(block) / static_cast<double>(blocks - 1) : 0;
        stage.blocks.add(MscanBlock<Scalar>(c, options.expansions[i], options.drop_path * share));
      }
      stages.push_back(std::move(stage));
    }
    for_each<Conv2d<Scalar>>(*this, [](Conv2d<Scalar>& conv) {
      const Shape& w = conv.weight.value.shape();  // N(0, 2 / (fan out / groups)), as the authors
      const double fan = static_cast<double>(w[0] * w[2] * w[3] / conv.options().groups);
      init::normal(conv.weight.value, 0, std::sqrt(2 / fan));
      conv.bias.value.fill(0);
    });
  }

  /// What flows through it, see Block.
  Values<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    Values<Scalar> results;
    for (const Stage& stage : stages) {
      x = run(stage.blocks, run(stage.embed, std::move(x)));
      x = run(to_first_, run(stage.norm, run(to_last_, std::move(x))));
      results.push_back(x);
    }
    return results;
  }
  Members<Scalar> members() override {
    Members<Scalar> result{{"", to_last_}, {"", to_first_}};
    for (std::size_t i = 0; i < stages.size(); ++i) {
      result.push_back({text("patch_embed", i + 1), stages[i].embed});
      result.push_back({text("block", i + 1), stages[i].blocks});
      result.push_back({text("norm", i + 1), stages[i].norm});
    }
    return result;
  }
  Fields fields() const override { return Fields("Mscan").argument("stages", static_cast<Index>(stages.size())); }

 private:
  static Sequential<Scalar> stem(Index in, Index out) {
    return {{"proj", Sequential<Scalar>{Conv2d<Scalar>(in, out / 2, 3, {.stride = 2, .padding = 1}),
                                        BatchNorm2d<Scalar>(out / 2), GELU<Scalar>(),
                                        Conv2d<Scalar>(out / 2, out, 3, {.stride = 2, .padding = 1}),
                                        BatchNorm2d<Scalar>(out)}}};
  }
  static Sequential<Scalar> embedding(Index in, Index out) {
    return {{"proj", Conv2d<Scalar>(in, out, 3, {.stride = 2, .padding = 1})}, {"norm", BatchNorm2d<Scalar>(out)}};
  }

  Permute<Scalar> to_last_{{0, 2, 3, 1}}, to_first_{{0, 3, 1, 2}};
};

/// Options of LightHam.
struct LightHamOptions {
  Index channels = 256;        ///< of the Hamburger
  Index aligned = 256;         ///< of the features that are classified
  Index norm_groups = 32;      ///< of GroupNorm
  bool align_corners = false;  ///< of the resizing
  double dropout = 0.1;        ///< before the classifier
  /// Of the NMF. In training the authors let the gradient go through all steps.
  HamOptions ham{.rank = 16, .gradient = HamGradient::bptt};
};

/// The head LightHam (Geng et al. 2021; Guo et al. 2022, section 3.2): features of several stages, the largest first,
/// give logits [N, classes, h, w] of the first one's size,
///
///   squeeze      of all together, resized to the first one's size: 1x1, channels
///   hamburger    relu(x + ham_out(NMF(relu(ham_in(x)))))
///   align        1x1, aligned
///   conv_seg     Dropout2d, 1x1, classes
///
/// where squeeze, ham_out and align are convolutions with GroupNorm, the first and the last with ReLU. Keys of the
/// state are the authors'. Throws ValueError for another number of features, and as its parts.
template <class Scalar = float>
class LightHam : public Block<LightHam<Scalar>, Scalar> {
 public:
  /// The parts, as above.
  /// @{
  Sequential<Scalar> squeeze;
  Conv2d<Scalar> ham_in;
  NMF<Scalar> ham;
  Sequential<Scalar> ham_out, align;
  Conv2d<Scalar> conv_seg;
  /// @}

  /// Of features with so many channels each.
  LightHam(std::vector<Index> in_channels, Index classes, const LightHamOptions& options = {})
      : squeeze(conv(sum(in_channels), options.channels, options, true)),
        ham_in(options.channels, options.channels, 1),
        ham(options.ham),
        ham_out(conv(options.channels, options.channels, options, false)),
        align(conv(options.channels, options.aligned, options, true)),
        conv_seg(options.aligned, classes, 1),
        dropout_(options.dropout),
        resize_({.mode = InterpolateMode::bilinear, .align_corners = options.align_corners}),
        inputs_(in_channels.size()) {
    init::normal(conv_seg.weight.value, 0, 0.01);
    conv_seg.bias.value.fill(0);
  }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Values<Scalar> features) const {
    require(features.size() == inputs_, *this, ": takes ", inputs_, " values, got ", features.size());
    for (std::size_t i = 1; i < inputs_; ++i) features[i] = run(resize_, std::move(features[i]), features[0]);
    const Value<Scalar> x = run(squeeze, std::move(run.all(cat_, std::move(features))[0]));
    Value<Scalar> y = run(ham_out, run(ham, run(relu_, run(ham_in, x))));
    return run(conv_seg, run(dropout_, run(align, run(relu_, run(add_, x, std::move(y))))));
  }
  Members<Scalar> members() override {
    return {{"conv_seg", conv_seg},
            {"", dropout_},
            {"", resize_},
            {"", cat_},
            {"squeeze", squeeze},
            {"hamburger.ham_in.conv", ham_in},
            {"", relu_},
            {"hamburger.ham", ham},
            {"hamburger.ham_out", ham_out},
            {"", add_},
            {"align", align}};
  }
  Fields fields() const override { return Fields("LightHam").argument("inputs", static_cast<Index>(inputs_)); }

 private:
  static Index sum(const std::vector<Index>& channels) {
    Index total = 0;
    for (const Index c : channels) total += c;
    return total;
  }
  static Sequential<Scalar> conv(Index in, Index out, const LightHamOptions& options, bool activated) {
    Sequential<Scalar> result{{"conv", Conv2d<Scalar>(in, out, 1, {.bias = false})},
                              {"gn", GroupNorm<Scalar>(options.norm_groups, out)}};
    detail::initialise_for_relu(result);
    if (activated) result.add("activate", ReLU<Scalar>());
    return result;
  }

  Dropout2d<Scalar> dropout_;
  BackToImages<Scalar> resize_;
  Cat<Scalar> cat_;
  ReLU<Scalar> relu_;
  Add<Scalar> add_;
  std::size_t inputs_;
};

/// Options of SegNeXt; the default is SegNeXt-T for ADE20K.
struct SegNeXtOptions {
  Index classes = 150;      ///< K
  MscanOptions backbone{};  ///< of four stages or more
  LightHamOptions head{};   ///< sees all stages but the first
};

/// SegNeXt (Guo et al. 2022, "SegNeXt: rethinking convolutional attention design for semantic segmentation"): images
/// [N, in_channels, H, W] -> logits [N, classes, H, W], those of the head resized bilinearly. 4.3 M parameters by
/// default. Keys of the state are the authors' program's: backbone.patch_embed1.proj.0.weight,
/// decode_head.conv_seg.weight and so on. Errors are those of the parts.
template <class Scalar = float>
class SegNeXt : public Block<SegNeXt<Scalar>, Scalar> {
 public:
  Mscan<Scalar> backbone;        ///< gives a value for each stage
  LightHam<Scalar> decode_head;  ///< sees all but the first

  /// Shapes, defaults and errors are said at the class.
  explicit SegNeXt(const SegNeXtOptions& options = {})
      : backbone(options.backbone),
        decode_head(std::vector<Index>(options.backbone.channels.begin() + 1, options.backbone.channels.end()),
                    options.classes, options.head),
        resize_({.mode = InterpolateMode::bilinear, .align_corners = options.head.align_corners}) {}

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    Values<Scalar> stages = run.all(backbone, x), seen;
    for (std::size_t i = 1; i < stages.size(); ++i) seen.push_back(std::move(stages[i]));
    return run(resize_, std::move(run.all(decode_head, std::move(seen))[0]), std::move(x));
  }
  Members<Scalar> members() override { return {{"backbone", backbone}, {"decode_head", decode_head}, {"", resize_}}; }
  Fields fields() const override { return Fields("SegNeXt"); }

 private:
  BackToImages<Scalar> resize_;
};

}  // namespace lamina::inline LAMINA_ABI
