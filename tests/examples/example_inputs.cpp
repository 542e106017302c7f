// Writes into a folder what the tests of programs for photographs need: weights that are a formula, photographs that
// are one, and bad files. classify_image_expected.py has the same formulas.

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "common/networks.hpp"
#include "lamina/io/file.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/lamina.hpp"  // layers are lamina::compiled's
#include "lamina/models/deeplab.hpp"
#include "lamina/models/pixelcnn.hpp"

using namespace lamina;

namespace {

/// Value i of parameter or buffer number `place` is center + scale * sin(i * i + place), which depends on i as if
/// drawn.
void fill(Module<float>& net) {
  StateDict<float> state = state_dict(std::as_const(net));
  Index place = 0;
  for (auto& [key, value] : state) {
    auto* tensor = std::get_if<Tensor<float>>(&value);
    if (!tensor) continue;
    const Shape shape = tensor->shape();
    double center = 0, scale = 0.1;
    if (shape.rank() > 1)
      scale = 1.8 / std::sqrt(static_cast<double>(shape.numel() / shape[0]));
    else if (!key.ends_with("bias") && !key.ends_with("running_mean"))
      center = 1, scale = 0.3;
    for (Index i = 0; i < tensor->numel(); ++i)
      tensor->data()[i] = static_cast<float>(center + scale * std::sin(static_cast<double>(i * i + place)));
    ++place;
  }
  load_state_dict(net, state);
}

Tensor<std::uint8_t> photograph(Index height, Index width) {
  Tensor<std::uint8_t> image({3, height, width});
  for (Index c = 0; c < 3; ++c)
    for (Index y = 0; y < height; ++y)
      for (Index x = 0; x < width; ++x)
        image(c, y, x) = static_cast<std::uint8_t>((x * x + 3 * y * y + 40 * c * x + 7 * x * y) / 50 % 256);
  return image;
}

/// Pictures of a few sizes, one of them a single pixel, in which every channel differs a little from its value; `name`
/// is that of their class.
void write_class(const std::string& folder, const std::string& name, const std::vector<int>& channels) {
  std::filesystem::create_directories(folder + "/" + name);
  for (Index i = 0; i < 12; ++i) {
    const Index height = i == 0 ? 1 : 15 + 3 * i, width = i == 0 ? 1 : 60 - 4 * i;
    Tensor<std::uint8_t> image({static_cast<Index>(channels.size()), height, width});
    for (Index k = 0; k < image.numel(); ++k) {
      const int value = channels[static_cast<std::size_t>(k / (height * width))];
      image.data()[k] = static_cast<std::uint8_t>(value + (7 * k * k + 13 * i) % 40);
    }
    write_png(text(folder, "/", name, "/", 10 + i, ".png"), image);
  }
}

}  // namespace

int main(int, char** argv) {
  const std::string folder = argv[1] + std::string("/");
  const auto net = examples::find_network("mobilenet_v3_small").make({.channels = 3, .classes = 1000});
  fill(*net);
  save_state_dict(folder + "weights.safetensors", state_dict(std::as_const(*net)));
  auto deeplab = deeplab_v3<float>();
  fill(deeplab);
  save_state_dict(folder + "deeplab.safetensors", state_dict(std::as_const(deeplab)));
  auto listing = pixelcnn<float>({.blocks = 2, .hidden = 6, .levels = 4});  // the usual PyTorch listing's names
  fill(listing);
  save_state_dict(folder + "listing.safetensors", state_dict(std::as_const(listing)));
  write_png(folder + "wide.png", photograph(300, 411));
  write_png(folder + "small.png", photograph(90, 61));
  std::string names;
  for (int i = 0; i < 1000; ++i) names += "class number " + std::to_string(i) + "\r\n";
  write_file_atomically(folder + "names.txt", names);
  write_file_atomically(folder + "seven.txt", std::string("1\n2\n3\n4\n5\n6\n7\n"));
  write_class(folder + "photos", "green", {20, 180, 30});
  write_class(folder + "photos", "grey", {90});
  write_class(folder + "photos", "red", {190, 40, 10, 100});
  write_safetensors(folder + "unknown.safetensors", {},
                    {{"model", "resnet19"}, {"options", "{}"}, {"classes", "[]"}, {"preparation", "{}"}});
  const std::string lenet =
      R"({"auxiliary_heads":false,"channels":1,"dropout":null,"hidden":null,"side":28,"width":1})";
  write_safetensors(folder + "wrong.safetensors", {},
                    {{"model", "lenet"},
                     {"options", lenet},
                     {"classes", R"(["a","b"])"},
                     {"preparation", R"({"resize":28,"crop":28,"mean":[0.5],"std":[0]})"}});
  write_safetensors(folder + "damaged.safetensors", {},
                    {{"model", "lenet"}, {"options", lenet}, {"classes", R"(["a")"}, {"preparation", "{}"}});
  Bytes png = read_file(folder + "small.png");
  png.resize(png.size() / 2);
  write_file_atomically(folder + "cut.png", png);
  return 0;
}
