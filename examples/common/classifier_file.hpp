#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/networks.hpp"
#include "lamina/data/transforms.hpp"
#include "lamina/io/safetensors.hpp"

/// A classifier in one file: train_classifier writes it, classify_image needs nothing else.
namespace lamina::examples {

/// How an image becomes what the network sees: [0, 1], the shorter side to `resize`, the middle crop x crop, less mean,
/// by std (each for the channels; empty: as it is).
struct Preparation {
  Index resize, crop;
  std::vector<double> mean = {}, std = {};

  /// All of it, for an image [channels, H, W].
  Tensor<float> operator()(Tensor<float> image) const;
};

/// What a model file says about its weights, in its metadata.
struct ClassifierFile {
  std::string model;                 ///< the network's name
  NetworkOptions options;            ///< its `classes` is how many there are
  std::vector<std::string> classes;  ///< their names
  Preparation preparation;
};

/// Writes weights with what is needed to use them, whole or not at all.
void save_classifier(const std::string& path, const Module<float>& net, const ClassifierFile& file,
                     const std::string& dataset);

/// Whether a file is one that save_classifier wrote. Throws FileError for what is no safetensors file.
bool is_classifier_file(const std::string& path);

/// What a file says. Throws FileError, naming the file and the field, for one that does not say it, or says what cannot
/// be.
ClassifierFile read_classifier(const std::string& path);

/// The network of a file with its weights.
std::unique_ptr<Module<float>> load_classifier(const std::string& path, const ClassifierFile& file);

}  // namespace lamina::examples
