#include <lamina/io.hpp>
#include <lamina/lamina.hpp>

// Two translation units include everything and are linked; they share inline state and instantiations.
lamina::Sequential<float> model() { return {lamina::Linear(4, 8), lamina::ReLU(), lamina::Linear(8, 2)}; }
