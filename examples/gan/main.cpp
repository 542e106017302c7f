// Generates images with adversarial networks: SAGAN, YLG, HamGAN.
//
//   gan train --out run                                    drawn digits, which need no download; --context hamburger
//   gan train --dataset fashion-mnist --data DIR --context attention --out fashion          mnist and cifar10 likewise
//   gan sample --model run/model.safetensors --class 3 --out run                            run/samples.png
//   gan interpolate --model run/model.safetensors --out run                                 run/interpolation.png
//   gan evaluate --model run/model.safetensors --out run       Fréchet distance, precision, recall, classes by a LeNet

#include "common/program.hpp"
#include "gan/options.hpp"

int main(int argc, char** argv) {
  using namespace lamina::examples;
  return program<gan::Settings>(argc, argv, "Generates images with adversarial networks: SAGAN, YLG, HamGAN.",
                                [](CLI::App& app, gan::Settings& s) {
                                  add_train(app, s);
                                  add_sample(app, s);
                                  add_interpolate(app, s);
                                  add_evaluate(app, s);
                                  app.require_subcommand(1);
                                });
}
