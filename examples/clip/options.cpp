#include "clip/options.hpp"

#include "lamina/core/error.hpp"

namespace lamina::examples::clip {

CLI::App* add_command(CLI::App& app, Settings& s, const char* name, const char* what, void (*run)(Settings)) {
  CLI::App* sub = app.add_subcommand(name, what);
  sub->add_option("--data", s.data, "Folder with flickr8k/ and cifar10/ (default: LAMINA_DATA)");
  sub->add_option("--batch-size", s.batch_size, "Images in a step")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  sub->add_option("--threads", s.threads, "Threads; results do not depend on them")->check(CLI::Range(1, 4096));
  sub->callback([&s, run] {
    set_num_threads(s.threads);
    run(s);
  });
  return sub;
}

void add_images(CLI::App* sub, Settings& s, const char* otherwise) {
  sub->add_option("--dataset", s.dataset,
                  text("figures (drawn), flickr8k (below --data), or a folder with images/ and a file of "
                       "captions (default: ",
                       otherwise, ")"));
  sub->add_option("--captions", s.captions, "The file of captions, if it is not in that folder");
  sub->add_flag("--skip-unmatched", s.skip_unmatched, "Leave out images without captions, captions without images");
  sub->add_option("--validation", s.validation, "Another such folder, to choose the best epoch by");
  sub->add_option("--test", s.test, "And one for the final figures: --split held-out");
  sub->add_option(
         "--held-out", s.held_out,
         "Images for the final figures, unless of --test (default: 200 figures; a tenth); of a dataset as many "
         "others are for validation")
      ->check(CLI::PositiveNumber);
}

void add_model(CLI::App* sub, Settings& s) {
  sub->add_option(
         "--model", s.model,
         "model.safetensors of a training run, or the listing's best.pt after convert_weights.py; for photographs also "
         "OpenAI's, open_clip's or Hugging Face's weights")
      ->required();
}

void add_split(CLI::App* sub, Settings& s) {
  sub->add_option("--split", s.split, "Which images: held-out, validation or train")
      ->check(CLI::IsMember({"held-out", "validation", "train"}))
      ->capture_default_str();
}

void add_out(CLI::App* sub, Settings& s) {
  sub->add_option("--out", s.out, "Folder for the results; made if it does not exist")->capture_default_str();
}

void add_top(CLI::App* sub, Settings& s) {
  sub->add_option("-n,--count,--top", s.count, "How many images")->check(CLI::PositiveNumber)->capture_default_str();
  sub->add_flag("--json", s.json, "Print the matches as JSON");
}

CLI::Option* add_photos(CLI::App* sub, Settings& s) {
  CLI::Option* images =
      sub->add_option("--images", s.images, "All images below a folder, which need no captions, in place of a dataset");
  sub->add_option("--index", s.index, "The file of their embeddings (default: beside the model, one for each folder)")
      ->needs(images);
  add_weights(sub, s);
  return images;
}

void add_tokenizer(CLI::App* sub, Settings& s) {
  sub->add_option(
      "--tokenizer", s.tokenizer,
      "Of weights that are not this program's (default: beside the model): bpe_simple_vocab_16e6.txt.gz, or "
      "vocab.json beside merges.txt; vocab.txt of the listing's best.pt");
}

void add_weights(CLI::App* sub, Settings& s) {
  add_tokenizer(sub, s);
  sub->add_flag("--gelu", s.gelu, "Weights that were trained with GELU (LAION's), not OpenAI's QuickGELU");
  sub->add_option("--text-heads", s.text_heads, "Of the text encoder's attention (default: one for 64 features)")
      ->check(CLI::PositiveNumber);
  sub->add_option("--image-heads", s.image_heads, "Of the image encoder's likewise")->check(CLI::PositiveNumber);
}

}  // namespace lamina::examples::clip
