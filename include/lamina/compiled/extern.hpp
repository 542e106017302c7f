#pragma once

// Where lamina::compiled is linked, what it holds is not instantiated again. Included at the end of lamina.hpp.

#include "lamina/compiled/kernels.hpp"
#include "lamina/compiled/version.hpp"
#include "lamina/lamina.hpp"

// nn before what is made of it.
// clang-format off
namespace lamina {
#define LAMINA_TEMPLATE extern template
#define LAMINA_SCALAR float
#include "lamina/compiled/nn.inc"
#include "lamina/compiled/models.inc"
#include "lamina/compiled/compile.inc"
#include "lamina/compiled/train.inc"
#undef LAMINA_SCALAR
#define LAMINA_SCALAR double
#include "lamina/compiled/nn.inc"
#include "lamina/compiled/models.inc"
#include "lamina/compiled/compile.inc"
#include "lamina/compiled/train.inc"
#undef LAMINA_SCALAR
#undef LAMINA_TEMPLATE
}  // namespace lamina
