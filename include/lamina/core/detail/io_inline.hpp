#pragma once

/// What is no template and reads or writes files or draws is declared in X.hpp and defined in X-inl.hpp, with the
/// libraries that it needs. Header-only, X.hpp includes that, and it is inline; programs with LAMINA_COMPILED_IO link
/// lamina::compiled_io, which has it.
#ifndef LAMINA_IO_INLINE
#define LAMINA_IO_INLINE inline
#endif
