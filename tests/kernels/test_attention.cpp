#include <doctest/doctest.h>

#include <cmath>

#include "kernels/difference.hpp"
#include "lamina/core/random.hpp"
#include "lamina/kernels/attention.hpp"
#include "lamina/nn/sequences.hpp"

using namespace lamina;

namespace {

/// Attention in a few obvious loops: softmax(q kᵀ / sqrt(size)) v for every head of every sequence.
Tensor<double> naive_attention(const Sequences& sequences, Index heads, Index size, const Tensor<double>& q,
                               const Tensor<double>& k, const Tensor<double>& v) {
  auto y = Tensor<double>::zeros(q.shape());
  for (Index s = 0; s < sequences.size(); ++s)
    for (Index h = 0; h < heads; ++h)
      for (Index i = sequences.begin(s); i < sequences.begin(s + 1); ++i) {
        std::vector<double> weight;
        double sum = 0;
        for (Index j = sequences.begin(s); j < sequences.begin(s + 1); ++j) {
          double score = 0;
          for (Index c = h * size; c < (h + 1) * size; ++c) score += q(i, c) * k(j, c);
          weight.push_back(std::exp(score / std::sqrt(static_cast<double>(size))));
          sum += weight.back();
        }
        for (Index j = sequences.begin(s); j < sequences.begin(s + 1); ++j)
          for (Index c = h * size; c < (h + 1) * size; ++c)
            y(i, c) += weight[static_cast<std::size_t>(j - sequences.begin(s))] / sum * v(j, c);
      }
  return y;
}

template <class T>
void check_against_naive(const std::vector<Index>& lengths, Index heads, Index size) {
  CAPTURE(Shape(std::span<const Index>(lengths)).to_string());
  CAPTURE(heads);
  CAPTURE(size);
  const Sequences sequences(lengths);
  Random random(1);
  const Shape shape{sequences.tokens(), heads * size};
  const auto q = random.normal<T>(shape), k = random.normal<T>(shape), v = random.normal<T>(shape);
  Tensor<T> y(shape);
  kernels::attention(kernels::AttentionInput<T>{sequences.offsets(), heads, size, q.data(), k.data(), v.data()},
                     y.data());
  const auto expected = naive_attention(sequences, heads, size, q.template cast<double>(), k.template cast<double>(),
                                        v.template cast<double>());
  CHECK(testing::difference(y, expected) < (sizeof(T) == 4 ? 1e-5 : 1e-12));
}

}  // namespace

TEST_CASE("attention is its definition, however long the sequences") {
  for (const Index size : {1, 5, 16, 64}) {
    check_against_naive<float>({3, 1, 8}, 2, size);
    check_against_naive<float>({64, 17}, 3, size);
  }
  check_against_naive<float>({700}, 1, 8);  // in blocks of queries
  check_against_naive<double>({5, 300, 2}, 2, 7);
}
