// Writes ONNX files with inputs and results, for onnxruntime and the checker to look at: export_sweep FOLDER KIND
// [SEED].
//
//   layers, small, large    of tests/onnx/sweep/cases.hpp: NAME.onnx, and NAME.safetensors with x (or x0, x1, ...) and
//   y
//                           (y0, ...), the tolerance among its metadata
//   foreign                 every NAME.onnx that lies there without a NAME.safetensors, as load_onnx computes it
//
// What load_onnx makes of a file of ours must give the same, and have the same state; otherwise the program fails.

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>

#include "cases.hpp"
#include "lamina/compiled/onnx.hpp"
#include "lamina/io/safetensors.hpp"

using namespace lamina;
namespace fs = std::filesystem;

namespace {

/// The larger of the largest |a - b| / (1 + the largest |b|) and the relative L2 error; infinite for other shapes and
/// what is not finite.
double difference(const Tensor<float>& a, const Tensor<float>& b) {
  if (a.shape() != b.shape()) return HUGE_VAL;
  if (a.empty()) return 0;
  const auto x = a.array().cast<double>(), y = b.array().cast<double>();
  const double worst = (x - y).abs().maxCoeff() / (1 + y.abs().maxCoeff());
  const double squares = (x - y).square().sum(), total = y.square().sum();
  const double error = squares == 0 ? worst : std::max(worst, std::sqrt(squares / total));
  return error <= 1 && total < HUGE_VAL ? error : HUGE_VAL;
}

Values<float> values_of(const std::vector<Tensor<float>>& tensors) {
  Values<float> result;
  for (const auto& tensor : tensors) result.push_back(tensor);
  return result;
}

void write_tensors(const std::string& path, const std::vector<std::string>& inputs, const std::vector<Tensor<float>>& x,
                   const std::vector<std::string>& outputs, const Few<Tensor<float>>& y, double tolerance) {
  NamedTensors tensors;
  for (std::size_t i = 0; i < x.size(); ++i) tensors.emplace_back(inputs[i], x[i]);
  for (std::size_t i = 0; i < y.size(); ++i) tensors.emplace_back(outputs[i], y[i]);
  write_safetensors(path, tensors, {{"tolerance", text(tolerance)}});
}

/// Names as save_onnx gives them.
std::vector<std::string> names(const char* letter, std::size_t count) {
  return onnx::detail::names("", {}, letter, count);
}

bool write(const std::string& folder, const sweep::Case& one) {
  const std::string path = folder + "/" + one.name;
  const auto shapes = [&] {
    Values<float> result;
    for (const auto& x : one.inputs) result.push_back(Value<float>::of_shape(x.shape()));
    return result;
  };
  const Few<Tensor<float>> y = one.module->infer(values_of(one.inputs));
  save_onnx(path + ".onnx", *one.module, shapes());
  write_tensors(path + ".safetensors", names("x", one.inputs.size()), one.inputs, names("y", y.size()), y,
                one.tolerance);
  const OnnxModel<float> loaded = load_onnx(path + ".onnx");
  const Few<Tensor<float>> again = loaded.infer(values_of(one.inputs));
  double worst = 0;
  for (std::size_t i = 0; i < y.size(); ++i) worst = std::max(worst, difference(again[i], y[i]));
  const bool same = worst <= one.tolerance;
  std::printf("%-32s %9.2e %s\n", one.name.c_str(), worst, same ? "" : "DIFFERS");
  return same;
}

/// Inputs for a model that somebody else has written.
void write_foreign(const fs::path& file) {
  const OnnxModel<float> model = load_onnx(file.string());
  Random random(1);
  std::vector<std::string> inputs, outputs;
  std::vector<Tensor<float>> x;
  for (const auto& port : model.inputs()) {
    inputs.push_back(port.name);
    x.push_back(random.normal<float>(Shape(std::span<const Index>(port.extents))));
  }
  for (const auto& port : model.outputs()) outputs.push_back(port.name);
  write_tensors(fs::path(file).replace_extension("safetensors").string(), inputs, x, outputs, model.infer(values_of(x)),
                1e-5);
  std::printf("%s: %td layers\n", file.filename().c_str(), model.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::printf("usage: export_sweep FOLDER layers|small|large|foreign [SEED]\n");
    return 2;
  }
  const std::string folder = argv[1], kind = argv[2];
  const std::uint64_t seed = argc > 3 ? std::stoull(argv[3]) : 1;
  fs::create_directories(folder);
  int count = 0, failed = 0;
  sweep::Sweep cases(seed, [&](sweep::Case one) {
    ++count;
    try {
      failed += !write(folder, one);
    } catch (const Error& error) {
      std::printf("%s: %s: %s\n", one.name.c_str(), one.module->name().c_str(), error.what());
      ++failed;
    }
  });
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  if (kind == "layers") all_layers(cases);
  if (kind == "small") small_models(cases);
  if (kind == "large") large_models(cases);
  if (kind == "foreign")
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".onnx" && !fs::exists(fs::path(entry.path()).replace_extension("safetensors"))) {
        ++count;
        write_foreign(entry.path());
      }
  std::printf("%d files, %d failed\n", count, failed);
  return count > 0 && failed == 0 ? 0 : 1;
}
