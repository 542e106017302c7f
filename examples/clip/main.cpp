// Learns to match images with sentences (CLIP), and finds pictures by words.
//
//   clip train --out run                                            drawn scenes with captions, which need no download
//   clip find --model run/model.safetensors --query "a red circle above a blue square" -n 9      run/matches.png
//   clip evaluate --model run/model.safetensors                     recall at 1, 5 and 10, both ways, beside chance
//   clip zero-shot --model run/model.safetensors                    classifies by sentences, "a photo of a {}"
//   clip embed --model run/model.safetensors                        only fills the cache from which find takes images
//   clip train --dataset flickr8k --data DIR --out flickr           DIR/flickr8k/images/ and a file of captions
//   clip find --model ViT-B-32.safetensors --images PHOTOS --query "two dogs"        OpenAI's, LAION's weights too
//   clip similar --model ViT-B-32.safetensors --images PHOTOS --image a.jpg
//   clip zero-shot --model ViT-B-32.safetensors --images PHOTOS --class-names names.txt --templates templates.txt

#include "clip/options.hpp"
#include "common/program.hpp"

int main(int argc, char** argv) {
  using namespace lamina::examples;
  return program<clip::Settings>(argc, argv, "Learns to match images with sentences, and finds pictures by words.",
                                 [](CLI::App& app, clip::Settings& s) {
                                   add_train(app, s);
                                   add_embed(app, s);
                                   add_find(app, s);
                                   add_similar(app, s);
                                   add_evaluate(app, s);
                                   add_zero_shot(app, s);
                                   app.require_subcommand(1);
                                 });
}
