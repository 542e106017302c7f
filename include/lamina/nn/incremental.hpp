#pragma once

#include <memory>
#include <string>
#include <utility>

#include "lamina/core/tensor.hpp"
#include "lamina/nn/tape.hpp"

/// Causal models pixel by pixel (Ramachandran et al. 2017, "Fast generation for convolutional autoregressive models"):
/// each layer keeps what it still needs of the pixels before and computes the new one only.
///
/// An image is scanned in raster order, at each pixel colour by colour. Module::incremental gives a module's form for a
/// scan: a state to which pixels are fed, for a whole batch at once. Containers compose the forms of their children.
/// A form gives the bits that infer gives at that pixel.
namespace lamina {

/// A place in an image.
struct Pixel {
  Index row, column;
};

/// What is known of a value stream while the forms of a model are made, module by module.
struct Scan {
  Index samples, rows, columns;
  /// Whether the stream depends on the pixel that is to be predicted, as the image itself does; a module of type A cuts
  /// that. And the first module that let it pass.
  bool sees_pixel = true;
  std::string through = {};
  /// The channels come in so many groups, of which each may see those before; 1: any channel sees any.
  Index groups = 1;

  /// A module that looks at the same pixel hands the stream on as it is.
  void pass(const ModuleBase& module) {
    if (through.empty()) through = module.name();
  }
};

/// A module in the course of a scan.
template <class Scalar>
class Incremental {
 public:
  virtual ~Incremental() = default;

  /// The result [N, M, 1, 1] at a pixel for the input [N, C, 1, 1] there. Pixels come in raster order; one may come
  /// several times, with more of its colours known.
  virtual Tensor<Scalar> step(Tensor<Scalar> x, Pixel at) = 0;

  /// The input at a pixel, now that all of it is known. The result is what follows from it at that pixel, or empty
  /// where nothing does because no later module looks at the pixel itself.
  virtual Tensor<Scalar> settle(Tensor<Scalar> x, Pixel at) { return step(std::move(x), at); }
};

namespace detail {

/// A module whose results depend on the same pixel's input only: infer of images of one pixel.
template <class Scalar, class M>
class Pointwise : public Incremental<Scalar> {
 public:
  explicit Pointwise(const M& module) : module_(module) {}
  Tensor<Scalar> step(Tensor<Scalar> x, Pixel) override { return module_.infer(std::move(x)); }

 private:
  const M& module_;
};

}  // namespace detail
}  // namespace lamina
