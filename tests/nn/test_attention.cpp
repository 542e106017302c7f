#include <doctest/doctest.h>

#include "lamina/nn/embedding.hpp"
#include "lamina/nn/positions.hpp"
#include "lamina/nn/transformer_block.hpp"
#include "lamina/testing/conformance.hpp"
#include "message.hpp"
#include "ragged.hpp"

using namespace lamina;
using testing::message;
using testing::ragged;

TEST_CASE("attention conforms") {
  CHECK(conforms(MultiHeadAttention<double>(6, 2), {2, 4, 6}));
  CHECK(conforms(MultiHeadAttention<double>(5, 1), {3, 5}, {.batched = false}));
  CHECK(conforms(ragged(MultiHeadAttention<double>(6, 3), {3, 1, 5}), {9, 6}, {.batched = false}));
  CHECK(conforms(ragged(MultiHeadAttention<double>(4, 2, {.dropout = 0.4}), {3, 4}), {7, 4},
                 {.training_differs = true, .batched = false}));
  CHECK(conforms(MultiHeadAttention<double>(2, 2, {.dropout = 0.5}), {150, 2},
                 {.training_differs = true, .batched = false}));
}

TEST_CASE("transformer blocks and positions conform") {
  for (const NormPosition norm : {NormPosition::post, NormPosition::pre}) {
    CHECK(conforms(TransformerBlock<double>(4, 2, 6, {.norm = norm}), {2, 3, 4}));
    CHECK(conforms(
        ragged(TransformerBlock<double>(4, 2, 6, {.norm = norm, .dropout = 0.2, .attention = {.dropout = 0.2}}),
               {2, 4}),
        {6, 4}, {.training_differs = true, .batched = false}));
  }
  CHECK(conforms(LearnedPositions<double>(5, 3), {2, 4, 3}));
  CHECK(conforms(ragged(LearnedPositions<double>(5, 19), {5, 1, 2}), {8, 19}, {.batched = false}));
}

TEST_CASE("a token's result depends on its own sequence alone, and on nothing of the others") {
  MultiHeadAttention<double> layer(6, 2);
  const Sequences sequences(std::vector<Index>{3, 4, 2});
  Random random(4);
  const auto x = random.normal<double>({9, 6});
  Tape tape;
  layer.forward({x, sequences}, tape);
  auto dy = Tensor<double>::zeros({9, 6});
  dy(4, 1) = 1;  // of the second sequence
  const Tensor<double> dx = layer.backward(dy, tape);
  for (Index i = 0; i < 9; ++i) CHECK((dx[i].array().abs().maxCoeff() == 0) == (i < 3 || i >= 7));

  // Packed together or alone: the same.
  const Tensor<double> together = layer.infer({x, sequences});
  const Tensor<double> alone = layer.infer({x.slice(3, 7), Sequences(1, 4)});
  CHECK(testing::worst_difference(together.slice(3, 7), alone).error < 1e-13);
}

TEST_CASE("attention gives the same bits for any number of threads, with dropout too") {
  const int before = num_threads();
  std::vector<Tensor<float>> results;
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    manual_seed(1);
    TransformerBlock<float> block(16, 4, 32, {.dropout = 0.1, .attention = {.dropout = 0.3}});
    const Sequences sequences(std::vector<Index>{30, 2, 17});
    Tape tape(5);
    results.push_back(block.forward({Random(2).normal<float>({49, 16}), sequences}, tape));
    results.push_back(block.backward(Random(3).normal<float>({49, 16}), tape));
  }
  set_num_threads(before);
  CHECK(results[0] == results[2]);
  CHECK(results[1] == results[3]);
}

TEST_CASE("Embedding looks up, and adds gradients to the rows that occur") {
  Embedding<double> layer(5, 3, {.padding_idx = 2});
  CHECK((layer.weight.value[2].array() == 0).all());
  const Labels ids({2, 3}, {4, 2, 4, 0, 4, 1});
  Tape tape;
  const Tensor<double> y = layer.forward(ids, tape);
  CHECK(y.shape() == Shape{2, 3, 3});
  CHECK(y[0][0] == layer.weight.value[4]);
  CHECK(y[1][0] == layer.weight.value[0]);
  CHECK(layer.infer(ids) == y);
  CHECK(layer.infer(ids.cast<double>()) == y);  // ids as numbers
  const auto dy = Random(1).normal<double>(y.shape());
  CHECK(layer.backward(dy, tape).empty());
  CHECK(layer.weight.grad[4] == dy[0][0] + dy[0][2] + dy[1][1]);
  CHECK(layer.weight.grad[0] == dy[1][0]);
  CHECK(layer.weight.grad[1] == dy[1][2]);
  CHECK((layer.weight.grad[2].array() == 0).all());  // the padding
  CHECK((layer.weight.grad[3].array() == 0).all());
  layer.forward(ids, tape);
  layer.backward(dy, tape);
  CHECK(layer.weight.grad[1] == dy[1][2] + dy[1][2]);
  CHECK(tape.empty());
}

TEST_CASE("pack leaves the padding out") {
  const Labels ids({3, 4}, {7, 8, 0, 0, 5, 0, 6, 0, 0, 0, 0, 0});
  const PackedTokens tokens = pack(ids);
  CHECK(tokens.sequences.size() == 3);
  CHECK(tokens.sequences.tokens() == 6);
  CHECK(tokens.sequences.length(1) == 3);
  CHECK(tokens.sequences.begin(2) == 5);
  CHECK(tokens.ids == Labels({6}, {7, 8, 5, 0, 6, 0}));
  const std::vector<Index> lengths{1, 4, 2};
  CHECK(pack(ids, lengths).ids == Labels({7}, {7, 5, 0, 6, 0, 0, 0}));
}

TEST_CASE("sequence layers name what does not fit") {
  CHECK(message([] { Embedding<float>(0, 3); }) == "Embedding(0, 3): sizes must be at least 1");
  CHECK(message([] { Embedding<float>(4, 3, {.padding_idx = 4}); }) ==
        "Embedding(4, 3, padding_idx=4): padding_idx must be below 4");
  CHECK(message([] {
          Embedding<float>(4, 3).infer(Labels({3}, {0, 4, 1}));
        }) == "Embedding(4, 3): id 4 at position 1 is not one of the 4 entries 0 to 3");
  CHECK(message([] { Embedding<float>(4, 3).infer(Labels({1}, {-1})); }) ==
        "Embedding(4, 3): id -1 at position 0 is not one of the 4 entries 0 to 3");
  CHECK(message([] { Embedding<float>(4, 3).infer(Tensor<float>({1}, {1.5f})); }) ==
        "Embedding(4, 3): 1.5 at position 0 is not an id");
  CHECK(message([] {
          LearnedPositions<float>(4, 2).infer({Tensor<float>({6, 2}), Sequences(std::vector<Index>{1, 5})});
        }) == "LearnedPositions(4, 2): sequence 1 has 5 tokens, but there are 4 positions");
  CHECK(message([] {
          LearnedPositions<float>(4, 2).output_shape({3, 5, 2});
        }) == "LearnedPositions(4, 2): sequence 0 has 5 tokens, but there are 4 positions");
  CHECK(message([] { MultiHeadAttention<float>(6, 4); }) ==
        "ScaledDotProductAttention(6, 4): 4 heads do not divide 6 features");
  CHECK(message([] { MultiHeadAttention<float>(6, 2, {.dropout = 2}); }) ==
        "ScaledDotProductAttention(6, 2, dropout=2): dropout must be in [0, 1], got 2");
  CHECK(message([] {
          MultiHeadAttention<float>(6, 2).infer(Tensor<float>({3, 5}));
        }) == "q_proj: Linear(6, 6): expected 6 features in the last axis, got shape [3, 5]");
  CHECK(message([] {
          MultiHeadAttention<float>(6, 2).infer({Tensor<float>({3, 6}), Sequences(2, 2)});
        }) == "ScaledDotProductAttention(6, 2): expected 4 tokens of 6 features, got shape [3, 6]");
  CHECK(message([] {
          Sequences(std::vector<Index>{2, 0});
        }) == "Sequences: sequence 1 has 0 tokens, expected at least 1");
  CHECK(message([] { pack(Labels::zeros({4})); }) == "pack: expected ids [N, L], got shape [4]");
  CHECK(message([] {
          pack(Labels::zeros({2, 4}), std::vector<Index>{3});
        }) == "pack: expected ids [N, L] and N lengths, got shape [2, 4] and 1 lengths");
  CHECK(message([] {
          pack(Labels::zeros({1, 4}), std::vector<Index>{5});
        }) == "pack: sequence 0 has length 5, but ids is [1, 4]");
}
