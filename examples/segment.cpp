// Trains HamNet, or its like with another context module, to name the class of every pixel, and writes what became of
// it into a folder: metrics, curves, segmentations, what the context module does to the features, weights. Or makes the
// paper's study of contexts, or one of its ablations. Or draws the classes that DeepLab v3, with weights from
// elsewhere, finds on photographs.
//
//   segment                                               drawn scenes whose labels need the context of the whole image
//   segment --dataset camvid --data DIR                   street scenes: DIR/camvid/train/*.png, trainannot/*.png, ...
//   segment --context none                                the same without a context module
//   segment --all --dataset camvid --data DIR             all contexts, three seeds each; goes on where it was stopped
//   segment --ablation rank --dataset context             one of the paper's ablations
//   segment --oracle --dataset camvid --data DIR          what a network of stride 16 or 8 can reach
//   segment --pretrained deeplabv3_mobilenet_v2.safetensors photo.jpg ...         out/photo.png

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "common/distributed.hpp"
#include "common/interruption.hpp"
#include "common/options.hpp"
#include "common/program.hpp"
#include "segmentation/pretrained.hpp"
#include "segmentation/study.hpp"

namespace {

using namespace lamina;
using namespace lamina::examples::segmentation;
using examples::at_least;

template <class Value>
std::vector<std::string> names_of(const std::map<std::string, Value>& table) {
  std::vector<std::string> names;
  for (const auto& [name, value] : table) names.push_back(name);
  return names;
}

/// What is trained on what, and how.
void add_training_options(CLI::App& app, Settings& s) {
  const auto choice = [&](const char* flag, std::string& value, const std::vector<std::string>& names,
                          const char* help) { return app.add_option(flag, value, help)->check(CLI::IsMember(names)); };
  const auto count = [&](const char* flag, auto& value, long long low, const char* help) {
    return app.add_option(flag, value, help)->check(at_least(low));
  };
  choice("--dataset", s.dataset, datasets,
         "The scenes; shapes are drawn, and context, where the signal is farther away than a backbone sees; the others "
         "are read from --data")
      ->capture_default_str();
  app.add_option("--data", s.data, "Folder with camvid/, VOCdevkit/, ... (default: LAMINA_DATA)");
  choice(
      "--backbone", s.backbone, names_of(backbones),
      "The network before the context module (default: plain, three convolutions, for context scenes, else resnet18)");
  app.add_option("--weights", s.weights,
                 "Weights for the backbone mobilenet_v2, under torchvision's names or deeplab_v3's");
  app.add_option("--stride", s.stride, "Pixels of the image for one of the features")
      ->check(CLI::IsMember(std::vector<Index>{8, 16}))
      ->capture_default_str();
  choice("--context", s.context, names_of(contexts), "What gives every pixel the context of all")
      ->capture_default_str();
  choice("--version", s.version, names_of(versions), "Of the Hamburger, for nmf, vq and cd")->capture_default_str();
  choice("--parts", s.parts, burger_parts, "Of the Hamburger V1 around nmf: what is left of it")->capture_default_str();
  choice("--gradient", s.gradient, names_of(gradients), "Through the last step of the decomposition, or all")
      ->capture_default_str();
  count("--gradient-steps", s.gradient_steps, 0, "With bptt, the last steps that it goes through (default: all)");
  choice("--bases", s.bases, {"random", "kept"},
         "Of the decomposition: random, new ones for every image, or kept, which move in training (default: kept for "
         "cd, else random)");
  count("--steps", s.steps, 0, "Of the decomposition")->capture_default_str();
  count("--eval-steps", s.eval_steps, 0, "The same in evaluation (default: as many)");
  count("--rank", s.rank, 1, "Of the decomposition")->capture_default_str();
  count("--heads", s.heads, 1, "Groups of channels that are decomposed each on its own")->capture_default_str();
  app.add_option("--inverse-temperature", s.inverse_temperature, "Of the assignment to bases, for vq and cd")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  count("--width", s.width, 8, "Channels that the context module sees")->capture_default_str();
  count("--epochs", s.epochs, 0, "Passes over the training data")->capture_default_str();
  count("--batch-size", s.batch_size, 1, "Images in a training step")->capture_default_str();
  app.add_option("--lr", s.lr, "Learning rate at the start; it falls to zero")->capture_default_str();
  app.add_option("--balance", s.balance,
                 "Weights of the classes' pixels in the loss: the median of the classes' frequencies over the class's "
                 "own, to this power; 0: all alike, 1: median frequency balancing")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  count("--crop", s.crop, 33, "Sides of what is cut from training images (default: their size; of voc and others 513)");
  count("--window", s.window, 33, "Test images go through the network in windows of this size (default: whole)");
  app.add_flag("--multi-scale", s.multi_scale, "Judge the finished network over many sizes and mirror images, too");
  count("--limit-train", s.limit_train, 1, "Use only the first training images (default: all; 800 scenes)");
  count("--limit-test", s.limit_test, 1, "Use only the first test images (default: all; 200 scenes)");
  app.add_option("--seed", s.seed, "Of initial weights, order of images, augmentation and bases")
      ->check(at_least(0))
      ->capture_default_str();
  examples::add_distributed_options(app, s.distributed);
}

void add_options(CLI::App& app, Settings& s) {
  add_training_options(app, s);
  CLI::Option* const all = app.add_flag("--all", s.all, "All contexts, and gradients through them, --seeds times each");
  CLI::Option* const ablation =
      app.add_option("--ablation", s.ablation, "One of the paper's questions, --seeds times each answer")
          ->check(CLI::IsMember(ablations));
  for (CLI::Option* const study : {all, ablation}) study->excludes(app.get_option("--distributed"));
  all->excludes(ablation)->excludes(app.get_option("--context"))->excludes(app.get_option("--gradient"));
  CLI::Option* const seeds =
      app.add_option("--seeds", s.seeds, "Runs of each, from --seed on, for --all and --ablation")
          ->check(at_least(1))
          ->capture_default_str();
  CLI::Option* const oracle =
      app.add_flag("--oracle", s.oracle, "Print what perfect labels reach at strides 16 and 8, and stop");
  oracle->excludes(all)->excludes(ablation)->excludes(seeds);
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
  app.add_option("--size", s.size, "Longer side of the photographs for --pretrained")
      ->check(at_least(33))
      ->capture_default_str()
      ->needs(pretrained);
}

void print_oracle(const Settings& s) {
  const Data data = load(s);
  for (const Index stride : {16, 8})
    std::printf("stride %td: perfect labels have a mean IoU of %.4f on the %td test images\n", stride,
                mean_intersection_over_union(perfect_labels(*data.test, data.count(), data.ignored, stride)),
                data.test->size());
}

void run_once(const Settings& s, examples::Ranks& ranks) {
  examples::Interruption interruption;  // it keeps no checkpoint
  if (ranks.first()) examples::prepare_folder(s.out);
  const Data data = load(s);
  Outcome outcome = train_network(s, data, ranks);
  if (!ranks.first()) return;
  save_state_dict(s.file("model.safetensors"), state_dict(outcome.net), {{"model", "hamnet"}, {"dataset", s.dataset}});
  write_metrics(s, data, outcome);
  write_pictures(s, data, outcome);
  std::printf("\nmean IoU %.4f\n", outcome.last.mean_iou);
  if (s.multi_scale)
    std::printf("mean IoU %.4f over many sizes\n", outcome.results.at("multi_scale").at("mean_iou").get<double>());
  std::printf("\n");
  examples::print_outputs(s.out, {{"metrics.json", "settings and every epoch's numbers"},
                                  {"curves.png", "loss, accuracy and mean IoU by epoch"},
                                  {"segmentations.png", "test images with truth and prediction"},
                                  {"spectrum.png", "singular values of the features around the context module"},
                                  {"features.png", "the features themselves"},
                                  {"model.safetensors", "the weights"}});
}

void run(const Settings& s) {
  set_num_threads(s.threads);
  if (!s.pretrained.empty()) return examples::segment_photographs({s.pretrained, s.labels, s.out, s.photos, s.size});
  if (s.oracle) return print_oracle(s);
  if (s.all || !s.ablation.empty()) {
    examples::prepare_folder(s.out);
    if (s.all) return run_study(s, all_contexts(s), load(s));
    return run_ablation(s);
  }
  examples::with_ranks(s.distributed, [&](examples::Ranks& ranks) { run_once(s, ranks); });
}

}  // namespace

int main(int argc, char** argv) {
  return examples::program<Settings>(
      argc, argv,
      "Trains a network to segment scenes and writes metrics, pictures and weights into a folder; makes the paper's "
      "study of contexts; or draws the classes of a pretrained one over photographs.",
      add_options, run);
}
