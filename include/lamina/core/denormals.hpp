#pragma once

#include <cstdint>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace lamina {

namespace core_detail {

/// How this thread's processor rounds and what it makes of numbers that are too small to be normal.
#if defined(__SSE__)
using FloatControl = unsigned;
constexpr FloatControl flush_bits = 0x8040;                            // of results, of operands
inline FloatControl float_control() { return _mm_getcsr() & ~0x3fu; }  // without what has happened so far
inline void set_float_control(FloatControl control) { _mm_setcsr(control); }
#elif defined(__aarch64__)
using FloatControl = std::uint64_t;
constexpr FloatControl flush_bits = FloatControl{1} << 24;
inline FloatControl float_control() {
  FloatControl control;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  return control;
}
inline void set_float_control(FloatControl control) { asm volatile("msr fpcr, %0" : : "r"(control) : "memory"); }
#else
using FloatControl = unsigned;
constexpr FloatControl flush_bits = 0;
inline FloatControl float_control() { return 0; }
inline void set_float_control(FloatControl) {}
#endif

}  // namespace core_detail

/// While it lives, numbers that are too small to be normal (below 1.2e-38 as float) count as zero, on this thread and
/// in the parallel_for that it calls: processors take a hundred times as long for them. Models, plans and optimisers
/// compute so; whoever computes with kernels or tensors alone may do likewise. As torch.set_flush_denormal(True). Where
/// the processor has no such mode (WebAssembly) nothing changes.
class FlushDenormals {
 public:
  static constexpr bool possible = core_detail::flush_bits != 0;  ///< whether the processor has such a mode

  /// From here on.
  FlushDenormals() : before_(core_detail::float_control()) {
    if ((before_ & core_detail::flush_bits) != core_detail::flush_bits)
      core_detail::set_float_control(before_ | core_detail::flush_bits);
  }
  /// As it was.
  ~FlushDenormals() {
    if ((before_ & core_detail::flush_bits) != core_detail::flush_bits) core_detail::set_float_control(before_);
  }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  core_detail::FloatControl before_;
};

}  // namespace lamina
