#include "gan/images.hpp"

#include <algorithm>
#include <utility>

#include "lamina/data/digits.hpp"
#include "lamina/io/datasets.hpp"

namespace lamina::examples::gan {

TensorDataset<float> load_images(const Settings& s, bool train) {
  constexpr Index training = 60000;
  if (s.dataset == "digits")
    return digits(train ? std::min(s.limit_train, training) : 10000, {.first = train ? 0 : training});
  const std::string dir = data_directory(s.data);
  return s.dataset == "mnist"           ? load_mnist(dir, train)
         : s.dataset == "fashion-mnist" ? load_fashion_mnist(dir, train)
                                        : load_cifar10(dir, train);
}

Index channels_of(const std::string& dataset) { return dataset == "cifar10" ? 3 : 1; }
Index side_of(const std::string& dataset) { return dataset == "cifar10" ? 32 : 28; }

namespace {
/// The middle of images, or their middle within a border: f of what is there, `border` elsewhere.
template <class F>
Tensor<float> centred(const Tensor<float>& images, Index side, float border, F f) {
  const Index n = images.dim(0) * images.dim(1), own = images.dim(2), shift = (side - own) / 2;
  Tensor<float> result = Tensor<float>::full({images.dim(0), images.dim(1), side, side}, border);
  float* const to = result.data();
  const Index first = std::max<Index>(0, shift), last = std::min(side, own + shift);
  for (Index plane = 0; plane < n; ++plane)
    for (Index i = first; i < last; ++i)
      for (Index j = first; j < last; ++j)
        to[(plane * side + i) * side + j] = f(images.data()[(plane * own + i - shift) * own + j - shift]);
  return result;
}
}  // namespace

Tensor<float> to_network(const Tensor<float>& images, Index side) {
  return centred(images, side, -1, [](float x) { return 2 * x - 1; });
}
Tensor<float> from_network(const Tensor<float>& images, Index side) {
  return centred(images, side, 0, [](float x) { return std::clamp((x + 1) / 2, 0.0f, 1.0f); });
}

Example<float> pick(const TensorDataset<float>& images, std::span<const Index> places) {
  const Shape shape = images.input_shape();
  const auto count = static_cast<Index>(places.size());
  Tensor<float> inputs(shape.batch(count));
  Labels labels({count});
  float* const to = inputs.data();
  for (Index i = 0; i < count; ++i) {
    const Example<float> example = images.get(places[static_cast<std::size_t>(i)]);
    std::copy_n(example.input.data(), shape.numel(), to + i * shape.numel());
    labels.data()[i] = example.target.item();
  }
  return {std::move(inputs), std::move(labels)};
}

}  // namespace lamina::examples::gan
