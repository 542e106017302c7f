#include "gan/model.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <utility>

#include "common/described.hpp"
#include "gan/images.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/nn/reparameterized.hpp"
#include "lamina/plot/charts.hpp"

namespace lamina::examples::gan {

namespace {
constexpr const char* kind = "gan generator";

GanOptions plain(GanOptions options) {
  options.spectral_norm = false;
  return options;
}
}  // namespace

Labels drawn_labels(Index n, Index classes, Random& random) {
  Labels labels({n});
  for (auto& label : labels.values()) label = static_cast<std::int32_t>(random.below(std::max<Index>(classes, 1)));
  return labels;
}

Values<float> generator_input(const GanOptions& network, const Tensor<float>& z, const Labels& labels) {
  Values<float> result(z);
  if (network.classes > 0) result.push_back(labels);
  return result;
}

Tensor<float> generate(const GanGenerator<float>& net, const Tensor<float>& z, const Labels& labels) {
  constexpr Index batch = 100;
  const GanOptions& o = net.options();
  Tensor<float> images({z.dim(0), o.channels, o.image, o.image});
  const Index size = images.numel() / std::max<Index>(z.dim(0), 1);
  float* const to = images.data();
  for (Index first = 0; first < z.dim(0); first += batch) {
    const Index last = std::min(z.dim(0), first + batch);
    const Tensor<float> part = net.infer(generator_input(o, z.slice(first, last), labels.slice(first, last)))[0];
    std::copy_n(part.data(), part.numel(), to + first * size);
  }
  return images;
}

void save_generator(const std::string& path, const GanGenerator<float>& net, const std::string& dataset) {
  const GanOptions& o = net.options();
  const auto number = [](Index value) { return std::to_string(value); };
  save_state_dict(path, plain_weights(net),
                  {{"kind", kind},
                   {"dataset", dataset},
                   {"image", number(o.image)},
                   {"channels", number(o.channels)},
                   {"classes", number(o.classes)},
                   {"latent", number(o.latent)},
                   {"width", number(o.width)},
                   {"context", o.context.word()}});
}

GanGenerator<float> load_generator(Settings& s) {
  const SafetensorsFile file(s.model);
  const auto word = [&](const char* key) {
    const auto entry = file.metadata().find(key);
    return entry == file.metadata().end() ? std::string() : entry->second;
  };
  require<FileError>(word("kind") == kind, s.model, ": not a generator of this program: expected kind '", kind,
                     "', found '", word("kind"), "'");
  const auto number = [&](const char* key) {
    Index value = 0;
    require<FileError>(CLI::detail::lexical_cast(word(key), value), s.model, ": ", key,
                       " should be a whole number, got '", word(key), "'");
    return value;
  };
  s.dataset = word("dataset");
  const std::vector<std::string> known{"digits", "mnist", "fashion-mnist", "cifar10"};
  require<FileError>(std::find(known.begin(), known.end(), s.dataset) != known.end(), s.model, ": unknown dataset '",
                     s.dataset, "'");
  s.network.image = number("image");
  s.network.channels = number("channels");
  s.network.classes = number("classes");
  s.network.latent = number("latent");
  s.network.width = number("width");
  const double width = static_cast<double>(s.network.width);
  return described_network(file, 100 * width * width, [&] {
    s.network.context = word("context");
    return GanGenerator<float>(plain(s.network));
  });
}

void write_sheet(const std::string& path, const Tensor<float>& images, const std::string& title, Index columns) {
  const Index side = images.dim(3);
  write_png(path, plot_images(from_network(images, side), {},
                              {.title = title, .columns = columns, .cell = side >= 64 ? side : 2 * side}));
}

}  // namespace lamina::examples::gan
