#include "clip/encoder.hpp"

#include <algorithm>
#include <filesystem>
#include <memory>

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

/// Images by a Plan, some at a time.
template <class Net>
std::function<Tensor<float>(Tensor<float>)> planned(std::shared_ptr<const Net> net, Index side) {
  constexpr Index most = 32;
  const auto plan = std::make_shared<const Plan<float>>(compile(*net, {most, 3, side, side}));
  return [plan](const Tensor<float>& images) {
    Tensor<float> all;
    for (Index first = 0; first < images.dim(0); first += most) {
      const Tensor<float> some = (*plan)(images.slice(first, std::min(images.dim(0), first + most)));
      if (first == 0) all = Tensor<float>({images.dim(0), some.dim(1)});
      std::copy_n(some.data(), some.numel(), all.data() + first * some.dim(1));
    }
    return unit(std::move(all));
  };
}

/// CLIP's tokenizer: that of --tokenizer, or bpe_simple_vocab_16e6.txt.gz or vocab.json and merges.txt beside the
/// model.
BytePair read_tokenizer(const Settings& s) {
  const std::filesystem::path folder = std::filesystem::path(s.model).parent_path();
  const std::string beside = (folder / "bpe_simple_vocab_16e6.txt.gz").string(),
                    json = (folder / "vocab.json").string(), merges = (folder / "merges.txt").string();
  if (!s.tokenizer.empty() && s.tokenizer.ends_with(".json"))
    return load_byte_pair(s.tokenizer, (std::filesystem::path(s.tokenizer).parent_path() / "merges.txt").string(),
                          true);
  if (!s.tokenizer.empty() || file_exists(beside))
    return load_clip_vocabulary(s.tokenizer.empty() ? beside : s.tokenizer, {.truncate = true});
  require<FileError>(file_exists(json), s.model, ": needs its tokenizer: --tokenizer, or ", beside, ", or ", json,
                     " and ", merges);
  return load_byte_pair(json, merges, true);
}

}  // namespace

Encoder read_encoder(const Settings& s) {
  const Metadata metadata = SafetensorsFile(s.model).metadata();
  const auto own = metadata.find("format");
  const std::string print = fingerprint_of_file(s.model);
  if (own != metadata.end() && own->second == format) {
    const auto clip = std::make_shared<const Clip>(read_model(s));
    return {clip->network.image_size,
            clip->network.projection,
            print,
            prepared_images(clip->network),
            planned(std::shared_ptr<const ClipModel<float>>(clip, &clip->net), clip->network.image_size),
            [clip](const std::vector<std::string>& texts) { return l2_normalize(embed(*clip, texts)); }};
  }
  const auto net = std::make_shared<const OpenAIClip<float>>(load_openai_clip(s.model, {.quick_gelu = !s.gelu}));
  const auto tokenizer = std::make_shared<const BytePair>(read_tokenizer(s));
  const Index vocabulary = net->options().text.vocabulary, context = net->options().text.context;
  require<FileError>(tokenizer->size() == vocabulary, s.model, ": has ", vocabulary, " tokens, its tokenizer ",
                     tokenizer->size());
  const Index side = net->options().image_size();
  return {side,
          net->options().projection(),
          print,
          clip_preprocessing(side),
          planned(net, side),
          [net, tokenizer, context](const std::vector<std::string>& texts) {
            Tensor<float> all({static_cast<Index>(texts.size()), net->options().projection()});
            float* out = all.data();
            for (std::size_t first = 0; first < texts.size(); first += 64) {
              const std::span<const std::string> some(texts.data() + first,
                                                      std::min<std::size_t>(64, texts.size() - first));
              const auto [ids, lengths] = tokenizer->encode(some, context);
              const Tensor<float> embeddings = net->embed_texts(pack(ids, lengths));
              out = std::copy_n(embeddings.data(), embeddings.numel(), out);
            }
            return unit(std::move(all));
          }};
}

}  // namespace lamina::examples::clip
