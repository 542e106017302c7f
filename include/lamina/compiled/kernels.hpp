#pragma once

// What kernels.inc speaks of.

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "lamina/lamina.hpp"

#define LAMINA_BARE(...) __VA_ARGS__

namespace lamina::kernels {

// Bytes of the chosen instruction set's vectors.
int width_of_kernels();

}  // namespace lamina::kernels

#ifdef LAMINA_DISPATCHED
// They are in lamina::compiled, and not to be made of the templates.
namespace lamina::kernels::inline chosen {
#define LAMINA_KERNEL(result, form, kernel, parameters, arguments) \
  template <>                                                      \
  result LAMINA_BARE kernel parameters;
#define LAMINA_SCALAR float
#include "lamina/compiled/kernels.inc"
#undef LAMINA_SCALAR
#define LAMINA_SCALAR double
#include "lamina/compiled/kernels.inc"
#undef LAMINA_SCALAR
#undef LAMINA_KERNEL
}  // namespace lamina::kernels::inline chosen
#endif
