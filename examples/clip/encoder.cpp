#include "clip/encoder.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>

#include "clip/cache.hpp"
#include "clip/images.hpp"
#include "clip/model.hpp"
#include "lamina/compile/plan.hpp"
#include "lamina/io/byte_pair.hpp"
#include "lamina/io/openai_clip.hpp"
#include "lamina/io/safetensors.hpp"

namespace lamina::examples::clip {

namespace {

/// Embeddings of length 1. Throws NumericalError for NaN, which is like nothing and unlike nothing.
Tensor<float> unit(Tensor<float> embeddings) {
  require<NumericalError>(embeddings.array().isFinite().all(),
                          "the model's embeddings are not finite; are its weights whole?");
  return l2_normalize(std::move(embeddings));
}

/// run(first, last) for parts of at most `most` of so many, which gives their rows; all rows.
template <class Run>
Tensor<float> in_parts(Index count, Index most, Index width, Run run) {
  Tensor<float> all({count, width});
  float* out = all.data();
  for (Index first = 0; first < count; first += most) {
    const Tensor<float> some = run(first, std::min(count, first + most));
    out = std::copy_n(some.data(), some.numel(), out);
  }
  return unit(std::move(all));
}

/// Images by a Plan.
std::function<Tensor<float>(Tensor<float>)> planned_images(const Module<float>& net, Index side, Index projection) {
  constexpr Index most = 16;
  return [plan = compile(net, {most, 3, side, side}), projection](const Tensor<float>& images) {
    return in_parts(images.dim(0), most, projection,
                    [&](Index first, Index last) { return plan(images.slice(first, last)); });
  };
}

/// CLIP's tokenizer for a model of so many tokens.
BytePair read_tokenizer(const Settings& s, Index vocabulary) {
  namespace fs = std::filesystem;
  std::string path = s.tokenizer;
  for (const char* name : {"bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt", "vocab.json"})
    if (std::string beside = fs::path(s.model).replace_filename(name).string(); path.empty() && file_exists(beside))
      path = std::move(beside);
  require<FileError>(!path.empty(), s.model, ": needs its tokenizer: --tokenizer, or bpe_simple_vocab_16e6.txt.gz, or ",
                     "vocab.json and merges.txt, beside it");
  const auto of_merges = [&] {
    constexpr Index others = 2 * 256 + 2;  // bytes within words and at their ends, start and end of text
    require<FileError>(vocabulary > others, s.model, ": has ", vocabulary, " tokens, fewer than any tokenizer of ",
                       "merges as ", path, " makes");
    return load_clip_vocabulary(path, {.merges = vocabulary - others, .truncate = true});
  };
  BytePair tokenizer = path.ends_with(".json")
                           ? load_byte_pair(path, fs::path(path).replace_filename("merges.txt").string(), true)
                           : of_merges();
  require<FileError>(tokenizer.size() == vocabulary, s.model, ": has ", vocabulary, " tokens, its tokenizer ", path,
                     " has ", tokenizer.size());
  return tokenizer;
}

/// Sentences by a Plan of packed tokens; says how many are cut off.
Tensor<float> planned_texts(const TextTransformer<float>& net, const std::vector<std::string>& texts,
                            const Settings& s) {
  const TextTransformerOptions& options = net.options();
  const BytePair tokenizer = read_tokenizer(s, options.vocabulary);
  const auto count = static_cast<Index>(texts.size()), most = std::min<Index>(32, count);
  const std::vector<Index> longest(static_cast<std::size_t>(most), options.context);
  const Plan<float> plan =
      compile(net, Values<float>(Value<float>(pack(Labels::zeros({most, options.context}), longest))));
  Index cut = 0;
  Tensor<float> all = in_parts(count, most, options.projection, [&](Index first, Index last) {
    const auto some = std::span(texts).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(last - first));
    const auto [ids, lengths] = tokenizer.encode(some, options.context);
    for (std::size_t i = 0; i < some.size(); ++i)
      cut +=
          lengths[i] == options.context && static_cast<Index>(tokenizer.tokens(some[i]).size()) > options.context - 2;
    return plan(pack(ids, lengths));
  });
  if (cut > 0)
    std::fprintf(stderr, "%td of %td sentences are longer than %td tokens and cut off there\n", cut, count,
                 options.context);
  return all;
}

Encoder compact_encoder(const Settings& s, const std::string& print) {
  require(!s.gelu && s.text_heads == 0 && s.image_heads == 0, s.model,
          ": --gelu, --text-heads and --image-heads are for weights of OpenAI's names");
  const auto clip = std::make_shared<const Clip>(read_model(s));
  return {clip->network.image_size,
          clip->network.projection,
          std::exp(static_cast<double>(clip->net.logit_scale.value.item())),
          print,
          prepared_images(clip->network),
          planned_images(clip->net, clip->network.image_size, clip->network.projection),
          [clip](const std::vector<std::string>& texts) { return l2_normalize(embed(*clip, texts)); }};
}

}  // namespace

Encoder read_encoder(const Settings& s) {
  const SafetensorsFile file(s.model);
  const auto own = file.metadata().find("format");
  const std::string print = fingerprint_of_file(s.model);
  if (is_listing(file) || (own != file.metadata().end() && own->second == format)) return compact_encoder(s, print);
  OpenAIClipHints hints{.quick_gelu = !s.gelu};
  if (s.text_heads > 0) hints.text_heads = s.text_heads;
  if (s.image_heads > 0) hints.image_heads = s.image_heads;
  const OpenAIClip<float> net = load_openai_clip(s.model, hints);
  const Index side = net.options().image_size(), projection = net.options().projection();
  return {side,
          projection,
          std::exp(static_cast<double>(net.logit_scale.value.item())),
          text(print, " ", s.gelu, " ", s.image_heads),
          clip_preprocessing(side),
          planned_images(net, side, projection),
          [tower = std::make_shared<const TextTransformer<float>>(net.text), s](const std::vector<std::string>& texts) {
            return planned_texts(*tower, texts, s);
          }};
}

}  // namespace lamina::examples::clip
