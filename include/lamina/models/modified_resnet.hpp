#pragma once

#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "lamina/models/clip.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/image_tokens.hpp"
#include "lamina/nn/query_attention.hpp"
#include "lamina/nn/relu.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of ModifiedResNet; the defaults are CLIP's RN50.
struct ModifiedResNetOptions {
  Index image_size = 224;                   ///< side of the images
  std::array<Index, 4> layers{3, 4, 6, 3};  ///< bottlenecks of each stage
  Index width = 64;                         ///< channels of the stem; the last features have 32 times as many
  Index heads = 32;                         ///< of the attention pooling
  Index projection = 1024;                  ///< size of the embeddings
};

/// CLIP's attention pooling: a transformer's attention layer whose only query is the mean of the pixels.
///
///   t = [mean(x); x] + positions,   y = c_proj(QueryAttention(q_proj t[0], k_proj t, v_proj t))
///
/// Shapes: x [N, features, H, W] with `pixels` = H W, y [N, projection]. Weights start from N(0, 1 / features).
template <class Scalar = float>
class AttentionPool2d : public Block<AttentionPool2d<Scalar>, Scalar> {
 public:
  ImageTokens<Scalar> tokens;  ///< the mean and the positions
  /// The maps to the query, keys and values, and of the joined heads.
  /// @{
  Linear<Scalar> q_proj, k_proj, v_proj, c_proj;
  /// @}

  /// Shapes, defaults and errors are said at the class and its parts.
  AttentionPool2d(Index pixels, Index features, Index heads, Index projection)
      : tokens(pixels, features, {.mean = true}),
        q_proj(features, features),
        k_proj(features, features),
        v_proj(features, features),
        c_proj(features, projection),
        attend_(features, heads) {
    for (auto* map : {&q_proj, &k_proj, &v_proj, &c_proj})
      init::normal(map->weight.value, 0, 1 / std::sqrt(static_cast<double>(features)));
  }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> images) const {
    Value<Scalar> x = run(tokens, std::move(images));
    Value<Scalar> query = run(q_proj, run(first_, x)), keys = run(k_proj, x), values = run(v_proj, std::move(x));
    return run(c_proj, run(attend_, std::move(query), std::move(keys), std::move(values)));
  }
  Members<Scalar> members() override {
    return {{"", tokens}, {"k_proj", k_proj}, {"q_proj", q_proj}, {"v_proj", v_proj}, {"c_proj", c_proj}};
  }

 private:
  QueryAttention<Scalar> attend_;
  FirstToken<Scalar> first_;
};

namespace detail {

/// relu(F(x) + shortcut(x)): F is 1x1, 3x3, an average over stride x stride, 1x1 to four times the channels.
template <class Scalar>
Sequential<Scalar> clip_bottleneck(Index in, Index channels, Index stride) {
  using Conv = Conv2d<Scalar>;
  using Norm = BatchNorm2d<Scalar>;
  const Index out = 4 * channels;
  Sequential<Scalar> residual{{"conv1", Conv(in, channels, 1, {.bias = false})},
                              {"bn1", Norm(channels)},
                              {"", ReLU<Scalar>()},
                              {"conv2", Conv(channels, channels, 3, {.padding = 1, .bias = false})},
                              {"bn2", Norm(channels)},
                              {"", ReLU<Scalar>()}};
  if (stride > 1) residual.add("", AvgPool2d<Scalar>(stride));
  residual.add("conv3", Conv(channels, out, 1, {.bias = false}));
  Norm last(out);
  last.weight.value.fill(0);  // the block begins as its shortcut
  residual.add("bn3", std::move(last));
  Child<Scalar> shortcut("", Identity<Scalar>());
  if (stride > 1 || in != out) {
    Sequential<Scalar> projection;
    if (stride > 1) projection.add("", AvgPool2d<Scalar>(stride));
    projection.add("0", Conv(in, out, 1, {.bias = false}));
    projection.add("1", Norm(out));
    shortcut = Child<Scalar>("downsample", std::move(projection));
  }
  return {{"", Sum<Scalar>{{"", std::move(residual)}, std::move(shortcut)}}, {"", ReLU<Scalar>()}};
}

}  // namespace detail

/// CLIP's ResNet (Radford et al. 2021, section 2.4): three 3x3 convolutions and an average in place of the 7x7 and the
/// maximum (ResNet-D), an average before every strided convolution (Zhang 2019), attention in place of the average at
/// the end.
///
/// Shapes: images [N, 3, S, S] -> [N, projection]. The state_dict keys are OpenAI's, "conv1.weight" to
/// "attnpool.c_proj.bias". Throws ShapeError for images of another size, ValueError for a size that 32 does not divide.
template <class Scalar = float>
Sequential<Scalar> modified_resnet(const ModifiedResNetOptions& options = {}) {
  require(options.image_size >= 32 && options.image_size % 32 == 0,
          "modified_resnet: expected an image_size that is a multiple of 32, got ", options.image_size);
  require(options.width >= 2 && options.width % 2 == 0, "modified_resnet: expected an even width, got ", options.width);
  const Index width = options.width;
  Sequential<Scalar> net;
  const auto convolution = [&](const std::string& number, Index in, Index out, Index stride) {
    net.add("conv" + number, Conv2d<Scalar>(in, out, 3, {.stride = stride, .padding = 1, .bias = false}));
    net.add("bn" + number, BatchNorm2d<Scalar>(out));
    net.add("", ReLU<Scalar>());
  };
  convolution("1", 3, width / 2, 2);
  convolution("2", width / 2, width / 2, 1);
  convolution("3", width / 2, width, 1);
  net.add("", AvgPool2d<Scalar>(2));
  Index in = width;
  for (Index stage = 0; stage < 4; ++stage) {
    const Index channels = width << stage;
    Sequential<Scalar> blocks;
    for (Index i = 0; i < options.layers[static_cast<std::size_t>(stage)]; ++i) {
      blocks.add(detail::clip_bottleneck<Scalar>(in, channels, stage > 0 && i == 0 ? 2 : 1));
      in = 4 * channels;
    }
    net.add("layer" + std::to_string(stage + 1), std::move(blocks));
  }
  const Index side = options.image_size / 32;
  net.add("attnpool", AttentionPool2d<Scalar>(side * side, in, options.heads, options.projection));
  return net;
}

}  // namespace lamina::inline LAMINA_ABI
