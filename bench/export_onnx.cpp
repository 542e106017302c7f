// export_onnx FOLDER: writes NAME.onnx for each of exported_networks(), and prints a line for each: its name, the type
// of its input, the largest id, and its shape.

#include <cstdio>
#include <exception>

#include "exported.hpp"
#include "lamina/compiled/onnx.hpp"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: export_onnx FOLDER\n");
    return 2;
  }
  try {
    for (const auto& network : lamina::bench::exported_networks()) {
      lamina::manual_seed(0);
      lamina::save_onnx(lamina::text(argv[1], "/", network.name, ".onnx"), *network.make(), network.shape);
      std::printf("%s %s %td", network.name, network.vocabulary ? "int64" : "float32", network.vocabulary);
      for (int axis = 0; axis < network.shape.rank(); ++axis) std::printf(" %td", network.shape[axis]);
      std::printf("\n");
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
