// Trains HamNet, or its like with another context module, to name the class of every pixel, and writes what became of
// it into a folder: metrics, curves, segmentations, what the context module does to the features, weights. Or draws the
// classes that DeepLab v3, with weights from elsewhere, finds on photographs.
//
//   segment                                               drawn scenes whose labels need the context of the whole image
//   segment --dataset camvid --data DIR                   street scenes: DIR/camvid/train/*.png, trainannot/*.png, ...
//   segment --context none                                the same without a context module
//   segment --pretrained deeplabv3_mobilenet_v2.safetensors photo.jpg ...         out/photo.png

#include <CLI/CLI.hpp>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "common/interruption.hpp"
#include "common/metrics.hpp"
#include "common/options.hpp"
#include "common/program.hpp"
#include "lamina/compile/plan.hpp"
#include "lamina/data/loader.hpp"
#include "lamina/data/scenes.hpp"
#include "lamina/data/segmentation.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/io/segmentation.hpp"
#include "lamina/models/hamnet.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/sgd.hpp"
#include "lamina/plot/charts.hpp"
#include "lamina/train/fit.hpp"
#include "lamina/train/segmentation.hpp"
#include "segmentation/pretrained.hpp"

namespace {

using namespace lamina;
using examples::at_least;

constexpr Index no_limit = std::numeric_limits<Index>::max();

const std::map<std::string, Context> contexts = {{"none", Context::none},
                                                 {"nmf", Context::nmf},
                                                 {"vq", Context::vq},
                                                 {"cd", Context::cd},
                                                 {"self-attention", Context::self_attention},
                                                 {"danet", Context::dual_attention},
                                                 {"double-attention", Context::double_attention}};
const std::map<std::string, HamburgerVersion> versions = {
    {"v1", HamburgerVersion::v1}, {"v2", HamburgerVersion::v2}, {"v2+", HamburgerVersion::v2_plus}};
const std::map<std::string, HamGradient> gradients = {{"one-step", HamGradient::one_step}, {"bptt", HamGradient::bptt}};
const std::map<std::string, Index> backbones = {
    {"resnet18", 18}, {"resnet34", 34}, {"resnet50", 50}, {"resnet101", 101}};

struct Settings {
  std::string dataset = "shapes", data, backbone = "resnet18", context = "nmf", version = "v1", gradient = "one-step",
              bases, out = "out", pretrained, labels;
  std::vector<std::string> photos;
  Index stride = 8, steps = 6, rank = 16, width = 128, epochs = 20, batch_size = 8, limit_train = no_limit,
        limit_test = no_limit, size = 513;
  double lr = 0.02;
  std::uint64_t seed = 0;
  int threads = num_threads();

  std::string file(const std::string& name) const { return out + "/" + name; }
};

template <class Value>
std::vector<std::string> names_of(const std::map<std::string, Value>& table) {
  std::vector<std::string> names;
  for (const auto& [name, value] : table) names.push_back(name);
  return names;
}

void add_options(CLI::App& app, Settings& s) {
  const auto choice = [&](const char* flag, std::string& value, const std::vector<std::string>& names,
                          const char* help) {
    app.add_option(flag, value, help)->check(CLI::IsMember(names))->capture_default_str();
  };
  const auto count = [&](const char* flag, Index& value, long long low, const char* help) {
    return app.add_option(flag, value, help)->check(at_least(low));
  };
  choice("--dataset", s.dataset, {"shapes", "camvid"}, "The scenes; shapes are drawn, camvid is read from --data");
  app.add_option("--data", s.data, "Folder with camvid/ (default: LAMINA_DATA)");
  choice("--backbone", s.backbone, names_of(backbones), "The network before the context module");
  app.add_option("--stride", s.stride, "Pixels of the image for one of the features")
      ->check(CLI::IsMember(std::vector<Index>{8, 16}))
      ->capture_default_str();
  choice("--context", s.context, names_of(contexts), "What gives every pixel the context of all");
  choice("--version", s.version, names_of(versions), "Of the Hamburger, for nmf, vq and cd");
  choice("--gradient", s.gradient, names_of(gradients), "Through the last step of the decomposition, or all");
  app.add_option(
         "--bases", s.bases,
         "Of the decomposition: random, new ones for every image, or kept, which move in training (default: kept "
         "for cd, else random)")
      ->check(CLI::IsMember(std::vector<std::string>{"random", "kept"}));
  count("--steps", s.steps, 0, "Of the decomposition")->capture_default_str();
  count("--rank", s.rank, 1, "Of the decomposition")->capture_default_str();
  count("--width", s.width, 8, "Channels that the context module sees")->capture_default_str();
  count("--epochs", s.epochs, 0, "Passes over the training data")->capture_default_str();
  count("--batch-size", s.batch_size, 1, "Images in a training step")->capture_default_str();
  app.add_option("--lr", s.lr, "Learning rate at the start; it falls to zero")->capture_default_str();
  count("--limit-train", s.limit_train, 1, "Use only the first training images (default: all; 800 shapes)");
  count("--limit-test", s.limit_test, 1, "Use only the first test images (default: all; 200 shapes)");
  app.add_option("--seed", s.seed, "Of initial weights, order of images, augmentation and bases")
      ->check(at_least(0))
      ->capture_default_str();
  const std::vector<CLI::Option*> training =
      app.get_options([](const CLI::Option* o) { return o->get_name() != "--help"; });
  app.add_option("--threads", s.threads, "Threads; results do not depend on them")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--out", s.out, "Folder for the results; made if it does not exist")->capture_default_str();

  // Photographs are for a network that is trained already: nothing that trains has a meaning then.
  CLI::Option* const pretrained =
      app.add_option("--pretrained", s.pretrained,
                     "Weights of DeepLab v3 on MobileNet V2: draw the classes over photographs, and stop");
  for (CLI::Option* option : training) pretrained->excludes(option);
  CLI::Option* const photos = app.add_option("PHOTO", s.photos, "PNG or JPEG files, for --pretrained");
  photos->needs(pretrained);
  pretrained->needs(photos);
  app.add_option("--labels", s.labels, "Text file with a class in each line (default: Pascal VOC's)")
      ->needs(pretrained);
  count("--size", s.size, 33, "Longer side of the photographs for --pretrained")
      ->capture_default_str()
      ->needs(pretrained);
}

/// The images, what their labels mean and how they are shown.
struct Data {
  TensorDataset<float> train, test;
  std::vector<std::string> classes;
  std::int32_t ignored;  // the label that does not count
  std::vector<Color> colors;
};
Data load(const Settings& s) {
  if (s.dataset == "shapes") {
    const Index training = 800, testing = 200;
    return {scenes(std::min(s.limit_train, training)),
            scenes(std::min(s.limit_test, testing), {.first = training}),
            {scene_classes.begin(), scene_classes.end()},
            255,
            {{205, 205, 200}, {240, 190, 60}, {215, 60, 50}, {50, 150, 80}}};
  }
  const std::string dir = data_directory(s.data);
  return {load_camvid(dir, "train", s.limit_train),
          load_camvid(dir, "test", s.limit_test),
          {camvid_classes.begin(), camvid_classes.end()},
          camvid_void,
          {{128, 170, 220},
           {150, 75, 60},
           {192, 192, 128},
           {128, 64, 128},
           {235, 150, 160},
           {90, 130, 40},
           {240, 200, 40},
           {70, 70, 130},
           {50, 30, 190},
           {220, 50, 50},
           {0, 140, 160}}};
}

bool decomposes(const Settings& s) { return s.context == "nmf" || s.context == "vq" || s.context == "cd"; }

bool keeps_bases(const Settings& s) { return s.bases.empty() ? s.context == "cd" : s.bases == "kept"; }

/// The size of the training crops, and of the test images when HamNet has padded them.
Size2 crop_size(const Settings& s, const Shape& image) { return aligned_size({image[1], image[2]}, s.stride); }

HamNetOptions network(const Settings& s, Index classes, const Shape& image) {
  require(s.bases.empty() || decomposes(s), "--bases is for the contexts nmf, vq and cd, not for ", s.context);
  HamNetOptions options{.classes = classes,
                        .depth = backbones.at(s.backbone),
                        .channels = s.width,
                        .aligned = std::max<Index>(s.width / 2, 8),
                        .context = contexts.at(s.context),
                        .version = versions.at(s.version)};
  options.backbone.output_stride = s.stride;
  options.backbone.deep_stem = options.depth >= 50;
  options.backbone.norm.momentum = 0.1;  // the paper's 3e-4 is for sixty thousand steps
  options.hamburger.D = options.version == HamburgerVersion::v2_plus ? s.width / 2 : s.width;
  const Size2 crop = crop_size(s, image);
  options.hamburger.pixels = ((crop.h - 1) / s.stride + 1) * ((crop.w - 1) / s.stride + 1);
  options.hamburger.ham = {.rank = s.rank,
                           .train_steps = s.steps,
                           .eval_steps = s.steps,
                           .gradient = gradients.at(s.gradient),
                           .seed = s.seed,
                           .random_bases = !keeps_bases(s)};
  return options;
}

/// What a network makes of the test images.
struct Score {
  double loss, pixel_accuracy, mean_iou;
  std::vector<double> iou;  // of each class
};
Score judge(const Module<float>& net, DataLoader<float>& loader, const Data& data) {
  const Plan plan = compile(net, data.test.input_shape().batch(loader.batch_size()));
  ConfusionMatrix confusion(static_cast<Index>(data.classes.size()));
  double loss = 0;
  for (auto& [images, labels] : loader) {
    Tensor<float> logits = plan(std::move(images));
    add_pixels(confusion, labels, predicted_classes(logits), data.ignored);
    loss += pixel_cross_entropy(std::move(logits), labels, {.ignore_index = data.ignored}).value *
            static_cast<double>(labels.dim(0));
  }
  Score score{
      loss / static_cast<double>(loader.samples()), confusion.accuracy(), mean_intersection_over_union(confusion), {}};
  for (Index k = 0; k < confusion.classes(); ++k) score.iou.push_back(intersection_over_union(confusion, k));
  return score;
}

/// The measures of segmentation, by name.
examples::Json to_json(const Score& score, const Data& data) {
  examples::Json iou;
  for (std::size_t k = 0; k < score.iou.size(); ++k) iou[data.classes[k]] = score.iou[k];
  return {{"mean_iou", score.mean_iou}, {"iou", iou}};
}

/// `scores` are those of the history's epochs.
void write_metrics(const Settings& s, const Module<float>& net, const Data& data, const History& history,
                   const std::vector<Score>& scores, const Score& last) {
  std::vector<examples::Json> measures;
  for (const Score& score : scores) measures.push_back(to_json(score, data));
  examples::Json results = {{"loss", last.loss}, {"pixel_accuracy", last.pixel_accuracy}};
  results.update(to_json(last, data));
  examples::write_metrics(s.out,
                          {{"dataset", s.dataset},
                           {"backbone", s.backbone},
                           {"stride", s.stride},
                           {"context", s.context},
                           {"version", s.version},
                           {"gradient", s.gradient},
                           {"bases", keeps_bases(s) ? "kept" : "random"},
                           {"steps", s.steps},
                           {"rank", s.rank},
                           {"width", s.width},
                           {"seed", s.seed},
                           {"threads", num_threads()}},
                          {{.name = "hamnet",
                            .parameters = count_parameters(net).total,
                            .history = history,
                            .measures = std::move(measures),
                            .results = std::move(results)}});
}

Tensor<std::uint8_t> draw_curves(const History& history, const std::vector<Score>& scores) {
  Series training{"training", {}}, test{"test", {}}, accuracy{"pixels that are right", {}}, iou{"mean IoU", {}};
  for (const EpochRecord& epoch : history.epochs) {
    training.y.push_back(epoch.train_loss);
    test.y.push_back(epoch.test_loss);
    accuracy.y.push_back(epoch.test_accuracy);
  }
  for (const Score& score : scores) iou.y.push_back(score.mean_iou);
  Canvas canvas(1640, 640);
  draw_chart(canvas, 0, 0, 820, 640, {training, test}, {.title = "Loss", .x_label = "epoch"});
  draw_chart(canvas, 820, 0, 820, 640, {accuracy, iou}, {.title = "On the test images", .x_label = "epoch"});
  return canvas.image();
}

/// Labels as a picture; what is ignored is black.
Tensor<std::uint8_t> painted(const Labels& labels, const Data& data) {
  Tensor<std::uint8_t> image = Tensor<std::uint8_t>::zeros({3, labels.dim(0), labels.dim(1)});
  std::uint8_t* const out = image.data();
  for (Index i = 0; i < labels.numel(); ++i) {
    if (labels.data()[i] == data.ignored) continue;
    const Color color = data.colors[static_cast<std::size_t>(labels.data()[i])];
    out[i] = color.r, out[labels.numel() + i] = color.g, out[2 * labels.numel() + i] = color.b;
  }
  return image;
}
Tensor<std::uint8_t> bytes_of(const Tensor<float>& image) {
  Tensor<std::uint8_t> result(image.shape());
  std::transform(image.data(), image.data() + image.numel(), result.data(),
                 [](float v) { return static_cast<std::uint8_t>(255 * std::clamp(v, 0.f, 1.f) + 0.5f); });
  return result;
}

const Normalize normalize({0.45, 0.45, 0.45}, {0.25, 0.25, 0.25});

/// Image, truth and prediction side by side, with a legend.
Tensor<std::uint8_t> draw_segmentations(const Module<float>& net, const Data& data) {
  const Index rows = std::min<Index>(6, data.test.size());
  const Shape image = data.test.input_shape();
  const double width = 320, height = width * static_cast<double>(image[1]) / static_cast<double>(image[2]);
  const double gap = 16, top = 60, legend = 3 * (width + gap) + 2 * gap;
  Canvas canvas(static_cast<Index>(legend) + 240,
                static_cast<Index>(std::max(top + static_cast<double>(rows) * (height + gap),
                                            top + 40 * static_cast<double>(data.classes.size() + 2))));
  const char* const titles[] = {"image", "truth", "prediction"};
  for (int i = 0; i < 3; ++i)
    canvas.text(gap + width / 2 + i * (width + gap), 40, titles[i], {.align = TextAlign::center, .bold = true});
  for (Index i = 0; i < rows; ++i) {
    // Some from all over the set: neighbours in a video are alike.
    const auto example = data.test.get(i * data.test.size() / rows);
    const Labels predicted = predicted_classes(net(normalize(example.input).reshape(image.batch(1))))[0];
    const double y = top + static_cast<double>(i) * (height + gap);
    canvas.picture(gap, y, width, height, bytes_of(example.input));
    canvas.picture(2 * gap + width, y, width, height, painted(example.target, data));
    canvas.picture(3 * gap + 2 * width, y, width, height, painted(predicted, data));
  }
  for (std::size_t k = 0; k <= data.classes.size(); ++k) {
    const double y = top + 40 * static_cast<double>(k);
    const bool ignored = k == data.classes.size();
    if (ignored && data.ignored == 255) break;
    canvas.rectangle(legend, y, 32, 28, ignored ? Color{0, 0, 0} : data.colors[k]);
    canvas.text(legend + 48, y + 22, ignored ? "does not count" : data.classes[k], {.size = 17});
  }
  return canvas.image();
}

/// The features of (normalised) images around the context module, and for Hamburgers with one ham those around the ham.
struct Around {
  Tensor<float> before, after, ham_before, ham_after;
};
Around around_context(AtInputSize<float>& net, const Settings& s, const Tensor<float>& images) {
  Around result;
  result.before = net.net[1](net.net[0](net.padded(images)));
  result.after = net.net[2](result.before);
  if (decomposes(s) && s.version != "v2+") {
    auto& burger = net.net.get<Sequential<float>>(2).get<Sum<float>>(0).get<Sequential<float>>(0);
    result.ham_before = burger[0](result.before);
    result.ham_after = burger[1](result.ham_before);
  }
  return result;
}

/// The share of the squared singular values of an image's features [C, n] that the largest r have, for every r.
Series spectrum(const char* label, const Tensor<float>& features) {
  const Index channels = features.dim(1), n = features.dim(2) * features.dim(3);
  Eigen::VectorXd share = Eigen::VectorXd::Zero(std::min(channels, n));
  for (Index i = 0; i < features.dim(0); ++i) {
    Eigen::MatrixXd x = features[i].matrix(channels, n).cast<double>();
    if (channels > n) x.transposeInPlace();
    const Eigen::MatrixXd gram = x * x.transpose();
    const Eigen::VectorXd squares = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(gram, Eigen::EigenvaluesOnly)
                                        .eigenvalues()
                                        .reverse()
                                        .cwiseMax(0);
    double sum = 0;
    for (Index r = 0; r < share.size(); ++r) {
      sum += squares[r];
      share[r] += sum / std::max(squares.sum(), 1e-300) / static_cast<double>(features.dim(0));
    }
  }
  return {label, {share.begin(), share.end()}};
}
Tensor<std::uint8_t> draw_spectrum(const Around& features, Index rank) {
  std::vector<Series> series{spectrum("before the context module", features.before),
                             spectrum("after it", features.after)};
  if (!features.ham_before.empty()) {
    series.push_back(spectrum("before the ham", features.ham_before));
    series.push_back(spectrum("after the ham", features.ham_after));
  }
  for (Series& s : series) s.y.resize(std::min<std::size_t>(s.y.size(), static_cast<std::size_t>(4 * rank)));
  return plot_lines(series, {.title = "Share of the energy in the largest singular values",
                             .x_label = "singular values",
                             .y_label = "share of the squares' sum"});
}

/// Channels of the features of some images, before (above) and after (below) the context module: those that vary most.
Tensor<std::uint8_t> draw_features(const Around& features, const Tensor<float>& images) {
  const Index shown = std::min<Index>(3, images.dim(0)), channels = 6;
  const double width = 170, height = width * static_cast<double>(images.dim(2)) / static_cast<double>(images.dim(3));
  const double gap = 10, left = 90;
  Canvas canvas(static_cast<Index>(left + (channels + 1) * (width + gap)) + 20,
                static_cast<Index>(static_cast<double>(shown) * (2 * height + 4 * gap) + 50));
  canvas.text(left, 32, "Channels of the features, before and after the context module", {.size = 18, .bold = true});
  const Tensor<float>& before = features.before;
  const Index n = before.dim(2) * before.dim(3);
  for (Index i = 0; i < shown; ++i) {
    const double y = 50 + static_cast<double>(i) * (2 * height + 4 * gap);
    canvas.picture(left, y, width, height, bytes_of(images[i]));
    std::vector<std::pair<double, Index>> order;
    for (Index c = 0; c < before.dim(1); ++c) {
      const auto values = before[i][c].array();
      order.emplace_back(-(values - values.mean()).square().sum(), c);
    }
    std::sort(order.begin(), order.end());
    for (const bool after : {false, true}) {
      const double at = y + (after ? height + gap : 0);
      canvas.text(left - 12, at + height / 2, after ? "after" : "before", {.size = 15, .align = TextAlign::right});
      for (Index k = 0; k < std::min<Index>(channels, static_cast<Index>(order.size())); ++k) {
        const Tensor<float> plane = (after ? features.after : before)[i][order[static_cast<std::size_t>(k)].second];
        const float low = plane.array().minCoeff(), range = std::max(plane.array().maxCoeff() - low, 1e-12f);
        Tensor<float> grey({1, plane.dim(0), plane.dim(1)});
        for (Index p = 0; p < n; ++p) grey.data()[p] = (plane.data()[p] - low) / range;
        canvas.picture(left + static_cast<double>(k + 1) * (width + gap), at, width, height, bytes_of(grey));
      }
    }
  }
  return canvas.image();
}

void run(const Settings& s) {
  if (!s.pretrained.empty()) {
    set_num_threads(s.threads);
    return examples::segment_photographs({s.pretrained, s.labels, s.out, s.photos, s.size});
  }
  examples::Interruption interruption;  // it keeps no checkpoint
  set_num_threads(s.threads);
  examples::prepare_folder(s.out);
  const Data data = load(s);
  const Shape image = data.train.input_shape();
  const Index classes = static_cast<Index>(data.classes.size());
  LoaderOptions<float> testing{.batch_size = s.batch_size, .transform = normalize}, training = testing;
  training.shuffle = training.drop_last = true;
  training.seed = s.seed;
  SegmentationAugmentOptions augment{.ignore_index = data.ignored};
  if (s.dataset == "shapes") augment.scales = {1};  // the signal must not be cut off
  training.augment = SegmentationAugment(crop_size(s, image), augment);
  training.batch_size = std::min(s.batch_size, data.train.size());
  DataLoader<float> train(data.train, training), test(data.test, testing);

  manual_seed(s.seed);
  auto net = hamnet<float>(network(s, classes, image));
  SGD<float> optimizer(bias_groups(parameters(net), 2 * s.lr), {.lr = s.lr, .momentum = 0.9, .weight_decay = 1e-4});
  PolynomialLR schedule(optimizer, {.total_iters = std::max<Index>(1, s.epochs * train.size()), .power = 0.9});
  std::printf("%s, stride %td, context %s, on %s: %s training and %s test images, %s parameters, %d thread%s\n",
              s.backbone.c_str(), s.stride, s.context.c_str(), s.dataset.c_str(), with_commas(train.samples()).c_str(),
              with_commas(test.samples()).c_str(), with_commas(count_parameters(net).total).c_str(), s.threads,
              s.threads == 1 ? "" : "s");
  std::fflush(stdout);

  std::vector<Score> scores;
  FitOptions<float> options{.epochs = s.epochs, .schedule = &schedule, .schedule_per_batch = true, .seed = s.seed};
  options.loss = [&](Tensor<float> logits, const Labels& labels) {
    return pixel_cross_entropy(std::move(logits), labels, {.ignore_index = data.ignored});
  };
  options.metric = [&](const Tensor<float>& logits, const Labels& labels) {
    return count_correct(logits, labels, {.ignore_index = data.ignored});
  };
  options.on_epoch = [&](const FitState<float>& state) {
    scores.push_back(judge(net, test, data));
    const Score& score = scores.back();
    std::printf("epoch %td: test loss %.4f, %.2f %% of pixels right, mean IoU %.4f\n", state.epoch, score.loss,
                100 * score.pixel_accuracy, score.mean_iou);
    std::fflush(stdout);
  };
  History history = fit(net, optimizer, train, options);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    history.epochs[i].test_loss = scores[i].loss;
    history.epochs[i].test_accuracy = scores[i].pixel_accuracy;
  }
  save_state_dict(s.file("model.safetensors"), state_dict(net), {{"model", "hamnet"}, {"dataset", s.dataset}});
  const Score last = scores.empty() ? judge(net, test, data) : scores.back();

  write_metrics(s, net, data, history, scores, last);
  write_png(s.file("curves.png"), draw_curves(history, scores));
  write_png(s.file("segmentations.png"), draw_segmentations(net, data));
  std::vector<Index> some;
  for (Index i = 0; i < std::min<Index>(8, data.test.size()); ++i) some.push_back(i * data.test.size() / 8);
  const Tensor<float> images = data.test.batch(some).inputs;
  Tensor<float> normalized = images;
  for (Index i = 0; i < images.dim(0); ++i) {
    const Tensor<float> one = normalize(images[i]);
    std::copy_n(one.data(), one.numel(), normalized.data() + i * one.numel());
  }
  const Around features = around_context(net, s, normalized);
  write_png(s.file("spectrum.png"), draw_spectrum(features, s.rank));
  write_png(s.file("features.png"), draw_features(features, images));

  std::printf("\nmean IoU %.4f\n\n", last.mean_iou);
  examples::print_outputs(s.out, {{"metrics.json", "settings and every epoch's numbers"},
                                  {"curves.png", "loss, accuracy and mean IoU by epoch"},
                                  {"segmentations.png", "test images with truth and prediction"},
                                  {"spectrum.png", "singular values of the features around the context module"},
                                  {"features.png", "the features themselves"},
                                  {"model.safetensors", "the weights"}});
}

}  // namespace

int main(int argc, char** argv) {
  return examples::program<Settings>(
      argc, argv,
      "Trains a network to segment scenes and writes metrics, pictures and weights into a folder; or draws the classes "
      "of a pretrained one over photographs.",
      add_options, run);
}
