// What clip is given, and whether what it says is right: by the library's infer and by definitions, in place of the
// program's Plans and its index.
//
//   clip_expected make DIR                      models under OpenAI's names, their tokenizer, photographs, bad files
//   clip_expected find DIR TOKENIZER            checks DIR/out/matches.json, of DIR/clip.safetensors and DIR/photos
//   clip_expected find-listing DIR              checks DIR/out/matches.json, of DIR/listing.safetensors
//   clip_expected similar MODEL PHOTOS FOUND    checks FOUND/matches.json
//   clip_expected zero-shot DIR TOKENIZER       checks DIR/out/zero_shot.json, of DIR/names.txt and DIR/templates.txt

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lamina/data/transforms.hpp"
#include "lamina/data/wordpiece.hpp"
#include "lamina/io/byte_pair.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/image_folder.hpp"
#include "lamina/io/openai_clip.hpp"
#include "lamina/lamina.hpp"  // layers are lamina::compiled's
#include "lamina/models/clip.hpp"
#include "lamina/models/resnet.hpp"
#include "lamina/nn/softmax.hpp"

using namespace lamina;
using Json = nlohmann::json;

namespace {

const std::vector<std::string> merges{"d o",     "do g</w>", "c a",  "ca t</w>", "r e",       "re d</w>",
                                      "o f</w>", "p h",      "ph o", "pho t",    "phot o</w>"};

std::string text_of(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

/// A vision transformer for images of 32 pixels and a text transformer, as OpenAI's state_dict names and shapes them.
StateDict<float> openai_state(Index vocabulary, std::uint64_t seed, Index projection) {
  constexpr Index features = 64, hidden = 96, patch = 8, places = 17, context = 16;
  StateDict<float> state;
  Random random(seed);
  const auto put = [&](const std::string& key, const Shape& shape, float scale, float center = 0) {
    Tensor<float> x = random.normal<float>(shape, center, scale);
    state.emplace_back(key, std::move(x));
  };
  const auto norm = [&](const std::string& key) {
    put(key + ".weight", {features}, 0.2f, 1);
    put(key + ".bias", {features}, 0.2f);
  };
  const auto linear = [&](const std::string& weight, const std::string& bias, Index out, Index in) {
    put(weight, {out, in}, 1.5f / std::sqrt(static_cast<float>(in)));
    put(bias, {out}, 0.2f);
  };
  const auto blocks = [&](const std::string& prefix) {
    for (int i = 0; i < 2; ++i) {
      const std::string block = text(prefix, "transformer.resblocks.", i, ".");
      linear(block + "attn.in_proj_weight", block + "attn.in_proj_bias", 3 * features, features);
      linear(block + "attn.out_proj.weight", block + "attn.out_proj.bias", features, features);
      norm(block + "ln_1");
      linear(block + "mlp.c_fc.weight", block + "mlp.c_fc.bias", hidden, features);
      linear(block + "mlp.c_proj.weight", block + "mlp.c_proj.bias", features, hidden);
      norm(block + "ln_2");
    }
  };
  put("positional_embedding", {context, features}, 0.3f);
  put("text_projection", {features, projection}, 0.2f);
  put("logit_scale", {}, 0, 3);
  put("visual.class_embedding", {features}, 0.3f);
  put("visual.positional_embedding", {places, features}, 0.3f);
  put("visual.proj", {features, projection}, 0.2f);
  put("visual.conv1.weight", {features, 3, patch, patch}, 0.1f);
  norm("visual.ln_pre");
  blocks("visual.");
  norm("visual.ln_post");
  blocks("");
  put("token_embedding.weight", {vocabulary, features}, 1);
  norm("ln_final");
  return state;
}

const std::vector<std::string> words{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "photo", "of", "the", "dog", "&", "cat"};

/// The listing's model, smaller, without a learned scale.
ClipModel<float> listing_model() {
  manual_seed(5);
  ClipModel<float> net(ImageEncoder<float>(resnet(18, {.width = 0.0625}), {3, 224, 224}),
                       TextEncoder<float>({.vocabulary = static_cast<Index>(words.size()),
                                           .positions = 20,
                                           .layers = 1,
                                           .features = 64,
                                           .heads = 1,
                                           .hidden = 256}),
                       {.projection = 24});
  for (const auto& named : parameters(net))  // BERT's initial weights are so small that all texts are alike
    if (named.name.starts_with("text_encoder.")) named.parameter->value *= 5.0f;
  return net;
}

/// A photograph of one colour with some waves.
void write_photo(const std::string& path, Index height, Index width, Index kind) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  Tensor<std::uint8_t> image({3, height, width});
  for (Index c = 0; c < 3; ++c)
    for (Index y = 0; y < height; ++y)
      for (Index x = 0; x < width; ++x)
        image(c, y, x) = static_cast<std::uint8_t>((60 * kind * (c + 1) + x * y * (kind + 1) / 40 + 30 * c * x) % 256);
  write_png(path, image);
}

void make(const std::string& folder) {
  const Index tokens = 514 + static_cast<Index>(merges.size());
  const auto save = [&](const char* name, const StateDict<float>& state) { save_state_dict(folder + name, state); };
  const StateDict<float> whole = openai_state(tokens, 3, 16);
  save("clip.safetensors", whole);
  save("other.safetensors", openai_state(tokens, 4, 16));
  save("more_tokens.safetensors", openai_state(tokens + 1, 3, 16));
  save("few_tokens.safetensors", openai_state(120, 3, 16));
  StateDict<float> part = whole;
  std::erase_if(part, [](const auto& entry) { return entry.first.starts_with("visual."); });
  save("no_images.safetensors", part);
  part = whole;
  for (auto& [key, value] : part)
    if (key == "visual.ln_post.weight") value = Tensor<float>::ones({63});
  save("wrong_width.safetensors", part);
  part = whole;
  for (auto& [key, value] : part)
    if (key == "visual.ln_post.weight") value = Tensor<float>::full({64}, std::numeric_limits<float>::quiet_NaN());
  save("not_finite.safetensors", part);

  const ClipModel<float> compact = listing_model();
  StateDict<float> listing = state_dict(compact);
  std::erase_if(listing, [](const auto& entry) { return entry.first == "logit_scale"; });
  listing.emplace_back("text_encoder.model.embeddings.position_ids", Tensor<std::int64_t>::zeros({1, 20}));
  save("listing.safetensors", listing);
  write_file_atomically(folder + "vocab.txt", text_of(words));

  std::vector<std::string> lines = merges;
  lines.insert(lines.begin(), "#version: 0.2");
  write_file_atomically(folder + "bpe.txt", text_of(lines));
  const BytePair tokenizer = load_clip_vocabulary(folder + "bpe.txt", {.merges = tokens - 514});
  Json ids;
  for (std::size_t i = 0; i < tokenizer.vocabulary().size(); ++i) ids[tokenizer.vocabulary()[i]] = i;
  std::filesystem::create_directories(folder + "hugging_face");
  write_file_atomically(folder + "hugging_face/vocab.json", ids.dump());
  write_file_atomically(folder + "hugging_face/merges.txt", text_of(lines));
  lines.pop_back();
  write_file_atomically(folder + "cut.txt", text_of(lines));
  write_file_atomically(folder + "names.txt", std::string("dog\n\nred cat\r\nphoto\nCat &amp; dog\n"));
  write_file_atomically(folder + "templates.txt", std::string("a photo of a {}.\na red {}, of {}\n"));

  for (Index i = 0; i < 40; ++i)
    write_photo(text(folder, "photos/", i % 3 == 0 ? "deep/er/" : "", "photo ", i, i % 2 ? ".png" : ".PNG"), 20 + 3 * i,
                80 - i, i);
  write_file_atomically(folder + "photos/notes.txt", std::string("no image"));
}

bool close(double a, double b) { return std::abs(a - b) < 2e-5; }

[[noreturn]] void complain(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}
void expect(bool condition, const std::string& what) {
  if (!condition) complain(what);
}

/// The embeddings of all images below a folder that can be read.
using Embeddings = std::map<std::string, Tensor<float>>;
template <class Net, class Prepare>
Embeddings embed(const Net& net, const std::string& folder, Index side, Prepare prepare) {
  Embeddings result;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file() || !has_image_extension(entry.path())) continue;
    try {
      Random unused;
      const auto image = to_float<float>(read_image(entry.path().string(), {.channels = 3}));
      const Tensor<float> prepared = prepare(image, unused);
      result[entry.path().lexically_relative(folder).string()] =
          l2_normalize(net.embed_images(prepared.reshape({1, 3, side, side})))[0];
    } catch (const FileError&) {
    }
  }
  return result;
}
Embeddings embed(const OpenAIClip<float>& net, const std::string& folder) {
  const Index side = net.options().image_size();
  return embed(net, folder, side, clip_preprocessing(side));
}
Tensor<float> embed(const OpenAIClip<float>& net, const BytePair& tokenizer, const std::string& sentence) {
  const std::vector<std::int32_t> ids = tokenizer.encode(sentence, net.options().text.context);
  const auto count = static_cast<Index>(ids.size());
  return l2_normalize(net.embed_texts(pack(Labels({1, count}, ids), std::vector<Index>{count})))[0];
}

/// matches.json has the images most like the embedding, the most like first.
void check_matches(const std::string& path, const std::string& photos, const Embeddings& images,
                   const Tensor<float>& query) {
  const Json found = Json::parse(read_text(path));
  std::vector<std::pair<double, std::string>> all;
  for (const auto& [name, embedding] : images) all.emplace_back(-embedding.vector().dot(query.vector()), name);
  std::sort(all.begin(), all.end());
  expect(all.size() > 8 && found["images"] == all.size(), text(path, ": should be of ", all.size(), " images"));
  expect(found["matches"].size() == 7, path + ": should have seven matches");
  for (std::size_t k = 0; k < 7; ++k) {
    const Json& match = found["matches"][k];
    expect(close(match["similarity"], -all[k].first),
           text(path, ": match ", k, " should be ", all[k].second, " with ", -all[k].first, ", got ", match.dump()));
    const std::string name = std::filesystem::path(match["image"]).lexically_relative(photos).string();
    expect(close(match["similarity"], images.at(name).vector().dot(query.vector())), match.dump() + " is not so");
  }
  expect(all.front().first < all.back().first, "all images are alike");
}

void check_listing(const std::string& folder) {
  const ClipModel<float> net = listing_model();
  const WordPiece tokenizer(words);
  const std::string query = Json::parse(read_text(folder + "out/matches.json"))["query"];
  const auto [ids, lengths] = tokenizer.encode(std::vector<std::string>{query}, 20);
  check_matches(folder + "out/matches.json", "photos",
                embed(net, folder + "photos", 224,
                      Compose{Resize(Size2(224, 224)), Normalize({0.485, 0.456, 0.406}, {0.229, 0.224, 0.225})}),
                l2_normalize(net.embed_texts(pack(ids, lengths)))[0]);
}

void check_zero_shot(const std::string& folder, const OpenAIClip<float>& net, const BytePair& tokenizer) {
  const std::vector<std::string> names{"dog", "red cat", "photo", "Cat &amp; dog"};
  Tensor<float> means = Tensor<float>::zeros({4, net.options().projection()});
  for (Index c = 0; c < 4; ++c) {
    const std::string& name = names[static_cast<std::size_t>(c)];
    const Tensor<float> one = embed(net, tokenizer, "a photo of a " + name + "."),
                        two = embed(net, tokenizer, "a red " + name + ", of {}");
    for (Index k = 0; k < means.dim(1); ++k) means(c, k) = one(k) + two(k);
  }
  means = l2_normalize(means);
  const Json found = Json::parse(read_text(folder + "out/zero_shot.json"));
  const auto images = embed(net, folder + "photos");
  expect(found["photos"].size() == images.size(), "zero_shot.json has another number of photographs");
  double largest = 0;
  for (const Json& photo : found["photos"]) {
    Tensor<float> scores({4});
    scores.vector() = means.matrix() * images.at(photo["image"]).vector() * std::exp(net.logit_scale.value.item());
    const Tensor<float> expected = softmax(scores);
    expect(photo["classes"].size() == 3, "zero_shot.json: expected three classes");
    double last = 1;
    for (const Json& likely : photo["classes"]) {
      const auto place = std::find(names.begin(), names.end(), likely["class"]) - names.begin();
      const double p = likely["probability"];
      expect(place < 4 && close(p, expected(place)) && p <= last, "zero_shot.json: " + photo.dump());
      last = p;
    }
    largest = std::max(largest, expected.array().maxCoeff() * 1.0);
  }
  expect(largest > 0.3, "the classes are alike");
}

}  // namespace

int main(int, char** argv) try {
  const std::string what = argv[1], folder = argv[2] + std::string("/");
  if (what == "make") return make(folder), 0;
  if (what == "find-listing") return check_listing(folder), 0;
  if (what == "similar") {
    const OpenAIClip<float> net = load_openai_clip(argv[2], {.text_heads = 2});
    const auto images = embed(net, argv[3]);
    const std::string path = argv[4] + std::string("/matches.json");
    const std::string query = Json::parse(read_text(path))["query"];
    const std::string name = std::filesystem::path(query).lexically_relative(argv[3]).string();
    return check_matches(path, argv[3], images, images.at(name)), 0;
  }
  const OpenAIClip<float> net = load_openai_clip(folder + "clip.safetensors");
  const BytePair tokenizer =
      load_clip_vocabulary(argv[3], {.merges = net.options().text.vocabulary - 514, .truncate = true});
  if (what == "zero-shot") return check_zero_shot(folder, net, tokenizer), 0;
  const std::string query = Json::parse(read_text(folder + "out/matches.json"))["query"];
  check_matches(folder + "out/matches.json", "photos", embed(net, folder + "photos"), embed(net, tokenizer, query));
  return 0;
} catch (const std::exception& error) {
  complain(error.what());
}
