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

/// Where everything else but core/ is.
#define LAMINA_ABI LAMINA_ISA

/// Where the kernels are that the rest calls: with those of this instruction set; or, in what uses a library that holds
/// them for several and chooses when a program starts, among declarations that lead there (lamina/compiled/dispatch.hpp).
#ifdef LAMINA_DISPATCHED
#define LAMINA_KERNELS chosen
#else
#define LAMINA_KERNELS LAMINA_ISA
#endif
