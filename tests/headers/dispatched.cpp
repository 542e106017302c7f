// As what uses a lamina::compiled that chooses its kernels sees the library: compiled, not linked.
#include <lamina/lamina.hpp>
