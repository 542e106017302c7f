#pragma once

/// What depends on the instruction set that a unit is compiled for is in an inline namespace named after it, so that a
/// program can have units for several: kernels, and everything that is made of them. core/ is the same in all units
/// (but for the arithmetic of tensors), and tensors pass from one to another; a layer is another type in each.
///
/// A program of such units keeps to three rules. Its own classes and templates that use layers or vectors, in headers
/// that several of the units include, are in such a namespace too: `namespace program::inline LAMINA_ISA { ... }`. Only
/// one of the units has Eigen's expressions, whose functions have the same names for every instruction set. And when
/// it is linked, the units for the least instruction set come first: of functions that several units have, as those of
/// the standard library, the linker takes the first.

/// The instruction set, as far as simd.hpp tells them apart.
#if defined(__AVX512F__)
#define LAMINA_ISA avx512
#elif defined(__AVX2__) && defined(__FMA__)
#define LAMINA_ISA avx2
#elif defined(__AVX__) && defined(__FMA__)
#define LAMINA_ISA avx_fma
#elif defined(__AVX__)
#define LAMINA_ISA avx
#elif defined(__SSE2__)
#define LAMINA_ISA sse2
#elif defined(__ARM_NEON)
#define LAMINA_ISA neon
#elif defined(__wasm_simd128__)
#define LAMINA_ISA wasm
#else
#define LAMINA_ISA scalar
#endif

/// Bytes of its vectors.
#if defined(__AVX512F__)
#define LAMINA_VECTOR_BYTES 64
#elif defined(__AVX__)
#define LAMINA_VECTOR_BYTES 32
#else
#define LAMINA_VECTOR_BYTES 16
#endif

// With a library that holds the kernels for several instruction sets and chooses one when a program starts
// (LAMINA_DISPATCHED; compiled/kernels.inc says which kernels), everything else but core/ is the same whatever it is
// compiled for, and the kernels that it calls are declarations that lead into the library. The library's own units of
// kernels are LAMINA_KERNEL_FORM.

/// Where everything else but core/ is.
#if defined(LAMINA_DISPATCHED) || defined(LAMINA_KERNEL_FORM)
#define LAMINA_ABI compiled
#else
#define LAMINA_ABI LAMINA_ISA
#endif
/// Where the kernels are that it calls.
#ifdef LAMINA_DISPATCHED
#define LAMINA_KERNELS chosen
#else
#define LAMINA_KERNELS LAMINA_ISA
#endif

namespace lamina {

#ifdef LAMINA_DISPATCHED
/// The instruction set of the kernels: "sse2", "avx2" or "avx512". The first call chooses the widest that the processor
/// has, or the one that the environment variable LAMINA_ISA names; one that does not exist, or that the processor has
/// not, is a ValueError.
const char* instruction_set();
#else
inline namespace LAMINA_ISA {
/// The instruction set that the kernels are compiled for, as far as they tell them apart: "sse2", "avx2", "neon", ...
constexpr const char* instruction_set() {
#define LAMINA_QUOTED(name) #name
#define LAMINA_NAME_OF(name) LAMINA_QUOTED(name)
  return LAMINA_NAME_OF(LAMINA_ISA);
#undef LAMINA_NAME_OF
#undef LAMINA_QUOTED
}
}  // namespace LAMINA_ISA
#endif

}  // namespace lamina
