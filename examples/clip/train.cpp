#include <algorithm>
#include <cstdio>
#include <memory>
#include <numeric>
#include <optional>

#include "clip/images.hpp"
#include "clip/model.hpp"
#include "clip/options.hpp"
#include "clip/recalls.hpp"
#include "common/distributed.hpp"
#include "common/interruption.hpp"
#include "common/metrics.hpp"
#include "common/program.hpp"
#include "lamina/io/captions.hpp"
#include "lamina/io/checkpoint.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/sigmoid_contrastive_loss.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/plot/training.hpp"
#include "lamina/train/cache_features.hpp"
#include "lamina/train/grad_cache.hpp"
#include "lamina/train/retrieval.hpp"

namespace lamina::examples::clip {

namespace {

/// Puts in the weights of networks that were trained before, without their heads, and freezes what is to stay.
void prepare_encoders(ClipModel<float>& net, const Settings& s) {
  if (!s.image_weights.empty()) {
    StateDict<float> state = load_safetensors(s.image_weights);
    std::erase_if(state, [](const auto& entry) {
      return entry.first.starts_with("fc.") || entry.first.starts_with("classifier.");
    });
    load_state_dict(net.image_encoder.model, state);
  }
  if (!s.text_weights.empty())
    load_state_dict(net.text_encoder.model, distilbert_state(load_safetensors(s.text_weights)));
  else  // BERT's deviation of 0.02 is for its 768 features; with few it would be slow to start
    init::weights<Linear<float>>(net.text_encoder, [](Tensor<float>& weight) { init::xavier_uniform(weight); });
  if (s.freeze_image) freeze(net.image_encoder);
  if (s.freeze_text) freeze(net.text_encoder);
}

/// The projection heads, the image encoder, the text encoder and the scale. Only the heads' weights decay.
std::vector<ParameterGroup<float>> parameter_groups(ClipModel<float>& net, const Settings& s) {
  std::vector<ParameterGroup<float>> groups(4);
  groups[0].weight_decay = s.weight_decay;
  groups[1].lr = s.lr_image.value_or(s.image_weights.empty() ? s.lr_heads : 1e-4);
  groups[2].lr = s.lr_text.value_or(s.text_weights.empty() ? s.lr_heads : 1e-5);
  for (const NamedParameter<float>& named : parameters(net))
    groups[named.name.starts_with("image_encoder.")  ? 1
           : named.name.starts_with("text_encoder.") ? 2
           : named.name.starts_with("logit_")        ? 3
                                                     : 0]
        .parameters.push_back(named);
  return groups;
}

/// What an epoch goes through: images, each with a caption that is drawn, another each epoch; or, as in the listing,
/// captions, each with its image. What a frozen image encoder makes of an image is computed once.
class Rows : public Dataset<float> {
 public:
  Rows(const Clip& clip, const CaptionDataset<float>& data, const Settings& s)
      : data_(data), seed_(s.seed), images_(std::make_shared<const CaptionDataset<float>>(data)) {
    if (s.freeze_image)
      images_ = std::make_shared<const TensorDataset<float>>(
          cache_features<float>(clip.net.image_encoder, make_loader(data, s)));
    for (Index i = 0; i < data.size(); ++i)
      if (s.rows == "caption")
        for (Index k = 0; k < static_cast<Index>(data.captions(i).size()); ++k) rows_.emplace_back(i, k);
      else
        rows_.emplace_back(i, -1);
  }

  Index size() const override { return static_cast<Index>(rows_.size()); }
  Example<float> get(Index row) const override {
    return {images_->get(rows_[static_cast<std::size_t>(row)].first).input,
            Labels::full({}, static_cast<std::int32_t>(row))};
  }

  /// The captions of rows in an epoch.
  std::vector<std::string> captions(std::span<const std::int32_t> rows, Index epoch) const {
    std::vector<std::string> texts;
    for (const std::int32_t row : rows) {
      const auto [image, caption] = rows_[static_cast<std::size_t>(row)];
      const std::vector<std::string>& all = data_.captions(image);
      Random random = Random(seed_).split(static_cast<std::uint64_t>(epoch),
                                          (std::uint64_t{1} << 40) + static_cast<std::uint64_t>(image));
      const Index k = caption >= 0 ? caption : random.below(static_cast<Index>(all.size()));
      texts.push_back(all[static_cast<std::size_t>(k)]);
    }
    return texts;
  }

 private:
  CaptionDataset<float> data_;
  std::uint64_t seed_;
  std::shared_ptr<const Dataset<float>> images_;
  std::vector<std::pair<Index, Index>> rows_;  // image, and caption if it is not drawn
};

/// A model behind its image encoder: features of images and their texts to both embeddings.
class Heads : public Block<Heads, float> {
 public:
  explicit Heads(ClipModel<float>& net) : net_(&net) {}
  Value<float> flow(Flow<float>& run, Value<float> features, Value<float> tokens) const {
    Value<float> image = run(net_->image_projection, std::move(features));
    return run(stack_, std::move(image), run(net_->text_projection, run(net_->text_encoder, std::move(tokens))));
  }
  Members<float> members() override {
    return {{"text_encoder", net_->text_encoder},
            {"image_projection", net_->image_projection},
            {"text_projection", net_->text_projection}};
  }

 private:
  ClipModel<float>* net_;
  Stack<float> stack_;
};

/// How many captions of a batch, embeddings [2, N, projection], are most like their own image.
Count count_matches(const Tensor<float>& embeddings) {
  std::vector<Index> numbers(static_cast<std::size_t>(embeddings.dim(1)));
  std::iota(numbers.begin(), numbers.end(), Index{0});
  const Tensor<float> unit = l2_normalize(embeddings);
  const auto ranks = retrieval_ranks(unit[1], numbers, unit[0], numbers);
  return {std::count(ranks.begin(), ranks.end(), 0), embeddings.dim(1)};
}

Loss<float> batch_loss(const Tensor<float>& embeddings, Parameter<float>& logit_scale, Parameter<float>& logit_bias,
                       const Settings& s) {
  if (s.loss == "listing") return soft_target_loss(embeddings);
  if (s.loss == "soft")
    return soft_target_loss(embeddings, {.temperature = s.temperature.value_or(0.07),
                                         .target_temperature = s.target_temperature.value_or(0.005),
                                         .detach_targets = true,
                                         .normalize = true});
  if (s.loss == "siglip") return sigmoid_contrastive_loss(embeddings, logit_scale, logit_bias);
  return contrastive_loss(embeddings, logit_scale);
}

/// Forward and backward of this rank's part of a batch, in parts of s.chunk if that is less; the loss of the batch. The
/// gradients become those of all ranks.
double learn(Clip& clip, Module<float>& net, const Tensor<float>& inputs, const std::vector<std::string>& captions,
             Tape& tape, const Settings& s, Ranks& ranks, Count& matches) {
  const auto loss_of_all = [&](const Tensor<float>& embeddings) {
    matches += count_matches(embeddings);
    return batch_loss(embeddings, clip.net.logit_scale, clip.net.logit_bias, s);
  };
  const auto loss_of = [&](const Tensor<float>& embeddings) {
    return ranks.joint_loss(embeddings, loss_of_all, {&clip.net.logit_scale, &clip.net.logit_bias});
  };
  Parallel<float>* const parallel = ranks.parallel();
  const Index batch = inputs.dim(0), chunk = s.chunk > 0 ? std::min(s.chunk, batch) : batch;
  if (chunk == batch) {
    auto [loss, grad] = loss_of(net.forward(inputs, clip.tokens(captions), tape, InputGrad::skip));
    if (parallel) parallel->before_backward(tape, true);
    net.backward(std::move(grad), tape, InputGrad::skip);
    if (parallel) parallel->after_backward(tape);
    return loss;
  }
  const double loss = grad_cache<float>(
      (batch + chunk - 1) / chunk, tape,
      [&](Index part, Tape& own) {
        const Index first = part * chunk, last = std::min(batch, first + chunk);
        return net.forward(inputs.slice(first, last), clip.tokens({captions.begin() + first, captions.begin() + last}),
                           own, InputGrad::skip);
      },
      [&](Tensor<float> grad, Tape& own) { net.backward(std::move(grad), own, InputGrad::skip); }, loss_of);
  if (parallel) parallel->after_backward(tape);
  return loss;
}

void write_metrics(const Settings& s, const Clip& clip, const History& history,
                   const std::optional<Recalls>& held_out) {
  examples::write_metrics(s.out,
                          {{"dataset", s.dataset},
                           {"loss", s.loss},
                           {"vocabulary", clip.tokenizer.size()},
                           {"seed", s.seed},
                           {"threads", num_threads()}},
                          {{.name = "clip",
                            .parameters = count_parameters(clip.net).total,
                            .history = history,
                            .results = held_out ? to_json(*held_out) : Json::object()}});
}

EpochRecord train_epoch(Clip& clip, DataLoader<float>& loader, const Rows& data, Optimizer<float>& optimizer,
                        Tape& tape, const Settings& s, Ranks& ranks, Index epoch, Progress& progress) {
  LossAverage average;
  const double begin = seconds_now();
  Heads heads(clip.net);
  Module<float>& net = s.freeze_image ? static_cast<Module<float>&>(heads) : clip.net;
  for (auto& [inputs, numbers] : loader) {
    const double loss = learn(clip, net, inputs, data.captions(numbers.values(), epoch), tape, s, ranks, average.count);
    if (!is_finite(loss)) throw NumericalError(text("train: the loss is not finite in epoch ", epoch + 1));
    optimizer.step();
    clamp_logit_scale(clip.net.logit_scale);
    average.add(loss, loader.options().batch_size);
    char note[64];
    std::snprintf(note, sizeof note, "loss %.4f  matches %.3f", average.loss(), average.count.fraction());
    if (ranks.first()) progress.advance(loader.options().batch_size, note);
  }
  EpochRecord record{.epoch = epoch + 1, .train_loss = average.loss(), .train_accuracy = average.count.fraction()};
  record.seconds = seconds_now() - begin;
  record.examples_per_second = static_cast<double>(average.samples) / record.seconds;
  return record;
}

/// The loss over batches in order, with the first caption of each image, and the recall at 1 of all captions.
void validate(const Clip& clip, const CaptionDataset<float>& data, const std::optional<Tensor<float>>& features,
              const Settings& s, EpochRecord& record) {
  const Tensor<float> images =
      features ? clip.net.image_projection.infer(*features) : embed(clip, data, s, "validation");
  const Tensor<float> texts = embed(clip, data.all_captions());
  Parameter<float> logit_scale = clip.net.logit_scale, logit_bias = clip.net.logit_bias;
  logit_scale.requires_grad = logit_bias.requires_grad = false;
  LossAverage average;
  Index caption = 0;
  for (Index first = 0; first < data.size(); first += s.batch_size) {
    const Index count = std::min(s.batch_size, data.size() - first), width = images.dim(1);
    Tensor<float> both({2, count, width});
    float* out = std::copy_n(images.data() + first * width, count * width, both.data());
    for (Index i = first; i < first + count; ++i) {
      out = std::copy_n(texts.data() + caption * width, width, out);
      caption += static_cast<Index>(data.captions(i).size());
    }
    average.add(batch_loss(both, logit_scale, logit_bias, s).value, count);
  }
  record.test_loss = average.loss();
  record.test_accuracy = recalls(images, texts, data).to_image[0];
}

/// What the image encoder makes of images, [N, features].
Tensor<float> encoded(const Clip& clip, const CaptionDataset<float>& data, const Settings& s) {
  const auto features = cache_features<float>(clip.net.image_encoder, make_loader(data, s));
  std::vector<Index> all(static_cast<std::size_t>(features.size()));
  std::iota(all.begin(), all.end(), Index{0});
  return features.batch(all).inputs;
}

void train_network(Settings& s, Ranks& ranks) {
  require(s.loss == "soft" || !(s.temperature || s.target_temperature),
          "--temperature and --target-temperature are for --loss soft");
  examples::Interruption interruption(s.resume);
  if (ranks.first()) examples::prepare_folder(s.out);
  if (s.dataset.empty()) s.dataset = "figures";
  s.network.positions = s.text_weights.empty() ? s.network.max_length : 512;
  s.network.logit_bias = s.loss == "siglip";
  const Data data = load(s);
  manual_seed(s.seed);
  WordPiece tokenizer = s.vocabulary.empty() ? train_wordpiece(data.train.all_captions(), {.size = s.vocabulary_size})
                                             : load_vocabulary(s.vocabulary);
  const Index vocabulary = tokenizer.size();
  Clip clip{s.network, std::move(tokenizer), make_network(s.network, vocabulary, s.dropout),
            s.dataset, s.validation,         s.test};
  prepare_encoders(clip.net, s);
  const auto rows = std::make_shared<const Rows>(clip, data.train, s);
  const bool prepared = s.freeze_image;  // into features
  DataLoader<float> loader(rows, {.batch_size = std::min(s.batch_size, rows->size()),
                                  .shuffle = true,
                                  .seed = s.seed,
                                  .drop_last = true,
                                  .transform = prepared ? Transform<float>() : prepared_images(s.network),
                                  .shard = ranks.shard()});
  std::optional<Tensor<float>> features;  // of the images for validation
  if (prepared) features = encoded(clip, data.validation, s);
  AdamW<float> optimizer(parameter_groups(clip.net, s), {.lr = s.lr_heads, .weight_decay = 0});
  ReduceLROnPlateau schedule(optimizer, {.factor = s.factor, .patience = s.patience});
  std::printf("CLIP on %s: %s images to learn from, %s to validate, %s held out; %s tokens, %s parameters\n",
              s.dataset.c_str(), with_commas(data.train.size()).c_str(), with_commas(data.validation.size()).c_str(),
              with_commas(data.held_out.size()).c_str(), with_commas(vocabulary).c_str(),
              with_commas(count_parameters(clip.net).total).c_str());
  std::fflush(stdout);

  FitState<float> state;
  if (!s.resume.empty()) {
    state = load_checkpoint(s.resume, clip.net, optimizer, &schedule);
    if (ranks.first()) std::fprintf(stderr, "continuing %s after epoch %td\n", s.resume.c_str(), state.epoch);
  }
  loader.set_epoch(state.epoch);
  ranks.prepare(clip.net);
  if (ranks.parallel())
    ranks.parallel()->begin(clip.net, {{"batch_size", text(loader.options().batch_size)},
                                       {"chunk", text(s.chunk)},
                                       {"loss", s.loss},
                                       {"rows", text(rows->size())},
                                       {"seed", text(s.seed)},
                                       {"epochs", text(s.epochs)},
                                       {"epochs done", text(state.epoch)},
                                       {"learning rate", text(optimizer.lr())}});
  Tape tape(state.random.value_or(Random(s.seed)));
  Progress progress(std::max<Index>(0, s.epochs - state.epoch) * loader.size());
  if (state.epoch < s.epochs && ranks.first())
    progress.line("  epoch  train loss   matches  validation loss  recall at 1  learning rate   seconds");
  for (; state.epoch < s.epochs;) {
    progress.section(text("epoch ", state.epoch + 1, "/", s.epochs), loader.size());
    if (ranks.parallel())  // ranks draw each their own, and resumed runs the same
      tape.random() =
          Random(s.seed).split(static_cast<std::uint64_t>(state.epoch), static_cast<std::uint64_t>(ranks.rank()));
    EpochRecord record = train_epoch(clip, loader, *rows, optimizer, tape, s, ranks, state.epoch, progress);
    if (ranks.parallel()) ranks.parallel()->end_epoch(clip.net);
    validate(clip, data.validation, features, s, record);
    record.lr = optimizer.lr();
    state.random = tape.random();
    state.history.epochs.push_back(record);
    ++state.epoch;
    if (!(record.test_loss >= state.best)) {
      state.best = record.test_loss;
      state.history.best_epoch = record.epoch;
      state.best_weights = state_dict(std::as_const(clip.net));
      if (ranks.first()) save(clip, s.file("model.safetensors"));
    }
    schedule.step(record.test_loss);
    if (!ranks.first()) continue;
    interruption.save_checkpoint(s.file("checkpoint.safetensors"), [&] {
      save_checkpoint(s.file("checkpoint.safetensors"), state, clip.net, optimizer, &schedule);
    });
    char line[128];
    std::snprintf(line, sizeof line, "%7s %11.4f %9.3f %16.4f %12.3f %14.2e %9.1f",
                  text(record.epoch, "/", s.epochs).c_str(), record.train_loss, record.train_accuracy, record.test_loss,
                  record.test_accuracy, record.lr, record.seconds);
    progress.line(line);
    write_metrics(s, clip, state.history, {});
  }
  if (!ranks.first()) return;
  progress.clear();
  if (!state.best_weights.empty()) load_state_dict(clip.net, state.best_weights);
  save(clip, s.file("model.safetensors"));
  const Recalls result = judge(clip, data.held_out, s);
  write_metrics(s, clip, state.history, result);
  write_png(s.file("curves.png"), plot_history(state.history));
  std::printf("\nheld out, with the weights of epoch %td: ", state.history.best_epoch);
  print(result);
  std::printf("\n");
  examples::print_outputs(s.out, {{"metrics.json", "every epoch's numbers, and the recalls"},
                                  {"curves.png", "loss, and how many captions find their image first"},
                                  {"model.safetensors", "the best epoch's weights, with the vocabulary"},
                                  {"checkpoint.safetensors", "to go on with: --resume"}});
}

void run_training(Settings s) {
  examples::with_ranks(s.distributed, [&](Ranks& ranks) { train_network(s, ranks); });
}

}  // namespace

void add_train(CLI::App& app, Settings& s) {
  CLI::App* train = add_command(app, s, "train", "Learns to match images with their captions", run_training);
  add_images(train, s, "figures");
  add_out(train, s);
  Architecture& n = s.network;
  const auto option = [train](const char* flag, auto& value, const char* what, const CLI::Validator& check) {
    train->add_option(flag, value, what)->check(check)->capture_default_str();
  };
  const auto positive = CLI::PositiveNumber, not_negative = CLI::NonNegativeNumber;
  option("--scenes", s.scenes, "Drawn scenes to learn from", positive);
  option("--image-model", n.image_model, "The image encoder", CLI::IsMember({"resnet", "mobilenet_v2"}));
  option("--resnet", n.resnet, "Depth of a ResNet", CLI::IsMember({18, 34, 50, 101, 152}));
  option("--width", n.width, "Factor of its channels", positive);
  option("--image-size", n.image_size, "Side to which images are resized", CLI::Range(32, 1024));
  option("--layers", n.layers, "Of the text encoder, a DistilBERT", positive);
  option("--features", n.features, "Of its tokens", positive);
  option("--heads", n.heads, "Of its attention", positive);
  option("--max-length", n.max_length, "Tokens of a caption that are read", CLI::Range(2, 512));
  option("--vocabulary-size", s.vocabulary_size, "Most tokens to learn", positive);
  option("--projection", n.projection, "Features of the embeddings", positive);
  option("--loss", s.loss,
         "openai (symmetric cross entropy, learned scale), soft (soft targets of the cosines), siglip (sigmoid), or "
         "listing (soft targets as in the compact listing, which learn only from encoders that have learned)",
         CLI::IsMember({"openai", "soft", "siglip", "listing"}));
  option("--rows", s.rows, "An epoch's rows: an image each, with a caption drawn, or a caption each, as in the listing",
         CLI::IsMember({"image", "caption"}));
  option("--chunk", s.chunk, "Images in a forward: a batch is run in parts, twice, with its own gradients (0: whole)",
         not_negative);
  option("--mean", n.mean, "Of the pixels, 0 to 1, for --image-weights that want another than ImageNet's",
         CLI::Range(0.0, 1.0));
  option("--std", n.std, "Of the pixels likewise (0: ImageNet's)", CLI::Range(0.0, 1.0));
  option("--dropout", s.dropout, "In the text encoder and the projections", CLI::Range(0.0, 0.99));
  option("--epochs", s.epochs, "Passes over the images, each with one of its captions", not_negative);
  option("--lr-heads", s.lr_heads, "Learning rate of the projections", not_negative);
  option("--weight-decay", s.weight_decay, "Of the projections", not_negative);
  option("--patience", s.patience, "Epochs without a lower validation loss before the rates fall", not_negative);
  option("--factor", s.factor, "By which they fall", CLI::Range(0.01, 0.99));
  option("--seed", s.seed, "Of initial weights, order and captions", not_negative);
  train->add_option("--lr-image", s.lr_image, "Of the image encoder (default: the heads'; 1e-4 with weights)")
      ->check(not_negative);
  train->add_option("--lr-text", s.lr_text, "Of the text encoder (default: the heads'; 1e-5 with weights)")
      ->check(not_negative);
  train->add_option("--temperature", s.temperature, "Of --loss soft (default: 0.07)")->check(positive);
  train->add_option("--target-temperature", s.target_temperature, "Of its targets (default: 0.005)")->check(positive);
  train->add_option("--image-weights", s.image_weights, "Weights of the image encoder, under torchvision's names");
  train->add_option("--text-weights", s.text_weights, "Weights of the DistilBERT, under Hugging Face's names");
  train->add_option("--vocabulary", s.vocabulary, "A vocab.txt (default: learned from the captions)");
  train->add_flag("--freeze-image", s.freeze_image, "Leave the image encoder as it is, and use it as in inference");
  train->add_flag("--freeze-text", s.freeze_text, "Leave the text encoder as it is, and use it as in inference");
  train->add_option("--resume", s.resume, "Continue from this checkpoint");
  examples::add_distributed_options(*train, s.distributed);
}

}  // namespace lamina::examples::clip
