#pragma once

#include <string>

#include "gan/settings.hpp"

namespace lamina::examples::gan {

/// Whole numbers that two runs of a program agree on: labels [n], each class as likely.
Labels drawn_labels(Index n, Index classes, Random& random);

/// Latent numbers, with labels if the network has classes.
Values<float> generator_input(const GanOptions& network, const Tensor<float>& z, const Labels& labels);

/// Images of a generator in inference, in parts of a batch.
Tensor<float> generate(const GanGenerator<float>& net, const Tensor<float>& z, const Labels& labels);

/// Writes the generator as it is used, without its spectral normalisation, with what is needed to read it.
void save_generator(const std::string& path, const GanGenerator<float>& net, const std::string& dataset);

/// Reads it; sets what the file says: the network and the dataset. Throws FileError for another file.
GanGenerator<float> load_generator(Settings& s);

/// A sheet of images from a network, a column for each class.
void write_sheet(const std::string& path, const Tensor<float>& images, const std::string& title, Index columns);

}  // namespace lamina::examples::gan
