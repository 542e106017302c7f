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

#ifdef LAMINA_COMPILED
// They are in lamina::compiled, and not to be made of the templates. For several instruction sets they lead to the
// chosen one's; for one they are instantiated there.
namespace lamina::kernels::inline LAMINA_KERNELS {
#ifdef LAMINA_DISPATCHED
#define LAMINA_KERNEL(result, form, kernel, parameters, arguments) \
  template <>                                                      \
  result LAMINA_BARE kernel parameters;
#else
#define LAMINA_KERNEL(result, form, kernel, parameters, arguments) extern template result LAMINA_BARE kernel parameters;
#endif
#define LAMINA_SCALAR float
#include "lamina/compiled/kernels.inc"
#undef LAMINA_SCALAR
#define LAMINA_SCALAR double
#include "lamina/compiled/kernels.inc"
#undef LAMINA_SCALAR
#undef LAMINA_KERNEL
}  // namespace lamina::kernels::inline LAMINA_KERNELS
#endif
