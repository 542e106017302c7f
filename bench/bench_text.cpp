#include <cstdlib>
#include <string>
#include <vector>

#include "cases.hpp"
#include "lamina/io/byte_pair.hpp"
#include "lamina/io/embedding_index.hpp"

// Tokenizing Flickr8k's captions (with LAMINA_DATA), and searching a million embeddings; items are captions and rows.
namespace lamina::bench {
namespace {

void tokenize(benchmark::State& state, const std::string& data) {
  const BytePair tokenizer = load_clip_vocabulary(data + "/text/clip/bpe_simple_vocab_16e6.txt.gz");
  std::vector<std::string> captions;
  for (const std::string& line : read_lines(data + "/text/Flickr8k.token.txt"))
    captions.push_back(line.substr(line.find('\t') + 1));
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer.encode(captions).ids.data());
  state.SetItemsProcessed(state.iterations() * static_cast<Index>(captions.size()));
}

void search(benchmark::State& state, Index features) {
  constexpr Index count = 1'000'000;
  Tensor<float> rows({count, features});
  parallel_for(0, count, 4096, [&, out = rows.data()](Index first, Index last) {
    const Tensor<float> part =
        l2_normalize(Random(1).split(static_cast<std::uint64_t>(first)).normal<float>({last - first, features}));
    std::copy_n(part.data(), part.numel(), out + first * features);
  });
  const EmbeddingIndex index("drawn", std::vector<IndexedFile>(static_cast<std::size_t>(count)), std::move(rows));
  const Tensor<float> query = l2_normalize(Random(2).normal<float>({features}));
  for (auto _ : state) benchmark::DoNotOptimize(index.search(query, 10).data());
  state.SetItemsProcessed(state.iterations() * count);
}

}  // namespace

void add_cases() {
  if (const char* data = std::getenv("LAMINA_DATA"))
    benchmark::RegisterBenchmark("text/byte_pair",
                                 [folder = std::string(data)](auto& state) { tokenize(state, folder); })
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime();
  for (const Index features : {Index{256}, Index{512}})
    benchmark::RegisterBenchmark(text("search/million_", features).c_str(),
                                 [features](auto& state) { search(state, features); })
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime();
}

}  // namespace lamina::bench
