#include <lamina/io.hpp>
#include <lamina/lamina.hpp>

// Everything, for compilers that look at it.
